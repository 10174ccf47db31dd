"""The ``data:`` section of a config, and the answer profile that training and inference share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from dcap.core.errors import ConfigError
from dcap.geometry.canvas import MAX_PIXELS
from dcap.geometry.grid import Norm

Mode = Literal["dense", "summary", "mixed"]


@dataclass(frozen=True)
class PromptConfig:
    """What the model is asked. Each text is given in place, or as ``file:PATH``, or left to the named set."""

    name: str = "en"
    """Registered set of prompts: ``en``, ``zh``, or one of your own."""
    system: str | None = None
    """System message; none by default, as in the published model."""
    dense: str | None = None
    """User message that asks for the located objects."""
    summary: str | None = None
    """User message that asks for the summary."""


@dataclass(frozen=True)
class AnswerProfile:
    """Everything that training, prediction, evaluation and export must agree on; saved beside every checkpoint."""

    format: str = "object_map"
    """Registered answer format: ``object_map`` or ``qwen``."""
    emit_norm: Norm = "norm1000"
    """Coordinate grid of the text: ``norm1000``, ``norm100``, or ``none`` for pixels of the canvas."""
    object_order: Literal["reading", "record"] = "reading"
    """``reading``: top to bottom, then left to right by the shape's top-left; ``record``: as in the file."""
    max_polygon_points: int | None = None
    """Simplify polygons and lines to at most this many points; none keeps them all."""
    min_polygon_iou: float = 0.8
    """A simplified polygon keeps at least this IoU with the original (a line this share of its length), 0..1; one
    that would lose more keeps more points than `max_polygon_points`."""
    min_pixels: int = 65_536
    """Smallest image area that the model sees, in pixels; smaller images are enlarged."""
    max_pixels: int = 1_048_576
    """Largest image area that the model sees, in pixels; 1 048 576 is 1024 vision tokens."""
    prompts: PromptConfig = field(default_factory=PromptConfig)
    """What the model is asked."""

    def __post_init__(self) -> None:
        if not 1024 <= self.min_pixels <= self.max_pixels:
            raise ConfigError(f"min_pixels must be within 1024..max_pixels ({self.max_pixels}), not {self.min_pixels}")
        if self.max_polygon_points is not None and self.max_polygon_points < 3:
            raise ConfigError(f"max_polygon_points must be at least 3, not {self.max_polygon_points}")
        if not 0.0 <= self.min_polygon_iou <= 1.0:
            raise ConfigError(f"min_polygon_iou must be within 0..1, not {self.min_polygon_iou}")


@dataclass(frozen=True)
class PreprocessorConfig:
    """One record preprocessor, run before augmentation."""

    name: str
    """Registered name."""
    params: dict[str, Any] = field(default_factory=dict)
    """Its parameters."""


@dataclass(frozen=True)
class DataConfig:
    """Where samples come from and how they become rows."""

    train: tuple[str, ...] | str = ()
    """JSONL file(s) of training records; ``builtin:photos/train.jsonl`` is bundled."""
    val: tuple[str, ...] | str = ()
    """JSONL file(s) of validation records; never augmented."""
    root: str | None = None
    """Folder that image paths must stay in; none allows any path that the records name."""
    on_bad_record: Literal["error", "skip"] = "error"
    """``error`` stops with all errors of the first 50 found; ``skip`` goes on, counts and lists them."""
    check_images: bool = True
    """Read every image's header at the start, so that a missing or wrong file is found before training."""
    max_image_pixels: int = MAX_PIXELS
    """Refuse larger images from their header, before pixels are allocated (height x width)."""
    mode: Mode = "dense"
    """``dense``: located objects; ``summary``: the record's summary; ``mixed``: drawn per sample."""
    summary_ratio: float = 0.2
    """Share of summary samples in ``mixed`` mode, 0..1."""
    answer: AnswerProfile = field(default_factory=AnswerProfile)
    """Answer text, image size and prompts."""
    preprocessors: tuple[PreprocessorConfig, ...] = ()
    """Record preprocessors, in order; what one drops is left out and counted."""
    packing: bool = True
    """Pack samples into rows of `global_max_length` tokens; false pads a batch to its longest sample."""
    packing_window: int = 8192
    """Samples that are packed together; smaller keeps the shuffle, larger fills rows better. A curriculum packs no more
    than a sixteenth of the epoch, or 256 samples."""
    global_max_length: int = 4096
    """The one length knob: tokens of a row, and so of a sample."""
    overlong: Literal["error", "drop", "drop_objects"] = "error"
    """Sample longer than `global_max_length`: stop, leave it out, or leave out its least visible objects."""
    num_workers: int = 2
    """Loader processes per rank; 0 loads in the trainer's own."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.summary_ratio <= 1.0:
            raise ConfigError(f"summary_ratio must be within 0..1, not {self.summary_ratio}")
        for name, least in (
            ("packing_window", 1),
            ("global_max_length", 64),
            ("num_workers", 0),
            ("max_image_pixels", 1),
        ):
            if getattr(self, name) < least:
                raise ConfigError(f"{name} must be at least {least}, not {getattr(self, name)}")

    def files(self, split: Literal["train", "val"]) -> tuple[str, ...]:
        """Return the files of a split."""
        value = self.train if split == "train" else self.val
        return (value,) if isinstance(value, str) else value
