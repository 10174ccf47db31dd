"""Colour steps: deterministic effects on 8-bit RGB.

A step that maps each value on its own is a table of 256 entries. All steps that map each pixel on its own share one
pass of `dcap.kernels.recolor`. Those that look at more pixels are in `dcap.augment.filters`.
"""

from __future__ import annotations

import colorsys
import itertools
import math
import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from dcap import kernels
from dcap.core.errors import ConfigError, PluginError
from dcap.core.registry import Registry

Image = npt.NDArray[np.uint8]
Table = npt.NDArray[np.uint8]

VALUES = np.arange(256, dtype=np.float64)
"""The values that a table maps."""
_IDENTITY: Final = np.arange(256, dtype=np.uint8)
_TABLE, _SATURATION, _HSV = range(3)
_MOST_FACTOR: Final = 1e30
"""Larger factors give the same result and do not fit a float32."""


class ColorStep(Protocol):
    """One deterministic colour effect."""

    def apply(self, image: Image) -> Image:
        """Return the changed image, uint8 (H, W, 3) RGB."""
        ...


class KernelCode(NamedTuple):
    """A step as `dcap.kernels.recolor` takes it.

    Attributes:
        kind: 0 for a table, 1 for a saturation, 2 for hue, saturation and value.
        numbers: Kind 1: the factor. Kind 2: the turn in sixths of the colour circle, then two factors.
        table: uint8 (256,), read for kind 0 only.
    """

    kind: int
    numbers: tuple[float, float, float] = (0.0, 0.0, 0.0)
    table: Table = _IDENTITY


class PixelStep(ABC):
    """A colour step that maps each pixel on its own, wherever it is. `dcap.kernels.recolor` runs it."""

    @abstractmethod
    def code(self) -> KernelCode:
        """Return the step as the kernel takes it."""

    def apply(self, image: Image) -> Image:
        """Return the changed image, uint8 (H, W, 3) RGB."""
        return recolored(image, [self])


def recolored(image: Image, steps: Sequence[PixelStep], out: Image | None = None) -> Image:
    """Apply steps in order, in one pass without the GIL. Each step rounds to 8 bits.

    Args:
        image: uint8 (H, W, 3) RGB. Copied first when it is not C-contiguous.
        steps: At least one.
        out: Array to write to, C-contiguous; may be the image. `None`: a new array.

    Raises:
        GeometryError: A factor is below 0 or not a number.
    """
    codes = [step.code() for step in steps]
    kinds = np.array([code.kind for code in codes], np.uint8)
    tables = np.concatenate([code.table for code in codes])
    numbers = np.minimum([code.numbers for code in codes], _MOST_FACTOR).astype(np.float32)
    if out is None:
        out = np.empty(image.shape, np.uint8)
    kernels.recolor(np.ascontiguousarray(image), kinds, tables, numbers, out)
    return out


class TableStep(PixelStep):
    """A colour step that maps each value on its own."""

    @abstractmethod
    def table(self) -> Table:
        """Return what each of the values 0..255 becomes, uint8 (256,)."""

    def code(self) -> KernelCode:
        """Return the step as the kernel takes it."""
        return KernelCode(_TABLE, table=self.table())


COLOR_STEPS: Registry[type[ColorStep]] = Registry("colour step", "dcap.color_steps")
"""Colour steps by their name in a written plan. A step is a frozen dataclass of plain values."""


@COLOR_STEPS.register("levels")
@dataclass(frozen=True, slots=True)
class Levels(TableStep):
    """Brightness and contrast: v -> gain * (v - pivot) + pivot + offset for every value v.

    Args:
        gain: Slope.
        pivot: Value that the gain leaves in place.
        offset: Added afterwards, in levels.
    """

    gain: float
    pivot: float = 0.0
    offset: float = 0.0

    def __post_init__(self) -> None:
        for name in ("gain", "pivot", "offset"):
            check_range(name, getattr(self, name), -1e6, 1e6)

    def table(self) -> Table:
        """Return the line, rounded half to even and clipped, uint8 (256,)."""
        return rounded(self.gain * (VALUES - self.pivot) + self.pivot + self.offset)


