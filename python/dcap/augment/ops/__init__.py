"""The ops that dcap ships; importing this package registers them."""

from dcap.augment.ops import color, crop, expand, flip, pad, resize, rotate, scale, shear, translate

__all__ = ["color", "crop", "expand", "flip", "pad", "resize", "rotate", "scale", "shear", "translate"]
