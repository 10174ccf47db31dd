"""Rendered scenes with known truth: ``builtin:scenes?num=2000&seed=1&level=easy``, records that are made when read.

A scene is a set of bright shapes on a quiet ground. Captions name colour and kind (``red star``), and on request a side
(``red box left of the blue line``). Shapes are exact, in float64, and the pixels are painted from them with the exact
share that they cover of each pixel. A scene depends on the options, the seed and its index alone: not on the number of
scenes, on the order in which they are read or on the process that reads them.
"""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, cast

import msgspec
import numpy as np
import numpy.typing as npt
from PIL import Image

from dcap.core.config import check_fields, to_tree
from dcap.core.errors import ConfigError
from dcap.core.random import generator
from dcap.demo.relations import count_summary, related
from dcap.demo.scene_layout import SceneLayout, lay_out
from dcap.demo.scene_look import LEVELS, SceneColor, SceneGround, SceneKind, SceneLevel, SceneLook, SceneRelations
from dcap.demo.scene_painting import paint
from dcap.geometry.canvas import Canvas
from dcap.geometry.shapes import ShapeArray
from dcap.records.embedded_image import EmbeddedImage
from dcap.records.files.generated import PREFIX, read_options
from dcap.records.files.source import RecordSource
from dcap.records.record import Origin, Record

NAME = "scenes"
MOST_SCENES = 10_000_000
MOST_OBJECTS = 40
SIDES_PX = (48, 4096)
"""Smallest and largest side of a canvas."""

_LAYOUT, _GROUND = 0, 1
"""Purposes of random numbers: a scene is laid out without painting it."""


@dataclass(frozen=True)
class SceneOptions:
    """What scenes there are. A field that is `None` is as the level has it.

    Raises:
        ConfigError: A value is out of its range, or two do not go together.
    """

    num: int = 2000
    """Number of scenes, 1 to `MOST_SCENES`."""
    seed: int = 0
    """Each seed gives other scenes: train and validate on two seeds."""
    level: SceneLevel = "easy"
    """``single``: one large shape on dark ground, 128 x 128. ``easy``: one to three shapes far from each other on plain
    ground, 128 x 128. ``medium``: more of them, and of
    their kinds, 192 x 192. ``hard``: all kinds, textured ground, shapes that hide parts of others, 320 x 256."""
    width: int | None = None
    """Columns of the canvas."""
    height: int | None = None
    """Rows of the canvas."""
    min_objects: int | None = None
    """Fewest shapes of a scene."""
    max_objects: int | None = None
    """Most shapes of a scene."""
    least_radius: float | None = None
    """Smallest half extent of a shape, as a share of the canvas's shorter side, at least 0.07."""
    largest_radius: float | None = None
    """Largest half extent of a shape, as a share of the canvas's shorter side, at most 0.45."""
    kinds: tuple[SceneKind, ...] | None = None
    """Kinds of shapes."""
    colors: tuple[SceneColor, ...] | None = None
    """Colours of shapes."""
    grounds: tuple[SceneGround, ...] | None = None
    """Grounds; each scene has one of them."""
    occlusion: bool | None = None
    """Whether shapes hide parts of others. The label is what shows."""
    relations: SceneRelations = "none"
    """``left_right``: a caption says on which side of another shape this one is, left or right. ``all``: above and
    below too. The shapes of a scene then have different names, and none hides another."""
    summary: bool = False
    """Whether a record has a summary with counts: ``2 red boxes, 1 blue line``."""

    def __post_init__(self) -> None:
        check_fields(self)
        _check_range("num", self.num, 1, MOST_SCENES)
        _check_range("seed", self.seed, 0, 2**63 - 1)
        look = self.look
        for side in ("width", "height"):
            _check_range(side, getattr(look, side), *SIDES_PX)
        _check_range("max_objects", look.max_objects, 1, MOST_OBJECTS)
        _check_range("min_objects", look.min_objects, 1, look.max_objects)
        if not 0.07 <= look.least_radius <= look.largest_radius <= 0.45:
            raise ConfigError("least_radius and largest_radius must be within 0.07..0.45, the first not above the "
                              f"second, not {look.least_radius:g} and {look.largest_radius:g}")  # fmt: skip
        for name in ("kinds", "colors", "grounds"):
            values = getattr(look, name)
            if not values or len(set(values)) < len(values):
                raise ConfigError(f"{name} must be one or more different names, not {','.join(values) or 'none'}")
        if self.relations != "none":
            if self.occlusion:
                raise ConfigError("occlusion must be false with relations: a shape and its side must be seen whole")
            if min(look.max_objects, len(look.kinds) * len(look.colors)) < 2:
                raise ConfigError("relations must have two names and two shapes at least. Raise max_objects, or give "
                                  "more kinds or colors")  # fmt: skip

    @property
    def look(self) -> SceneLook:
        """The look of the level, with the fields that are given."""
        names = [field.name for field in dataclasses.fields(SceneLook) if hasattr(self, field.name)]
        given = {name: value for name in names if (value := getattr(self, name)) is not None}
        if self.relations != "none":
            given["occlusion"] = False
        base = LEVELS[self.level]
        if self.min_objects is None and self.max_objects is not None:
            given["min_objects"] = min(base.min_objects, self.max_objects)
        if self.max_objects is None and self.min_objects is not None:
            given["max_objects"] = max(base.max_objects, self.min_objects)
        return replace(base, **given)

    @property
    def name(self) -> str:
        """The data name: ``builtin:scenes?num=500&kinds=box,star``, without what is the default."""
        default, given = to_tree(SceneOptions()), to_tree(self)
        options = "&".join(f"{key}={_as_text(value)}" for key, value in given.items() if value != default[key])
        return f"{PREFIX}{NAME}?{options}" if options else PREFIX + NAME