@COLOR_STEPS.register("power_curve")
@dataclass(frozen=True, slots=True)
class PowerCurve(TableStep):
    """The curve v -> 255 (v / 255) ^ exponent; black and white stay.

    Args:
        exponent: Above 0; below 1 brightens, above 1 darkens.
    """

    exponent: float

    def __post_init__(self) -> None:
        check_range("exponent", self.exponent, sys.float_info.min, sys.float_info.max)

    def table(self) -> Table:
        """Return the curve, rounded half to even, uint8 (256,)."""
        return rounded(255.0 * (VALUES / 255.0) ** self.exponent)


@COLOR_STEPS.register("inversion")
@dataclass(frozen=True, slots=True)
class Inversion(TableStep):
    """Invert bright values, v -> 255 - v from a threshold on; as `PIL.ImageOps.solarize`.

    Args:
        threshold: Smallest value to invert, 0..256.
    """

    threshold: int

    def __post_init__(self) -> None:
        check_range("threshold", self.threshold, 0, 256)

    def table(self) -> Table:
        """Return the inverted and the kept values, uint8 (256,)."""
        return rounded(np.where(self.threshold > VALUES, VALUES, 255.0 - VALUES))


@COLOR_STEPS.register("fewer_bits")
@dataclass(frozen=True, slots=True)
class FewerBits(TableStep):
    """Keep the highest bits of each value and clear the rest; as `PIL.ImageOps.posterize`.

    Args:
        bits: Number of bits to keep, 1..8.
    """

    bits: int

    def __post_init__(self) -> None:
        check_range("bits", self.bits, 1, 8)

    def table(self) -> Table:
        """Return the shortened values, uint8 (256,)."""
        return np.arange(256, dtype=np.uint8) & np.uint8(256 - (1 << (8 - self.bits)))


@COLOR_STEPS.register("saturation")
@dataclass(frozen=True, slots=True)
class Saturation(PixelStep):
    """Blend with the grey image: 0 is grey, 1 leaves the image as it is.

    Args:
        factor: Share of colour, at least 0.
    """

    factor: float

    def code(self) -> KernelCode:
        """Return the step as the kernel takes it."""
        return KernelCode(_SATURATION, (self.factor, 0.0, 0.0))


@COLOR_STEPS.register("hue")
@dataclass(frozen=True, slots=True)
class Hue(PixelStep):
    """Turn the hue.

    Args:
        shift_deg: Degrees on the colour circle.
    """

    shift_deg: float

    def code(self) -> KernelCode:
        """Return the step as the kernel takes it."""
        return HsvScale(self.shift_deg, 1.0, 1.0).code()


@COLOR_STEPS.register("hsv_scale")
@dataclass(frozen=True, slots=True)
class HsvScale(PixelStep):
    """Turn the hue and scale saturation and value; the result is exact to the grey level.

    Args:
        hue_deg: Degrees on the colour circle.
        saturation: Factor, at least 0; the result is clipped to 1.
        value: Factor, at least 0; the result is clipped to 255.
    """

    hue_deg: float
    saturation: float
    value: float

    def code(self) -> KernelCode:
        """Return the step as the kernel takes it."""
        return KernelCode(_HSV, (self.hue_deg % 360.0 / 60.0, self.saturation, self.value))


MOST_HUE_SHIFT: Final = 15.0
"""Degrees by which names of colours stay true."""
LEAST_SATURATION: Final = 0.5
"""Saturation, the share that the largest of red, green and blue is above the smallest, with which they stay true."""
LEAST_VALUE: Final = 0.2
"""Share of its brightness, the largest of red, green and blue, with which a colour keeps its name."""
_ROUNDING_DEG: Final = 0.25
"""Error of a hue whose red, green and blue are rounded."""


