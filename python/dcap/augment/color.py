"""Colour steps: deterministic effects on 8-bit RGB.

A step that maps each value on its own is a table of 256 entries. All steps that map each pixel on its own share one
pass of `dcap.kernels.recolor`. `Stretch`, `LocalContrast` and `SharpnessBlend` look at more than one pixel and cost a
pass each; the first two look at the image as it is then, with the border repeated where grey will be. How steps are
joined is in `dcap.augment.chain`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from dcap import kernels
from dcap.core.registry import Registry

Image = npt.NDArray[np.uint8]
Table = npt.NDArray[np.uint8]

_VALUES = np.arange(256, dtype=np.float64)
_IDENTITY: Final = np.arange(256, dtype=np.uint8)
_TABLE, _SATURATION, _HSV = range(3)
_MOST_FACTOR: Final = 1e30
"""Larger factors do the same and are no float32."""


class ColorStep(Protocol):
    """One deterministic colour effect."""

    def apply(self, image: Image) -> Image:
        """Return the changed image, uint8 (H, W, 3) RGB."""
        ...


class KernelCode(NamedTuple):
    """What `dcap.kernels.recolor` is told of a step.

    Attributes:
        kind: 0 for a table, 1 for a saturation, 2 for hue, saturation and value.
        numbers: Of a saturation its factor; of the last the turn in sixths of the colour circle and two factors.
        table: uint8 (256,), read for a table only.
    """

    kind: int
    numbers: tuple[float, float, float] = (0.0, 0.0, 0.0)
    table: Table = _IDENTITY


class PixelStep(ABC):
    """A colour step that maps each pixel on its own, wherever it lies, and that `dcap.kernels.recolor` knows."""

    @abstractmethod
    def code(self) -> KernelCode:
        """Return what the kernel is told."""

    def apply(self, image: Image) -> Image:
        """Return the changed image, uint8 (H, W, 3) RGB."""
        return recolored(image, [self])


def recolored(image: Image, steps: Sequence[PixelStep], out: Image | None = None) -> Image:
    """Apply steps in order, in one pass without the GIL; each rounds to 8 bits before the next one.

    Args:
        image: uint8 (H, W, 3) RGB. Copied first when it is not C-contiguous.
        steps: At least one.
        out: Where to write, C-contiguous; may be the image. By default a new array.

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
        """Return what the kernel is told."""
        return KernelCode(_TABLE, table=self.table())


COLOR_STEPS: Registry[type[ColorStep]] = Registry("colour step", "dcap.color_steps")
"""Colour steps by the name under which a plan is written down. A step is a frozen dataclass of plain values."""


@COLOR_STEPS.register("levels")
@dataclass(frozen=True, slots=True)
class Levels(TableStep):
    """The line v -> gain * (v - pivot) + pivot + offset on every value: brightness and contrast.

    Args:
        gain: Slope.
        pivot: Value that the gain leaves in place.
        offset: Added afterwards, in levels.
    """

    gain: float
    pivot: float = 0.0
    offset: float = 0.0

    def table(self) -> Table:
        """Return the line, rounded half to even and clipped, uint8 (256,)."""
        return _rounded(self.gain * (_VALUES - self.pivot) + self.pivot + self.offset)


@COLOR_STEPS.register("power_curve")
@dataclass(frozen=True, slots=True)
class PowerCurve(TableStep):
    """The curve v -> 255 (v / 255) ^ exponent; black and white stay.

    Args:
        exponent: Above 0; below 1 brightens, above 1 darkens.
    """

    exponent: float

    def table(self) -> Table:
        """Return the curve, rounded half to even, uint8 (256,)."""
        return _rounded(255.0 * (_VALUES / 255.0) ** self.exponent)


@COLOR_STEPS.register("inversion")
@dataclass(frozen=True, slots=True)
class Inversion(TableStep):
    """Invert what is bright, v -> 255 - v from a threshold on; as `PIL.ImageOps.solarize`.

    Args:
        threshold: First value that is inverted, 0..256.
    """

    threshold: int

    def table(self) -> Table:
        """Return the inverted and the kept values, uint8 (256,)."""
        return _rounded(np.where(self.threshold > _VALUES, _VALUES, 255.0 - _VALUES))


