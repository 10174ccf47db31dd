"""The meaning of a kernel's status. This is the one place where it becomes an exception, for every backend."""

from __future__ import annotations

from typing import Final

from dcap.core.errors import GeometryError

OK: Final = 0
BAD_LAYOUT: Final = 1
NOT_FINITE: Final = 2
TOO_COMPLEX: Final = 3
BAD_REGION: Final = 4
OUT_OF_MEMORY: Final = 5
BAD_ARGUMENT: Final = 6
BAD_IMAGE: Final = 7
BAD_COLOR: Final = 8
BAD_SOURCE: Final = 9

_MESSAGES: Final = {
    BAD_LAYOUT: "shapes must have offsets that rise from 0 to the number of points, and 2 points per box, 3 or more "
    "per polygon, 2 or more per line",
    NOT_FINITE: "coordinates must be finite and below 1e150, before and after the affine",
    TOO_COMPLEX: "polygon must not cross itself millions of times. Simplify or drop it.",
    BAD_REGION: "region must be x1 < x2, y1 < y2 or a convex polygon of 3 to 4096 points with an area, and finite",
    BAD_ARGUMENT: "output arrays must have the lengths, and numbers the values, that the kernel documents",
    BAD_IMAGE: "image must be uint8 (H, W, 3) with sides that are multiples of 32",
    BAD_COLOR: "colour steps must have finite numbers: factors of at least 0, turns of 0 to 6 sixths",
    BAD_SOURCE: "image must have sides of 1 to 32768 pixels and fewer than 2^31 values to be warped, by a map that "
    "steps over at most 1024 of them",
}


def raise_if_failed(status: int) -> None:
    """Raise the error that `status` means.

    Raises:
        GeometryError: The input is not what the kernel's contract says.
        MemoryError: A scratch buffer could not be allocated.
    """
    if status == OUT_OF_MEMORY:
        raise MemoryError("scratch memory of a kernel")
    if status != OK:
        raise GeometryError(_MESSAGES[status])
