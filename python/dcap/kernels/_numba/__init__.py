"""The numba backend: one twin per C++ source file, equal to it bit for bit."""

from dcap.kernels._numba.affine import transform
from dcap.kernels._numba.area import area_or_length
from dcap.kernels._numba.clip import clip_convex, clip_rect
from dcap.kernels._numba.grid import canonicalize
from dcap.kernels._numba.hull import min_area_rect
from dcap.kernels._numba.lines import find_lines
from dcap.kernels._numba.outside import fill_outside
from dcap.kernels._numba.overlap import pairwise_iou
from dcap.kernels._numba.pack import pack
from dcap.kernels._numba.patches import patchify
from dcap.kernels._numba.recolor import recolor
from dcap.kernels._numba.record import read_record
from dcap.kernels._numba.simplify import simplify
from dcap.kernels._numba.warp import warp

__all__ = [
    "area_or_length",
    "canonicalize",
    "clip_convex",
    "clip_rect",
    "fill_outside",
    "find_lines",
    "min_area_rect",
    "pack",
    "pairwise_iou",
    "patchify",
    "read_record",
    "recolor",
    "simplify",
    "transform",
    "warp",
]
