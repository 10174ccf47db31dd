"""Colour steps: deterministic effects on 8-bit RGB.

A step that maps each value on its own is a table of 256 entries. `Stretch`, `LocalContrast` and `SharpnessBlend` look
at more than one pixel and cost a pass each; the first two look at the image as it is then, with the border repeated
where grey will be. How steps are joined is in `dcap.augment.chain`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
import numpy.typing as npt

from dcap.core.registry import Registry

Image = npt.NDArray[np.uint8]
Table = npt.NDArray[np.uint8]

_VALUES = np.arange(256, dtype=np.float64)


class ColorStep(Protocol):
    """One deterministic colour effect."""

    def apply(self, image: Image) -> Image:
        """Return the changed image, uint8 (H, W, 3) RGB."""
        ...


class PixelStep(ABC):
    """A colour step that maps each pixel on its own, wherever it lies."""

    @abstractmethod
    def apply(self, image: Image) -> Image:
        """Return the changed image, uint8 (H, W, 3) RGB."""


class TableStep(PixelStep):
    """A colour step that maps each value on its own."""

    @abstractmethod
    def table(self) -> Table:
        """Return what each of the values 0..255 becomes, uint8 (256,)."""

    def apply(self, image: Image) -> Image:
        """Return the changed image, uint8 (H, W, 3) RGB."""
        return np.asarray(cv2.LUT(image, self.table()), np.uint8)


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

    def apply(self, image: Image) -> Image:
        """Return the changed image, uint8 (H, W, 3) RGB."""
        grey = np.array([0.299, 0.587, 0.114]) * (1.0 - self.factor)
        mix = np.tile(grey, (3, 1)) + np.eye(3) * self.factor
        return np.asarray(cv2.transform(image, mix), np.uint8)


@COLOR_STEPS.register("hue")
@dataclass(frozen=True, slots=True)
class Hue(PixelStep):
    """Turn the hue.

    Args:
        shift_deg: Degrees on the colour circle.
    """

    shift_deg: float

    def apply(self, image: Image) -> Image:
        """Return the changed image, uint8 (H, W, 3) RGB."""
        hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV_FULL)
        hsv[..., 0] += np.uint8(round(self.shift_deg / 360.0 * 256.0) % 256)
        return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL), np.uint8)


@COLOR_STEPS.register("hsv_scale")
@dataclass(frozen=True, slots=True)
class HsvScale(PixelStep):
    """Turn the hue and scale saturation and value, in one pass through hue, saturation and value.

    It computes in float32, since 8 bits of hue would cost up to 9 levels.

    Args:
        hue_deg: Degrees on the colour circle, -180..180.
        saturation: Factor, at least 0; saturation ends at 1.
        value: Factor, at least 0; value ends at 255.
    """

    hue_deg: float
    saturation: float
    value: float

    def apply(self, image: Image) -> Image:
        """Return the changed image, uint8 (H, W, 3) RGB."""
        hsv = cv2.cvtColor(image.astype(np.float32), cv2.COLOR_RGB2HSV)
        # OpenCV wraps hues above 360 degrees, but none below 0.
        turn = self.hue_deg % 360.0
        hsv = cv2.transform(hsv, np.array([[1, 0, 0, turn], [0, self.saturation, 0, 0], [0, 0, self.value, 0]]))
        for channel, most in ((1, 1.0), (2, 255.0)):
            np.minimum(hsv[..., channel], most, out=hsv[..., channel])
        return np.asarray(cv2.convertScaleAbs(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)), np.uint8)


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
