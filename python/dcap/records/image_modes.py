"""Every pixel format of a photo to 8-bit RGB, one rule each."""

from __future__ import annotations

import numpy as np
from PIL import Image

GREY = 128
"""What lies behind transparent pixels."""


def to_rgb(image: Image.Image) -> Image.Image:
    """Return a loaded image as mode RGB.

    =====================  =========================================================================
    mode                   rule
    =====================  =========================================================================
    RGB                    unchanged (of 16-bit colour Pillow keeps the high byte)
    1, L                   red = green = blue; 1-bit is 0 and 255
    P, PA                  colours looked up in the palette
    LA, La, RGBA, RGBa     composed on mid grey 128; so is any mode with a transparent colour
    I;16, I;16B, I;16L, I  16 bit: the high byte, as for colour; I is first clipped to 0..65535
    F                      clipped to 0..255 and rounded half to even; NaN is 0
    CMYK, YCbCr, HSV       Pillow's conversion, without ICC profiles
    LAB                    D50 L*a*b* to sRGB, by Pillow's LittleCMS
    =====================  =========================================================================

    Args:
        image: Loaded image, first frame.

    Raises:
        ValueError: Another mode.
    """
    mode = image.mode
    if mode.startswith("I"):
        values = np.clip(np.asarray(image), 0, 65535).astype(np.uint16)
        return Image.fromarray((values >> 8).astype(np.uint8)).convert("RGB")
    if mode == "F":
        values = np.nan_to_num(np.asarray(image), nan=0.0, posinf=255.0, neginf=0.0)
        return Image.fromarray(np.rint(np.clip(values, 0, 255)).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        return _on_grey(image)
    return image if mode == "RGB" else image.convert("RGB")


def _on_grey(image: Image.Image) -> Image.Image:
    rgba = _straight_alpha(image)
    out = Image.new("RGB", rgba.size, (GREY, GREY, GREY))
    out.paste(rgba, mask=rgba.getchannel("A"))
    return out


def _straight_alpha(image: Image.Image) -> Image.Image:
    if image.mode == "La":
        image = image.convert("LA")
    return image if image.mode == "RGBA" else image.convert("RGBA")
