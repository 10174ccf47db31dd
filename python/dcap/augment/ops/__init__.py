"""The ops that dcap ships; importing this package registers them."""

from dcap.augment.ops import (
    color,
    contrast,
    crop,
    expand,
    flip,
    pad,
    paste,
    resize,
    rotate,
    scale,
    sharpness,
    shear,
    tone,
    translate,
)

__all__ = [
    "color",
    "contrast",
    "crop",
    "expand",
    "flip",
    "pad",
    "paste",
    "resize",
    "rotate",
    "scale",
    "sharpness",
    "shear",
    "tone",
    "translate",
]
