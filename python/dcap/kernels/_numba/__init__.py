"""The numba backend: one twin per C++ source file of geometry and pixels, equal to it bit for bit."""

from dcap.kernels._numba.affine import transform
from dcap.kernels._numba.area import area_or_length
from dcap.kernels._numba.clip import clip_convex, clip_rect
from dcap.kernels._numba.difference import difference
from dcap.kernels._numba.hull import min_area_rect
from dcap.kernels._numba.outside import fill_outside
from dcap.kernels._numba.overlap import pairwise_iou
from dcap.kernels._numba.patches import patchify
from dcap.kernels._numba.recolor import recolor
from dcap.kernels._numba.simplify import simplify
from dcap.kernels._numba.warp import warp

__all__ = [
    "area_or_length",
    "clip_convex",
    "clip_rect",
    "difference",
    "fill_outside",
    "min_area_rect",
    "pairwise_iou",
    "patchify",
    "recolor",
    "simplify",
    "transform",
    "warp",
]
