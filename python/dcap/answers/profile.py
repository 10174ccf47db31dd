"""The answer profile beside a checkpoint: one file with all that training, prediction and evaluation must agree on.

Owns ``answer_profile.json``. Prompts are saved as texts, so that prediction needs neither the config nor its files.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from dcap.answers.prefix import Prefix, check_fixed_text
from dcap.answers.prompts import PromptConfig, Prompts
from dcap.core.config import build, check_fields, to_tree
from dcap.core.errors import CheckpointError, ConfigError, GeometryError, nearest_hint
from dcap.core.files import require_file, write_whole
from dcap.core.words import show
from dcap.geometry.grid import Norm
from dcap.geometry.tiling import Tiling
from dcap.records.sixteen_bit import SixteenBit

Mode = Literal["dense", "summary", "mixed"]
ObjectOrder = Literal["reading", "record", "xy", "center"]
FILE_NAME = "answer_profile.json"
VERSION = 1
_MAX_BYTES = 1 << 20


@dataclass(frozen=True)
class AnswerProfile:
    """Everything that training, prediction, evaluation and export must agree on; saved beside every checkpoint."""

    format: str = "object_map"
    """Name of the answer format: ``object_map``, ``desc_first``, ``qwen``, ``qwen_compact``, ``rows``, or one of a
    plugin. ``dcap guide answers`` shows each, and what it costs."""
    prefix: str | None = None
    """Text in front of the objects, trained as they are, such as ``"{num_objects} objects\\n"``. Its fields are
    ``num_objects``, ``num_boxes``, ``num_polygons`` and ``num_lines``. `null`: no prefix."""
    empty: str | None = None
    """What the model writes where an image has no objects, behind the prefix, such as ``No objects.``. `null`: what the
    format writes, such as ``{}`` or ``[]``."""
    emit_norm: Norm = "norm1000"
    """Unit of the coordinates in the text. ``norm1000``: whole numbers from 0 to 1000 along each side; ``norm100``:
    from 0 to 100; ``none``: pixels of the image as the model sees it."""
    object_order: ObjectOrder = "reading"
    """Order of the objects in the text. ``reading``: top to bottom, then left to right, by the top-left corner of each
    shape; ``xy``: left to right, then top to bottom, by the same corner; ``center``: top to bottom, then left to right,
    by the centre of each shape; ``record``: as in the file."""
    point_order: Literal["record", "canonical"] = "record"
    """Where a line begins, and where a polygon begins before it is simplified. ``record``: as in the file, for lines
    whose direction has a meaning; ``canonical``: at the upper end or corner, of equally high ones at the left one, so
    that a shape has one text however it was drawn. In the text, polygons begin there in any case."""
    max_polygon_points: int | None = None
    """Simplify polygons and lines to at most this many points. `null`: keep all points."""
    min_polygon_iou: float = 0.8
    """Least quality of a simplified shape, 0..1: for a polygon its IoU with the original, for a line the kept share of
    its length. A shape that would fall below it keeps more points than `max_polygon_points`."""
    min_pixels: int = 65_536
    """Smallest image that the model sees, height x width in pixels. Smaller images are enlarged."""
    max_pixels: int = 1_048_576
    """Largest image that the model sees, height x width in pixels. Larger images are shrunk. 1 048 576 pixels are 1024
    image tokens."""
    prompts: PromptConfig = field(default_factory=PromptConfig)
    """Texts that ask the model."""

    def __post_init__(self) -> None:
        check_fields(self)
        if not 1024 <= self.min_pixels <= self.max_pixels:
            raise ConfigError(f"min_pixels must be within 1024..max_pixels ({self.max_pixels}), not {self.min_pixels}")
        if self.max_polygon_points is not None and self.max_polygon_points < 3:
            raise ConfigError(f"max_polygon_points must be at least 3, not {self.max_polygon_points}")
        if not 0.0 <= self.min_polygon_iou <= 1.0:
            raise ConfigError(f"min_polygon_iou must be within 0..1, not {self.min_polygon_iou}")
        if self.prefix is not None:
            Prefix(self.prefix)
        if self.empty is not None:
            check_fixed_text(self.empty, "empty")
            if self.empty[-1].isspace() or set(self.empty) & set("{}[]"):
                raise ConfigError(
                    f"empty must have no brackets, which begin objects, and no blank at its end, not {show(self.empty)}"
                )


@dataclass(frozen=True)
class DatasetProfile:
    """The questions and answers of one data set of a mixture."""

    answer: AnswerProfile
    """Format, grid, order and image size."""
    prompts: Prompts
    """The texts that ask the model."""
    mode: Mode
    """What the model was trained to answer."""


@dataclass(frozen=True)
class ResolvedProfile:
    """An answer profile whose prompts are texts."""

    answer: AnswerProfile
    """Format, grid, order and image size."""
    prompts: Prompts
    """The texts that ask the model; `answer.prompts` only says where they came from."""
    mode: Mode = "dense"
    """What the model was trained to answer."""
    datasets: dict[str, DatasetProfile] = field(default_factory=dict)
    """The profile of each data set of a mixture, by name."""
    sixteen_bit: SixteenBit = "full"
    """How images of 16 bits are decoded; see `dcap.records.sixteen_bit.to_bytes`."""
    tiles: Tiling | None = None
    """How large images were cut. `None`: the model saw whole images."""

    @property
    def is_trained(self) -> bool:
        """Whether a data set was trained with exactly this profile; true without a mixture."""
        return not self.datasets or DatasetProfile(self.answer, self.prompts, self.mode) in self.datasets.values()

    def of_dataset(self, name: str) -> ResolvedProfile:
        """Return the profile of one data set.

        Raises:
            ConfigError: No data set has that name.
        """
        if name not in self.datasets:
            known = nearest_hint(name, self.datasets) if self.datasets else "; the model was not trained on a mixture"
            raise ConfigError(f"data set must be one of the mixture that the model was trained on, not {name!r}{known}")
        own = self.datasets[name]
        return ResolvedProfile(own.answer, own.prompts, own.mode, sixteen_bit=self.sixteen_bit, tiles=self.tiles)


def save_profile(folder: str | Path, profile: ResolvedProfile) -> Path:
    """Write ``answer_profile.json`` into a folder, whole or not at all, and return its path."""
    path = Path(folder) / FILE_NAME
    text = json.dumps({"version": VERSION, **to_tree(profile)}, ensure_ascii=False, indent=2)
    write_whole(path, text + "\n")
    return path


def load_profile(folder: str | Path) -> ResolvedProfile:
    """Read the profile of a checkpoint folder.

    Raises:
        CheckpointError: The file is missing, torn, from a newer version, or has a field that dcap does not know.
    """
    path = Path(folder) / FILE_NAME
    way_out = f"It is beside the weights: name the folder that dcap train wrote, or copy its {FILE_NAME} here."
    require_file(path, "answer profile", CheckpointError, way_out)
    tree = _read(path)
    version = tree.pop("version", None)
    if version != VERSION:
        raise CheckpointError(f"{path}: version must be {VERSION}, not {show(version)}. Use the dcap that wrote it.")
    try:
        return build(ResolvedProfile, tree)
    except (ConfigError, GeometryError) as error:
        where = "tiles." if isinstance(error, GeometryError) else ""
        raise CheckpointError(f"{path}: {where}{error}. Use the dcap that wrote it, or restore the file.") from None


def _read(path: Path) -> dict[str, Any]:
    if path.stat().st_size > _MAX_BYTES:
        raise CheckpointError(f"{path}: answer profile must be at most {_MAX_BYTES} bytes. Restore it from the run.")
    try:
        tree = json.loads(path.read_text("utf-8"))
    except (ValueError, OSError, RecursionError) as error:
        raise CheckpointError(f"{path}: answer profile must be JSON ({error}). Restore it from the run.") from None
    if not isinstance(tree, dict):
        raise CheckpointError(f"{path}: answer profile must be a JSON object. Restore it from the run.")
    return tree