def _check_range(name: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise ConfigError(f"{name} must be within {least}..{most}, not {value}")


def _as_text(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def make_scene(options: SceneOptions, index: int) -> tuple[npt.NDArray[np.uint8], Record]:
    """Return a scene: its pixels, uint8 (H, W, 3) RGB, and its record, which reads the same pixels as a file.

    Args:
        options: Which scenes.
        index: Which of them, from 0.

    Raises:
        IndexError: There is no such scene.
    """
    scenes = SceneRecords(options)
    return scenes.pixels(index), scenes[index]


def open_scenes(name: str, options: Mapping[str, str]) -> SceneRecords:
    """Return the scenes that a data name means; the maker of ``scenes`` in `RECORD_SOURCES`.

    Raises:
        ConfigError: An option is unknown or wrong.
    """
    return SceneRecords(read_options(SceneOptions, options, NAME), name)


class SceneRecords(RecordSource):
    """The records of scenes, by index. Each is made when it is asked for, and its image when that is opened.

    The label of a shape is what shows of it; see `dcap.demo.scene_layout`. With occlusion,
    ``metadata.visible_fractions`` has the share of each shape that shows.

    Args:
        options: Which scenes.
        name: Data name, for origins. `None`: that of the options.
    """

    def __init__(self, options: SceneOptions, name: str | None = None) -> None:
        self.options = options
        self.path = Path(name or options.name)
        self._last: tuple[int, SceneLayout, SceneGround] | None = None

    @cached_property
    def _look(self) -> SceneLook:
        return self.options.look

    def __len__(self) -> int:
        return self.options.num

    def origin(self, i: int) -> Origin:
        """Return the data name, and the number of record `i` from 1."""
        return Origin(str(self.path), self._row(i) + 1)

    def line(self, i: int) -> bytes:
        """Return record `i` as JSON; its numbers are those of the shapes to the last bit.

        Raises:
            IndexError: There is no such record.
        """
        look, (layout, _) = self._look, self._laid_out(i)
        shapes = ShapeArray.concatenate(layout.visible)
        captions = tuple(shape.name for shape in layout.shapes)
        if look.relations != "none":
            captions = related(captions, shapes.bounds(), only_x=look.relations == "left_right")
        objects = [{"desc": text, **shape} for text, shape in zip(captions, shapes.to_objects(), strict=True)]
        size = {"width": look.width, "height": look.height}
        record: dict[str, Any] = {"images": [self._image_name(i)], **size, "objects": objects}
        if self.options.summary:
            record["summary"] = count_summary(captions)
        if look.occlusion:
            record["metadata"] = {"visible_fractions": layout.visible_fraction}
        return msgspec.json.encode(record)

    def embedded(self, i: int) -> EmbeddedImage:
        """Return the image of record `i`."""
        return EmbeddedImage(f"{self._image_name(i)} of {self.path}", self, self._row(i))

    def open_image(self, i: int) -> BinaryIO:
        """Return the image of record `i` as a file in memory: BMP, which takes a fifth of the time of PNG."""
        file = io.BytesIO()
        Image.fromarray(self.pixels(i)).save(file, "BMP")
        file.seek(0)
        return cast(BinaryIO, file)

    def pixels(self, i: int) -> npt.NDArray[np.uint8]:
        """Return the image of record `i`, uint8 (H, W, 3) RGB.

        Raises:
            IndexError: There is no such record.
        """
        look, (layout, ground) = self._look, self._laid_out(i)
        rng = generator(self.options.seed, self._row(i), _GROUND)
        return paint(Canvas(look.height, look.width), layout.shapes, ground, rng)

    def _laid_out(self, i: int) -> tuple[SceneLayout, SceneGround]:
        row, last = self._row(i), self._last
        if last is None or last[0] != row:  # a record and its image are mostly read one after the other
            rng = generator(self.options.seed, row, _LAYOUT)
            ground = self._look.grounds[int(rng.integers(len(self._look.grounds)))]
            self._last = last = (row, lay_out(self._look, rng), ground)
        return last[1:]

    def _image_name(self, i: int) -> str:
        return f"scene-{self.options.seed}-{self._row(i):07d}.bmp"
