"""The ``data:`` section of a config, and the answer profile that training and inference share."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from dcap.answers.profile import AnswerProfile, DatasetProfile, Mode, ResolvedProfile
from dcap.answers.prompts import PromptConfig, resolve
from dcap.core.config import build, check_fields, merge, to_tree
from dcap.core.errors import ConfigError, GeometryError, nearest_hint
from dcap.geometry.canvas import MAX_PIXELS, MOST_PIXELS
from dcap.geometry.tiling import Tiling
from dcap.records.preprocess import PreprocessorConfig
from dcap.records.sixteen_bit import SixteenBit

Split = Literal["train", "val"]

_NAME = re.compile(r"[\w.+-]+")
_WILD = re.compile(r"[-_.]*[*?\[{].*")


@dataclass(frozen=True)
class MixtureEntry:
    """One data set of a mixture, with its share and its own settings.

    Without `ratio` and `weight` it is a target: each of its records is trained on once per epoch.
    """

    name: str
    """Name in logs and metrics: letters, digits, ``_``, ``.``, ``+`` and ``-``."""
    train: tuple[str, ...] | str = ()
    """File(s) of training records, as in `data.train`. Empty: the data set is for validation only."""
    val: tuple[str, ...] | str = ()
    """File(s) of validation records. Empty: the data set is for training only."""
    ratio: float | None = None
    """Samples per epoch, as a share of the records of all targets together. Each epoch draws them anew, with
    replacement. `null`: no share; see `weight`."""
    weight: float | None = None
    """How often an epoch takes each record. 2: twice. 0.5: two epochs together take each record once. `null`: once."""
    loss_weight: float = 1.0
    """Weight of the supervised tokens of this data set in the loss."""
    text: bool = False
    """`true`: the records are conversations without an image: ``messages``, each with ``role`` and ``content``. The
    last one is the answer, whose tokens train; `data.answer` does not count. `false`: the records have an image."""
    mode: Mode | None = None
    """As `data.mode`, for this data set. `null`: that of `data.mode`."""
    summary_ratio: float | None = None
    """As `data.summary_ratio`, for this data set. `null`: that of `data.summary_ratio`."""
    domain: str | None = None
    """Name of one of `data.domains`; its prompts are used. `null`: the prompts of `data.answer`."""
    prompts: dict[str, Any] = field(default_factory=dict)
    """Fields of `data.answer.prompts` that differ for this data set. They win over those of the domain."""
    answer: dict[str, Any] = field(default_factory=dict)
    """Fields of `data.answer` that differ for this data set, except `prompts`."""
    limit: int | None = None
    """Most training records of this data set, chosen as by `data.limit`. `null`: all."""
    max_objects: int | None = None
    """Most objects of a sample. If a record has more, each epoch draws this many at random. `null`: all objects."""
    augmentation: bool = True
    """Whether `augmentation` acts on the training samples of this data set."""
    curriculum: bool = True
    """Whether `augmentation.curriculum` acts on them. `false`: they stay where the curriculum starts."""

    def __post_init__(self) -> None:
        check_fields(self)
        if not _NAME.fullmatch(self.name):
            raise ConfigError(f"name must be letters, digits, _, ., + and -, not {self.name!r}")
        if not self.train and not self.val:
            raise ConfigError("train or val must name at least one file")
        if self.ratio is not None and self.weight is not None:
            raise ConfigError("ratio and weight must not both be given")
        for name in ("ratio", "weight", "loss_weight"):
            value = getattr(self, name)
            if value is not None and value <= 0.0:
                raise ConfigError(f"{name} must be above 0, not {value}")
        for name in ("limit", "max_objects"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name} must be at least 1, not {value}")
        if self.text:
            self._check_text()
        if "prompts" in self.answer:
            raise ConfigError("answer.prompts must be given as prompts, beside answer")

    def files(self, split: Split) -> tuple[str, ...]:
        """Return the files of a split."""
        return _files(self.train if split == "train" else self.val)

    def _check_text(self) -> None:
        """Refuse what only records with an image have."""
        given: dict[str, Any] = {
            "mode": self.mode,
            "summary_ratio": self.summary_ratio,
            "max_objects": self.max_objects,
        }
        given |= {"domain": self.domain, "prompts": self.prompts or None, "answer": self.answer or None}
        for name, value in given.items():
            if value is not None:
                raise ConfigError(
                    f"{name} must not be given with text: true, where a record has its question and answer itself"
                )

    @property
    def rule(self) -> str:
        """The rule for how often its records are taken: ``target``, ``ratio 0.5`` or ``weight 2``."""
        if self.ratio is not None:
            return f"ratio {self.ratio:g}"
        return "target" if self.weight is None else f"weight {self.weight:g}"

    @property
    def is_target(self) -> bool:
        """Whether each of its records is trained on once per epoch."""
        return bool(self.train) and self.ratio is None and self.weight is None


@dataclass(frozen=True)
class TilesConfig:
    """How large images are cut into tiles. Each tile is a sample."""

    size: int = 1024
    """Side of a tile in pixels of the image file, at least 64. A smaller image is one tile."""
    overlap: float = 0.2
    """Least share of its side that a tile has in common with the next, 0 to 0.9. Objects smaller than that are whole
    in some tile."""
    min_coverage: float = 0.1
    """Drop an object from a tile that shows less than this share of it, 0..1. An object larger than a tile is compared
    with the tile: an area with that of the tile, a line with its side."""

    def __post_init__(self) -> None:
        check_fields(self)
        try:
            self.tiling()
        except GeometryError as error:
            raise ConfigError(str(error)) from None
        if not 0.0 <= self.min_coverage <= 1.0:
            raise ConfigError(f"min_coverage must be within 0..1, not {self.min_coverage}")

    def tiling(self) -> Tiling:
        """Return how images are cut."""
        return Tiling(self.size, self.overlap)


@dataclass(frozen=True)
class DataConfig:
    """Where samples come from and how they become rows."""

    train: tuple[str, ...] | str = ()
    """File(s) of training records: ``.jsonl``, ``.jsonl.gz``, ``.jsonl.zst``, ``.parquet`` and ``.tar``, also mixed.
    Each is a name, a folder, a wildcard (``data/*.jsonl.gz``) or a range (``shards/train-{0000..0127}.tar``).
    ``builtin:photos/train.jsonl`` is bundled with dcap."""
    val: tuple[str, ...] | str = ()
    """File(s) of validation records, named as in `train`. They are never augmented."""
    mixture: tuple[MixtureEntry, ...] = ()
    """Several data sets in place of `train` and `val`. Each has a name, a share and its own settings."""
    domains: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Prompts that several data sets of a mixture share: for each name, the fields of `data.answer.prompts` that
    differ."""
    limit: int | None = None
    """Most training records, of all data sets together. They are chosen by a hash of `seed` and their image's path, or
    of their content if a Parquet file holds the image without a path. So nearly the same ones are chosen when records
    are added. With tiles, an image counts once. `null`: all."""
    root: str | None = None
    """Folder that all image paths must be inside. `null`: any path that a record names is allowed."""
    on_bad_record: Literal["error", "skip"] = "error"
    """``error``: stop, and list the errors of the first 50 bad records. ``skip``: leave bad records out, count and list
    them."""
    check_images: bool = True
    """Read the header of every image at the start, to find missing or wrong files before training."""
    max_image_pixels: int = MAX_PIXELS
    """Refuse images with more pixels (height x width), at most 715 827 882. The check reads only the header, so a huge
    image takes no memory."""
    sixteen_bit: SixteenBit = "full"
    """Which values of a 16-bit grey image become black and white. ``full``: 0 and 65535; an image that uses 12 of its
    bits is nearly black. ``minmax``: the smallest and the largest value of the image. ``percentile``: its 1st and 99th
    percentile. Prediction does the same as training."""
    tiles: TilesConfig | None = None
    """Cut large images into tiles, in training and validation. Each tile is a sample, and counts as a record.
    Prediction asks about the same tiles. `null`: a sample is a whole image."""
    mode: Mode = "dense"
    """What the answer is. ``dense``: the located objects. ``summary``: the summary of the record. ``mixed``: one of
    both, drawn for each sample."""
    summary_ratio: float = 0.2
    """Share of summaries in ``mixed`` mode, 0..1."""
    answer: AnswerProfile = field(default_factory=AnswerProfile)
    """Format of the answer, size of the image and prompts."""
    preprocessors: tuple[PreprocessorConfig, ...] = ()
    """Preprocessors of records, in order. Dropped records are left out and counted."""
    packing: bool = True
    """`true`: pack several samples into a row of up to `global_max_length` tokens. `false`: pad the samples of a batch
    to the longest."""
    packing_window: int = 8192
    """Number of samples, in shuffled order, that are packed at a time. A larger window fills rows better, a smaller one
    keeps the order closer to the shuffle. With a curriculum it is at
    most a sixteenth of the epoch, but not below 256 samples."""
    global_max_length: int = 4096
    """Most tokens of a row, and so of a sample. There is no other limit on length."""
    overlong: Literal["error", "drop", "drop_objects", "shrink_image"] = "error"
    """What to do with a sample longer than `global_max_length`. ``error``: stop. ``drop``: leave it out.
    ``drop_objects``: leave out its least visible objects. ``shrink_image``: show a smaller image, of at least
    `answer.min_pixels`. All of this is counted and logged."""
    patch_dtype: Literal["auto", "uint8", "float32"] = "auto"
    """How workers send the pixels to the trainer. ``uint8``: as bytes, an eighth of the size; the device normalises
    them. ``float32``: normalised. Both give the same bits. ``auto``: ``uint8``, but ``float32`` without workers and
    GPU."""
    num_workers: int = 2
    """Processes per rank that load samples. 0: the training process loads them itself."""

    def __post_init__(self) -> None:
        check_fields(self)
        if not 0.0 <= self.summary_ratio <= 1.0:
            raise ConfigError(f"summary_ratio must be within 0..1, not {self.summary_ratio}")
        for name, least in (
            ("packing_window", 1),
            ("global_max_length", 64),
            ("num_workers", 0),
            ("max_image_pixels", 1),
            ("limit", 1),
        ):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ConfigError(f"{name} must be at least {least}, not {value}")
        if self.max_image_pixels > MOST_PIXELS:
            raise ConfigError(
                f"max_image_pixels must be at most {MOST_PIXELS}, not {self.max_image_pixels}. Larger images cannot be "
                "augmented; shrink them first"
            )
        if self.tiles is not None and self.mode != "dense":
            raise ConfigError(
                f"mode must be dense where tiles are given, not {self.mode}: a summary is about the whole image"
            )
        if self.mixture:
            self._check_mixture()

    def _check_mixture(self) -> None:
        if self.train or self.val:
            raise ConfigError("train and val must be empty where mixture is given. Name the files in its entries")
        names = [entry.name for entry in self.mixture]
        for i, entry in enumerate(self.mixture):
            if entry.name in names[:i]:
                raise ConfigError(f"mixture[{i}].name must be given once, and {entry.name!r} is given twice")
            if entry.domain is not None and entry.domain not in self.domains:
                hint = nearest_hint(entry.domain, self.domains)
                raise ConfigError(f"mixture[{i}].domain must be one of data.domains, not {entry.domain!r}{hint}")
            self.of_entry(entry)
        shared = [i for i, entry in enumerate(self.mixture) if entry.ratio is not None]
        if shared and not any(entry.is_target for entry in self.mixture):
            raise ConfigError(
                f"mixture[{shared[0]}].ratio must go with a target, but there is none. A target is a data set for "
                "training without ratio and weight"
            )

    def entries(self, split: Split) -> tuple[MixtureEntry, ...]:
        """Return the data sets of a split; those of `train` and `val` are named after their files."""
        if self.mixture:
            return tuple(entry for entry in self.mixture if entry.files(split))
        files: dict[str, list[str]] = {}
        for file in _files(self.train if split == "train" else self.val):
            files.setdefault(dataset_name(file), []).append(file)
        return tuple(MixtureEntry(name, train=tuple(each), val=tuple(each)) for name, each in files.items())

    def with_images(self) -> DataConfig:
        """Return the section without the data sets of conversations; for what shows or checks images."""
        return replace(self, mixture=tuple(entry for entry in self.mixture if not entry.text))

    def of_entry(self, entry: MixtureEntry) -> DataConfig:
        """Return the section as it is for one data set, without a mixture.

        Raises:
            ConfigError: A field of its answer or prompts is unknown or wrong.
        """
        where = f"mixture[{self.mixture.index(entry)}]" if entry in self.mixture else ""
        prompts = to_tree(self.answer.prompts)
        if entry.domain is not None:
            prompts = merge(prompts, self.domains[entry.domain])
            build(PromptConfig, prompts, f"domains.{entry.domain}")
        answer = merge(to_tree(self.answer), entry.answer)
        answer["prompts"] = to_tree(build(PromptConfig, merge(prompts, entry.prompts), f"{where}.prompts"))
        return replace(
            self,
            train=entry.train,
            val=entry.val,
            mixture=(),
            answer=build(AnswerProfile, answer, f"{where}.answer"),
            mode=entry.mode or self.mode,
            summary_ratio=self.summary_ratio if entry.summary_ratio is None else entry.summary_ratio,
        )

    def has(self, split: Split) -> bool:
        """Whether a split has any file."""
        return bool(self.entries(split))


def resolve_profile(config: DataConfig) -> ResolvedProfile:
    """Return the answer profile of a data config, its prompts as texts.

    Args:
        config: A run's ``data:`` section. Paths of ``file:PATH`` prompts start at the current folder, as those of data.

    Raises:
        ConfigError: There is no such set of prompts, a file cannot be read, or a prompt holds a control token.
    """
    datasets = {}
    for entry in config.mixture:
        own = config.of_entry(entry)
        datasets[entry.name] = DatasetProfile(own.answer, resolve(own.answer.prompts), own.mode)
    prompts = resolve(config.answer.prompts)
    tiles = None if config.tiles is None else config.tiles.tiling()
    return ResolvedProfile(config.answer, prompts, config.mode, datasets, config.sixteen_bit, tiles)


def dataset_name(file: str) -> str:
    """Return a name for files that have none: that of the file, folder or shards, without ending and wildcard."""
    path = Path(file.removeprefix("builtin:"))
    name = _WILD.sub("", path.name) or path.parent.name
    return re.sub(r"[^\w.+-]+", "_", re.sub(r"(\.jsonl)?\.\w+$", "", name)) or "data"


def _files(value: tuple[str, ...] | str) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else value
