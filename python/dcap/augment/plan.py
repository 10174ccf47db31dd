"""Plan: all changes to one sample, without pixels; and the result that carries the plan."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from dcap.augment.color import COLOR_STEPS, ColorStep
from dcap.augment.scene import Scene
from dcap.augment.telemetry import Telemetry
from dcap.core.config import build, to_tree
from dcap.core.errors import ConfigError, GeometryError
from dcap.geometry.affine import Affine
from dcap.geometry.canvas import MAX_PIXELS, MOST_PIXELS, Canvas
from dcap.geometry.tiling import TileWindow

Interpolation = Literal["linear", "cubic", "model"]

MAX_STEPS = 1000
MAX_PASTES = 1000
MAX_SIDE = 1 << 16
MAX_POINTS = 1000
MAX_COORDINATE = 1e9
MAX_WORDS = 1000
"""Limits for a plan from a file: colour steps, pastes, sides, points of an outline, coordinates, words."""


@dataclass(frozen=True, eq=False, slots=True)
class Paste:
    """A part of the source that the image shows a second time. Its pixels are read from the source.

    Args:
        affine: Source frame to final frame.
        region: Convex outline of the area that it covers, float64 (K, 2), final frame.
    """

    affine: Affine
    region: npt.NDArray[np.float64]

    def mapped(self, affine: Affine) -> Paste:
        """Return the paste in a frame that is mapped once more."""
        return Paste(affine @ self.affine, affine.apply(self.region))


@dataclass(frozen=True, eq=False, slots=True)
class Plan:
    """One map, one visible region, the pastes over it, and one list of colour steps.

    Args:
        source: Canvas of the decoded image.
        canvas: Canvas that the model sees.
        affine: Source frame to final frame; every geometric op and the model's own resize in one.
        region: Convex outline of the source pixels that are still visible, float64 (K, 2), final frame. The image is
            mid grey outside.
        color: Colour steps, after all geometry.
        interpolation: ``linear`` or ``cubic`` for the one warp; ``model`` for a sample without augmentation, which
            is resized exactly as Hugging Face's processor does it.
        steps: The changes in words.
        pastes: Parts of the source that the image shows a second time. Later ones cover earlier ones.
        window: The part of the source that is cut out before anything else. `None`: all of it.
        words: Words of direction that the texts of the source have, and the words that the final texts have in their
            place; in lower case.
    """

    source: Canvas
    canvas: Canvas
    affine: Affine
    region: npt.NDArray[np.float64]
    color: tuple[ColorStep, ...]
    interpolation: Interpolation
    steps: tuple[str, ...]
    pastes: tuple[Paste, ...] = ()
    window: TileWindow | None = None
    words: tuple[tuple[str, str], ...] = ()

    @property
    def decode_shrink(self) -> int:
        """Factor by which a decoder may shrink the source: 1, 2, 4 or 8. No map shrinks by less."""
        if self.interpolation == "model":
            return 1
        maps = [self.affine, *(paste.affine for paste in self.pastes)]
        growth = max(float(np.linalg.norm(a.matrix[:2, :2], 2)) for a in maps)  # of the direction that shrinks least
        return next(k for k in (8, 4, 2, 1) if k == 1 or growth * k <= 1.0 + 1e-9)

    def describe(self) -> str:
        """Return the plan in words, one line per step."""
        source = f"{self.source.width}x{self.source.height}"
        tile = "" if self.window is None else f", tile {self.window}"
        head = f"{source}{tile} -> {self.canvas.width}x{self.canvas.height}"
        words = [f"words: {', '.join(f'{old} -> {new}' for old, new in self.words)}"] if self.words else []
        return "\n".join([head, *(self.steps or ("no augmentation",)), *words])

    def to_json(self) -> str:
        """Return the plan as JSON. `from_json` reads it back as a plan that renders the same pixels.

        Raises:
            ConfigError: As `to_tree`.
        """
        return json.dumps(self.to_tree(), ensure_ascii=False)

    def to_tree(self) -> dict[str, Any]:
        """Return the plan as plain dicts and lists; `from_tree` reads them back.

        Raises:
            ConfigError: A colour step's class is not registered in `dcap.augment.color.COLOR_STEPS`.
        """
        color = [{"step": COLOR_STEPS.name_of(type(step)), "params": to_tree(step)} for step in self.color]
        names = ("source", "canvas", "affine", "interpolation", "steps")
        tree = {name: to_tree(getattr(self, name)) for name in names}
        pastes = [{"affine": to_tree(paste.affine), "region": paste.region.tolist()} for paste in self.pastes]
        window = {} if self.window is None else {"window": to_tree(self.window)}
        words = {"words": to_tree(self.words)} if self.words else {}
        return {**tree, "region": self.region.tolist(), "pastes": pastes, "color": color, **window, **words}

    @classmethod
    def from_json(cls, text: str, where: str = "plan") -> Plan:
        """Read a plan that `to_json` wrote.

        Args:
            text: JSON.
            where: Name of its source, for messages.

        Raises:
            ConfigError: The text is not JSON, or as `from_tree`.
        """
        try:
            tree = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"{where} must be a plan as dcap writes it ({error})") from None
        return cls.from_tree(tree, where)

    @classmethod
    def from_tree(cls, plain: Any, where: str = "plan") -> Plan:
        """Read a plan that `to_tree` returned.

        Raises:
            ConfigError: It is not a plan, or the plan breaks a limit, such as `MAX_PIXELS` or `MAX_STEPS`.
        """
        try:
            tree = build(_PlanTree, plain, where)
        except (ConfigError, GeometryError) as error:
            raise ConfigError(f"{where} must be a plan as dcap writes it ({error})") from None
        _check_bounds(tree, where)
        color = [
            build(COLOR_STEPS.get(item.step, f"{where}.color[{i}].step"), item.params, f"{where}.color[{i}].params")
            for i, item in enumerate(tree.color)
        ]
        pastes = tuple(Paste(item.affine, _points(item.region)) for item in tree.pastes)
        region = _points(tree.region)
        return cls(
            source=tree.source,
            canvas=tree.canvas,
            affine=tree.affine,
            region=region,
            color=tuple(color),
            interpolation=tree.interpolation,
            steps=tree.steps,
            pastes=pastes,
            window=tree.window,
            words=tree.words,
        )


@dataclass(frozen=True)
class _StepTree:
    step: str
    params: dict[str, Any]


@dataclass(frozen=True)
class _PasteTree:
    affine: Affine
    region: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class _PlanTree:
    source: Canvas
    canvas: Canvas
    affine: Affine
    region: tuple[tuple[float, float], ...]
    color: tuple[_StepTree, ...]
    interpolation: Interpolation
    steps: tuple[str, ...]
    pastes: tuple[_PasteTree, ...] = ()
    window: TileWindow | None = None
    words: tuple[tuple[str, str], ...] = ()


def _points(region: tuple[tuple[float, float], ...]) -> npt.NDArray[np.float64]:
    return np.array(region, np.float64).reshape(-1, 2)


def _check_bounds(tree: _PlanTree, where: str) -> None:
    for name, canvas, most in (("source", tree.source, MOST_PIXELS), ("canvas", tree.canvas, MAX_PIXELS)):
        if canvas.num_pixels > most:
            raise ConfigError(f"{where}.{name} must have at most {most} pixels, not {canvas.num_pixels}")
        if max(canvas.height, canvas.width) > MAX_SIDE:
            raise ConfigError(f"{where}.{name} must have sides of at most {MAX_SIDE} pixels, not {canvas}")
    if (window := tree.window) is not None:
        right, bottom = window.x + window.width, window.y + window.height
        inside = 0 <= window.x < right <= tree.source.width and 0 <= window.y < bottom <= tree.source.height
        if not inside:
            raise ConfigError(f"{where}.window must be inside the source, not {window}")
    if len(tree.color) > MAX_STEPS:
        raise ConfigError(f"{where}.color must have at most {MAX_STEPS} steps, not {len(tree.color)}")
    if len(tree.words) > MAX_WORDS:
        raise ConfigError(f"{where}.words must be at most {MAX_WORDS} pairs, not {len(tree.words)}")
    if len(tree.pastes) > MAX_PASTES:
        raise ConfigError(f"{where}.pastes must be at most {MAX_PASTES}, not {len(tree.pastes)}")
    layers: list[_PlanTree | _PasteTree] = [tree, *tree.pastes]
    for layer in layers:
        try:
            layer.affine.inverse()
        except GeometryError as error:
            raise ConfigError(f"{where}: {error}") from None
        least = 3 if isinstance(layer, _PasteTree) else 0
        if not least <= len(layer.region) <= MAX_POINTS:
            raise ConfigError(f"{where} must have outlines of {least} to {MAX_POINTS} points, not {len(layer.region)}")
    far = max(abs(v) for x in layers for v in (*x.affine.coefficients, *(v for point in x.region for v in point)))
    if far > MAX_COORDINATE:
        raise ConfigError(f"{where} must have coordinates of at most {MAX_COORDINATE:g}, not {far:g}")


@dataclass(frozen=True, eq=False, slots=True)
class AugmentResult:
    """A scene after augmentation, with its plan.

    Args:
        scene: M shapes and captions in the final frame, with attributes and summary if the input had them. Words of
            direction follow the map. It has pixels if the input had pixels.
        source_index: int64 (M,): the input object from which each output object came.
        visible_fraction: float64 (M,): share of that object's area (length for lines) that the result shows. With
            ``split_policy="largest"`` only the kept part counts, even if more of the object is on the canvas. With
            ``"all"`` all its parts count together, and each has the same number. A length is measured on the canvas of
            the op that cuts it. In a tile, what the tile shows of an object counts as all of it.
        is_copy: bool (M,): whether it is a pasted copy; the original may be there as well.
        plan: All changes.
        telemetry: Objects kept and dropped, ops skipped, and why.
    """

    scene: Scene
    source_index: npt.NDArray[np.int64]
    visible_fraction: npt.NDArray[np.float64]
    is_copy: npt.NDArray[np.bool_]
    plan: Plan
    telemetry: Telemetry