def why_colors_alter(steps: Sequence[ColorStep]) -> str | None:
    """Return why names of colours may be false after some steps, taken together. `None`: they stay true.

    The steps act on 48 saturated colours, bright and less bright ones. Names are false where the hue of one turns by
    more than 15 degrees, where its saturation falls below a half, or its brightness below a fifth. A value that is
    clipped at 0 or 255 turns the hue too. A step that looks at more than one pixel, such as
    `dcap.augment.filters.Stretch`, alters colours unless its class has ``keeps_colors = True``; then it counts as if it
    did nothing.
    """
    measured = [step for step in steps if isinstance(step, PixelStep)]
    if not all(isinstance(step, PixelStep) or getattr(step, "keeps_colors", False) for step in steps):
        return "what becomes of a colour depends on the image"
    if not measured:
        return None
    before, after = _SATURATED_HSV, _hsv(recolored(_SATURATED, measured))
    turned = float(np.abs((after[0] - before[0] + 180.0) % 360.0 - 180.0).max())
    saturation, brightness = float(after[1].min()), float((after[2] / before[2]).min())
    # A hue says something only where there is colour.
    if brightness < LEAST_VALUE:
        return f"a full colour would keep {_percent(brightness)} of its brightness, less than {LEAST_VALUE:.0%}"
    if saturation < LEAST_SATURATION:
        return f"a full colour would keep {_percent(saturation)} of its saturation, less than {LEAST_SATURATION:.0%}"
    if turned > MOST_HUE_SHIFT + _ROUNDING_DEG:
        return f"the hue of a full colour would turn by {turned:.1f} degrees, more than {MOST_HUE_SHIFT:g}"
    return None


def _percent(share: float) -> str:
    """Return a share, rounded down, so that it is below the bound in words too."""
    return f"{math.floor(100.0 * share)}%"


def _hsv(colors: Image) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return hue in degrees, saturation 0..1 and value 0..255 of each colour; grey has hue 0 and saturation 0."""
    red, green, blue = colors.reshape(-1, 3).astype(np.float64).T
    value = np.maximum(np.maximum(red, green), blue)
    span = value - np.minimum(np.minimum(red, green), blue)
    by = np.where(span > 0.0, span, 1.0)
    sixths = np.select(
        [value == red, value == green], [(green - blue) / by, 2.0 + (blue - red) / by], 4.0 + (red - green) / by
    )
    return 60.0 * sixths, span / np.maximum(value, 1.0), value


_SATURATED: Final[Image] = np.array(
    [
        [np.rint(value * np.array(colorsys.hsv_to_rgb(hue / 24, 1.0, 1.0))) for hue in range(24)]
        for value in (255.0, 170.0)
    ],
    np.uint8,
)
"""The colours that `why_colors_alter` looks at: 24 hues, bright and less bright."""
_SATURATED_HSV: Final = _hsv(_SATURATED)


def rounded(values: npt.NDArray[np.float64]) -> Table:
    """Return values rounded to the nearest level, halves to even, clipped to 0..255."""
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def check_range(name: str, value: float, least: float, most: float) -> None:
    """Check a number of a step, which may come from a plan's file.

    Raises:
        ConfigError: It is not within least..most.
    """
    if not least <= value <= most:
        raise ConfigError(f"{name} must be within {least:g}..{most:g}, not {value}")


@dataclass(frozen=True, slots=True, eq=False)
class _Lookup(TableStep):
    entries: Table

    def table(self) -> Table:
        return self.entries


def apply_color(image: Image, steps: Sequence[ColorStep], in_place: bool = False) -> Image:
    """Apply `steps` in order. Neighbouring tables are merged; neighbouring `PixelStep`s cost one pass together.

    Args:
        image: uint8 (H, W, 3) RGB.
        steps: Any number.
        in_place: Whether the image may be overwritten, which saves memory.

    Raises:
        PluginError: A step returns a shape or type that differs from its input.
    """
    for by_kernel, group in itertools.groupby(_with_merged_tables(steps), lambda step: isinstance(step, PixelStep)):
        if by_kernel:
            run = [step for step in group if isinstance(step, PixelStep)]
            image = recolored(image, run, image if in_place else None)
            in_place = True
            continue
        for step in group:
            # A step may return the image itself, or an array that someone else owns.
            image, in_place = _checked(step.apply(image), image, step), False
    return image


def _checked(made: Image, image: Image, step: ColorStep) -> Image:
    if not isinstance(made, np.ndarray) or made.dtype != np.uint8 or made.shape != image.shape:
        got = f"{made.dtype} {made.shape}" if isinstance(made, np.ndarray) else type(made).__name__
        raise PluginError(f"colour step {type(step).__name__} must return uint8 {image.shape}, as it got, not {got}")
    return made


def _with_merged_tables(steps: Sequence[ColorStep]) -> list[ColorStep]:
    merged: list[ColorStep] = []
    for step in steps:
        if not isinstance(step, TableStep):
            merged.append(step)
        elif merged and isinstance(merged[-1], _Lookup):
            merged[-1] = _Lookup(step.table()[merged[-1].table()])
        else:
            merged.append(_Lookup(step.table()))
    return merged
