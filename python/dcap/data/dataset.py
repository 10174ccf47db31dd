"""DenseCaptionDataset: records to encoded samples; an item is a pure function of (seed, epoch, index)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from dcap.augment.config import AugmentConfig
from dcap.augment.pipeline import Pipeline
from dcap.augment.schedule import TrainingStep
from dcap.core.errors import ConfigError
from dcap.core.log import get_logger, is_main
from dcap.data.builtin import resolve_data
from dcap.data.check import CheckedRecords, ImageRules, check_records
from dcap.data.config import DataConfig
from dcap.data.encode import Encoder, Tokenizer, load_tokenizer
from dcap.data.images import decode_image
from dcap.data.lengths import EpochLengths
from dcap.data.planning import PlannedSample, Planner
from dcap.data.preprocess import Chain
from dcap.data.profile import resolve_profile
from dcap.data.records import image_path
from dcap.data.sample import Sample, encode_sample, text_filler

logger = get_logger(__name__)


Split = Literal["train", "val"]


@dataclass(frozen=True, slots=True)
class SampleKey:
    """Which sample, in which epoch, and when it is trained on; a filler is the same sample with a loss weight of 0."""

    epoch: int
    index: int
    filler: bool = False
    when: TrainingStep | None = None
    """Only a curriculum looks at it; none is the first step."""


class _ModelName(Protocol):
    @property
    def name_or_path(self) -> str: ...
    @property
    def revision(self) -> str | None: ...


class DatasetConfig(Protocol):
    """The part of a run's config that samples depend on; `dcap.train.config.RunConfig` is one."""

    @property
    def data(self) -> DataConfig:
        """The ``data:`` section."""
        ...

    @property
    def augmentation(self) -> AugmentConfig:
        """The ``augmentation:`` section."""
        ...

    @property
    def model(self) -> _ModelName:
        """The ``model:`` section; names the tokenizer."""
        ...

    @property
    def seed(self) -> int:
        """Run seed."""
        ...


class DenseCaptionDataset:
    """Samples of one split, by ``(epoch, index)``.

    An item depends on the config's seed, the epoch and the index alone, and with a curriculum on the step that trains
    on it: not on order, workers or ranks.

    Args:
        config: A run's config, or anything with its ``data``, ``augmentation``, ``model`` and ``seed``.
        split: ``train`` is augmented, ``val`` never is.
        tokenizer: Loaded from ``model.name_or_path`` when not given.

    Raises:
        ConfigError: The split names no file, or something in the config does not fit.
        RecordError: A record breaks the contract and ``data.on_bad_record`` is ``error``.
    """

    def __init__(self, config: DatasetConfig, split: Split = "train", tokenizer: Tokenizer | None = None) -> None:
        data = config.data
        if not data.files(split):
            raise ConfigError(f"data.{split} must name at least one JSONL file")
        self.config = config
        self.split: Split = split
        if tokenizer is None:
            tokenizer = load_tokenizer(config.model.name_or_path, config.model.revision)
        self.planner = Planner(
            config=data,
            pipeline=Pipeline.from_config(config.augmentation if split == "train" else AugmentConfig()),
            encoder=Encoder(tokenizer),
            profile=resolve_profile(data),
            seed=config.seed,
        )
        if is_main():
            self.planner.pipeline.log_canvas_fit()
        rules = ImageRules(data.root, data.max_image_pixels) if data.check_images else None
        self.records: CheckedRecords = check_records(
            [resolve_data(file) for file in data.files(split)],
            data.on_bad_record,
            rules,
            Chain.from_config(data.preprocessors),
        )
        logger.info("%s: %s", split, self.records.summary())

    def __len__(self) -> int:
        return len(self.records)

    @property
    def pad_id(self) -> int:
        """Token id for padding."""
        return self.planner.encoder.pad_id

    def plan(self, epoch: int, index: int, when: TrainingStep | None = None) -> PlannedSample:
        """Plan a sample without opening its image.

        Raises:
            RecordError: As `Planner.plan`.
        """
        return self.planner.plan(self.records[index], epoch, index, when)

    def lengths(self, epoch: int) -> npt.NDArray[np.int64]:
        """Return the token count of every sample of an epoch, int64 (N,); 0 leaves a sample out.

        With a curriculum they are those at the first step.

        Raises:
            RecordError: As `EpochLengths.of`.
        """
        lengths = EpochLengths(self, epoch)
        out = lengths.all()
        lengths.report()
        return out

    def __getitem__(self, key: SampleKey | tuple[int, int] | int) -> Sample:
        """Return one sample; a bare index means epoch 0.

        Raises:
            RecordError: As `Planner.plan`.
            ImageError: The image cannot be decoded, or is not what the record says.
        """
        if not isinstance(key, SampleKey):
            key = SampleKey(0, key) if isinstance(key, int) else SampleKey(*key)
        planned = self.plan(key.epoch, key.index, key.when)
        record = planned.record
        path = image_path(record, self.config.data.root)
        shrink = planned.result.plan.decode_shrink
        image = decode_image(path, record.canvas, self.config.data.max_image_pixels, record.origin, shrink)
        return encode_sample(self.planner, planned, image, weight=0.0 if key.filler else 1.0)

    def filler(self) -> Sample:
        """Return a short sample without an image whose loss weighs nothing, for a row that lost all its own."""
        return text_filler(self.planner)
