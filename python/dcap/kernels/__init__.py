"""Arrays in, arrays out: the backend is chosen here, once, and nowhere else.

C++ (`dcap._core`) when it was built, numba otherwise; ``DCAP_BACKEND=cpp|numba`` forces one. Both have the same
functions with the same signatures (`_core.pyi`) and give the same bits: geometry and pixels have a numba twin of each
C++ file, the grid and packing are plain Python in `dcap.kernels.plain`. Callers allocate what kernels fill; cutting,
whose sizes nobody knows before, returns new arrays.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Literal

from dcap.kernels import plain

_FORCED = os.environ.get("DCAP_BACKEND", "")


def _choose() -> Literal["cpp", "numba"]:
    if _FORCED not in ("", "cpp", "numba"):
        raise ImportError(f"DCAP_BACKEND must be cpp or numba, not {_FORCED!r}")
    # Only an absent module means "not built"; a broken one fails loudly when it is imported below.
    built = find_spec("dcap._core") is not None
    if _FORCED == "cpp" and not built:
        raise ImportError(
            "DCAP_BACKEND=cpp needs dcap._core, which was not built. Install dcap again with a C++20 compiler, "
            "or unset DCAP_BACKEND."
        )
    return "cpp" if built and _FORCED != "numba" else "numba"


BACKEND: Literal["cpp", "numba"] = _choose()
"""The backend in use, ``"cpp"`` or ``"numba"``."""

_backend = import_module("dcap._core" if BACKEND == "cpp" else "dcap.kernels._numba")
_untwinned = _backend if BACKEND == "cpp" else plain

area_or_length = _backend.area_or_length
canonicalize = _untwinned.canonicalize
clip_convex = _backend.clip_convex
clip_rect = _backend.clip_rect
difference = _backend.difference
fill_outside = _backend.fill_outside
min_area_rect = _backend.min_area_rect
pack = _untwinned.pack
pairwise_iou = _backend.pairwise_iou
patchify = _backend.patchify
read_record: Callable[[bytes, int], Any] | None = _untwinned.read_record
"""None without the C++ core."""
recolor = _backend.recolor
simplify = _backend.simplify
transform = _backend.transform
warp = _backend.warp
without_repeats = plain.without_repeats

__all__ = [
    "BACKEND",
    "area_or_length",
    "canonicalize",
    "clip_convex",
    "clip_rect",
    "difference",
    "fill_outside",
    "min_area_rect",
    "pack",
    "pairwise_iou",
    "patchify",
    "read_record",
    "recolor",
    "simplify",
    "transform",
    "warp",
    "without_repeats",
]
