"""DenseCaptionDataset: records to encoded samples; an item is a pure function of (seed, epoch, index)."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from dcap.augment.config import AugmentConfig
from dcap.augment.pipeline import Pipeline
from dcap.augment.schedule import Curriculum, TrainingStep
from dcap.core.config import build
from dcap.core.errors import ConfigError, RecordError
from dcap.data.config import DataConfig, MixtureEntry, Split, resolve_profile
from dcap.data.encode import Encoder, Tokenizer, Uncounted, load_tokenizer
from dcap.data.mixture import EpochSamples, read_mixture
from dcap.data.planning import PlannedSample, Planner
from dcap.data.sample import Sample, SampleKey, encode_sample, text_filler
from dcap.demo.models import BUILTIN_TINY
from dcap.records.images import decode_image
from dcap.records.record import Record, image_source


class DenseCaptionDataset:
    """Encoded samples of one split, by ``(epoch, index)``.

    An item depends only on the seed, the epoch, the index and, with a curriculum, on its training step. It does not
    depend on order, workers or ranks. ``dataset[0]`` is sample 0 of epoch 0.

    Attributes:
        data: The ``data:`` section.
        split: ``train`` or ``val``.
        seed: Seed of all that is drawn.
        pipeline: The augmentation; an empty one for ``val``.
        profile: Answer profile with prompt texts.
        planners: One planner for each data set of a mixture.
        records: The checked records; with ``data.tiles``, each once for each of its tiles.
        mixture: The data set of each record, and how often an epoch takes it.

    Args:
        data: Where samples come from: a run's ``data:`` section, as a `DataConfig` or a dict such as
            ``{"train": "train.jsonl"}``.
        split: ``train`` is augmented, ``val`` never is.
        tokenizer: A Qwen3-VL tokenizer, or a folder or hub id that has one. ``builtin:tiny`` has the vocabulary
            of all Qwen3-VL models. `None`: samples can be planned, and have 0 tokens; items cannot be made.
        augmentation: What training samples undergo: a run's ``augmentation:`` section, or a list of ops such as
            ``{"name": "hflip"}``; `None`: nothing.
        seed: Seed of order, augmentation, mixtures and the choice of ``data.limit``.
        limit: Most records of the split, chosen as by ``data.limit``. `None`: all; of ``train``, ``data.limit``.

    Raises:
        ConfigError: The split is unknown or names no file, the limit is below 1, there is no such tokenizer, or
            something in the config does not fit.
        RecordError: A record breaks the contract and ``data.on_bad_record`` is ``error``.
        MissingPackageError: The tokenizer needs a package that is not installed.
    """

    def __init__(
        self,
        data: DataConfig | Mapping[str, Any],
        split: Split = "train",
        tokenizer: Tokenizer | str | None = BUILTIN_TINY,
        *,
        augmentation: AugmentConfig | Sequence[Mapping[str, Any]] | None = None,
        seed: int = 0,
        limit: int | None = None,
    ) -> None:
        data = data if isinstance(data, DataConfig) else build(DataConfig, data, "data")
        if split not in ("train", "val"):
            raise ConfigError(f"split must be train or val, not {split!r}")
        if limit is not None and limit < 1:
            raise ConfigError(f"limit must be at least 1, not {limit}")
        if not data.has(split):
            raise ConfigError(f"data.{split} must name at least one file of records")
        self.data, self.seed = data, seed
        self.split: Split = split
        self.profile = resolve_profile(data)
        found = load_tokenizer(tokenizer) if isinstance(tokenizer, str) else tokenizer
        encoder = Uncounted() if found is None else Encoder(found)
        training = Pipeline.from_config(augmentation or ())
        self.pipeline = training if split == "train" else Pipeline.from_config(())
        self.planners = tuple(self._planner(entry, encoder) for entry in data.entries(split))
        # Validation has no augmentation, but its records are read as those of training.
        policy = training.config.split_policy
        self.records, self.mixture = read_mixture(data, split, policy, limit=limit, seed=seed)

    def _planner(self, entry: MixtureEntry, encoder: Encoder) -> Planner:
        """Return what plans the samples of one data set of a mixture."""
        pipeline = self.pipeline
        if not entry.augmentation:
            pipeline = Pipeline()
        elif not entry.curriculum:
            pipeline = replace(pipeline, curriculum=Curriculum(), values={})
        data = self.data.of_entry(entry)
        return Planner(
            entry=entry,
            config=data,
            pipeline=pipeline,
            encoder=encoder,
            profile=resolve_profile(data),
            seed=self.seed,
        )

    def __len__(self) -> int:
        return len(self.records)

    def check_tokenizer(self) -> None:
        """Refuse what needs token ids or lengths where there is no tokenizer.

        Raises:
            ConfigError: The data set was made with ``tokenizer=None``.
        """
        if isinstance(self.planners[0].encoder, Uncounted):
            raise ConfigError("tokenizer must be given to make samples and rows, not None. Name a folder or a hub id")

    @property
    def pad_id(self) -> int:
        """Token id for padding."""
        return self.planners[0].encoder.pad_id

    @property
    def curriculum(self) -> Curriculum:
        """The curriculum that a data set follows. It has no phases if no data set follows one."""
        return next((p.pipeline.curriculum for p in self.planners if p.pipeline.curriculum.phases), Curriculum())

    def planner_of(self, index: int) -> Planner:
        """Return what plans the samples of record `index`: that of its data set."""
        return self.planners[self.mixture.part_of(index)]

    def samples(self, epoch: int) -> EpochSamples:
        """Return the samples of an epoch before ordering. Without a mixture, each record occurs once."""
        if self.split == "val":
            return EpochSamples.of_all(len(self))
        return self.mixture.samples(self.seed, epoch)

    def plan(self, epoch: int, index: int, when: TrainingStep | None = None, draw: int = 0) -> PlannedSample:
        """Plan a sample without opening its image; arguments as those of `SampleKey`.

        Raises:
            RecordError: One side of the image, or of its crop, is more than 200 times the other; a polygon crosses
                itself millions of times; the summary is missing in summary mode; or the sample is too long and
                ``data.overlong`` does not leave it out.
        """
        return self.planner_of(index).plan(self.records[index], epoch, index, when, draw)

    def image(self, record: Record, shrink: int = 1) -> npt.NDArray[np.uint8]:
        """Return the decoded image of a record, as displayed: uint8 (H, W, 3) RGB.

        Args:
            record: One of the data set's.
            shrink: How many times smaller it may be decoded, see `dcap.records.decode_image`.

        Raises:
            ImageError: It cannot be decoded, or is not what the record says.
            RecordError: Its path leaves ``data.root``, or the record is a conversation.
        """
        if record.messages:
            raise RecordError(f"{record.name}: record must have an image to be shown, and is a conversation")
        source, data = image_source(record, self.data.root), self.data
        return decode_image(source, record.canvas, data.max_image_pixels, record.origin, shrink, data.sixteen_bit)

    def __getitem__(self, key: SampleKey | tuple[int, int] | int) -> Sample:
        """Return one sample; a bare index means epoch 0.

        Raises:
            IndexError: There is no such record.
            ConfigError: The data set has no tokenizer.
            RecordError: As `plan`.
            ImageError: The image cannot be decoded, or is not what the record says.
        """
        if not isinstance(key, SampleKey):
            key = SampleKey(*key) if isinstance(key, tuple | list) else SampleKey(0, operator.index(key))
        if key.index not in range(len(self)):
            raise IndexError(f"index must be below {len(self)}, the number of records, and at least 0, not {key.index}")
        self.check_tokenizer()
        planned = self.plan(key.epoch, key.index, key.when, key.draw)
        record = planned.record
        image = None if record.messages else self.image(record, planned.result.plan.decode_shrink)
        weight = 0.0 if key.filler else 1.0
        return encode_sample(self.planner_of(key.index), planned, image, weight, key)

    def filler(self) -> Sample:
        """Return a short sample without an image and with loss weight 0, for a row that lost all its samples."""
        return text_filler(self.planners[0])