@COLOR_STEPS.register("fewer_bits")
@dataclass(frozen=True, slots=True)
class FewerBits(TableStep):
    """Keep the highest bits of each value and clear the rest; as `PIL.ImageOps.posterize`.

    Args:
        bits: How many, 1..8.
    """

    bits: int

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
        """Return what the kernel is told."""
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
        """Return what the kernel is told."""
        return HsvScale(self.shift_deg, 1.0, 1.0).code()


@COLOR_STEPS.register("hsv_scale")
@dataclass(frozen=True, slots=True)
class HsvScale(PixelStep):
    """Turn the hue and scale saturation and value, to the level.

    Args:
        hue_deg: Degrees on the colour circle.
        saturation: Factor, at least 0; saturation ends at 1.
        value: Factor, at least 0; value ends at 255.
    """

    hue_deg: float
    saturation: float
    value: float

    def code(self) -> KernelCode:
        """Return what the kernel is told."""
        return KernelCode(_HSV, (self.hue_deg % 360.0 / 60.0, self.saturation, self.value))


@COLOR_STEPS.register("stretch")
@dataclass(frozen=True, slots=True)
class Stretch:
    """Stretch each channel to 0..255; as `PIL.ImageOps.autocontrast`, but rounded instead of cut off.

    Args:
        cutoff: Share of the pixels that is cut off at the dark and at the bright end of each channel, 0..0.5.
    """

    cutoff: float

    def apply(self, image: Image) -> Image:
        """Return the changed image, uint8 (H, W, 3) RGB."""
        tables = [self._table(image[..., channel]) for channel in range(3)]
        return np.asarray(cv2.LUT(image, np.stack(tables, axis=-1)[None]), np.uint8)

    def _table(self, channel: Image) -> Table:
        counts = np.bincount(channel.ravel(), minlength=256)
        cut = int(channel.size * self.cutoff)
        low = int(np.argmax(counts.cumsum() > cut))
        high = 255 - int(np.argmax(counts[::-1].cumsum() > cut))
        return _rounded(_VALUES if high <= low else (_VALUES - low) * (255.0 / (high - low)))


@COLOR_STEPS.register("local_contrast")
@dataclass(frozen=True, slots=True)
class LocalContrast:
    """Equalise the lightness of each tile, with a limit on the contrast it may gain (CLAHE), in the Lab space.

    Args:
        clip_limit: Largest bin of a tile's histogram, in mean bins.
        tile_grid: Rows and columns of tiles.
    """

    clip_limit: float
    tile_grid: tuple[int, int]

    def apply(self, image: Image) -> Image:
        """Return the changed image, uint8 (H, W, 3) RGB."""
        lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB)
        lab[..., 0] = cv2.createCLAHE(self.clip_limit, self.tile_grid[::-1]).apply(lab[..., 0])
        return np.asarray(cv2.cvtColor(lab, cv2.COLOR_LAB2RGB), np.uint8)


@COLOR_STEPS.register("sharpness_blend")
@dataclass(frozen=True, slots=True)
class SharpnessBlend:
    """Blend with the smoothed image; as `PIL.ImageEnhance.Sharpness`, which leaves the outermost pixels alone.

    Args:
        factor: 0 is smooth, 1 leaves the image as it is, above 1 sharpens.
    """

    factor: float

    def apply(self, image: Image) -> Image:
        """Return the changed image, uint8 (H, W, 3) RGB."""
        kernel = np.ones((3, 3))
        kernel[1, 1] = 5.0
        kernel *= (1.0 - self.factor) / kernel.sum()
        kernel[1, 1] += self.factor
        return np.asarray(cv2.filter2D(image, -1, kernel, borderType=cv2.BORDER_REPLICATE), np.uint8)


def _rounded(values: npt.NDArray[np.float64]) -> Table:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
