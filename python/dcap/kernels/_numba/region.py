"""Twin of cpp/src/region.cpp: the convex region that shapes are clipped to, as half-planes and as a ring."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from dcap.kernels import _status as status
from dcap.kernels._numba._shared import bounds_of, jit
from dcap.kernels._numba.area import shoelace
from dcap.kernels._numba.halfplane import height
from dcap.kernels._types import F64, I64, check_types

MAX_CORNERS: Final = 4096
ROUNDING: Final = 1e-15
SLACK: Final = 1e-9
INSIDE: Final = 0
OUTSIDE: Final = 1
CUT: Final = 2


@jit
def locate(x1: float, y1: float, x2: float, y2: float, line: bool, planes: F64, active: I64) -> tuple[int, int]:
    """Compare bounds with every half-plane; return the place, and how many may cut (their numbers go to `active`)."""
    count = 0
    for k in range(len(planes)):
        p = planes[k]
        low = height(p, x1 if p[0] >= 0.0 else x2, y1 if p[1] >= 0.0 else y2)
        if low >= 0.0:
            continue
        high = height(p, x2 if p[0] >= 0.0 else x1, y2 if p[1] >= 0.0 else y1)
        if high < 0.0 or (high == 0.0 and not line):
            return OUTSIDE, 0
        active[count] = k
        count += 1
    return (CUT if count else INSIDE), count


@jit
def noise_of(b: tuple[float, float, float, float], r: tuple[float, float, float, float]) -> tuple[float, float]:
    """Return what rounding can leave of a shape that merely touches the region: a length, and an area."""
    far = max(max(abs(b[0]), abs(b[2])), max(abs(b[1]), abs(b[3])))
    length = ROUNDING * far
    return length, length * (min(b[2] - b[0], r[2] - r[0]) + min(b[3] - b[1], r[3] - r[1]))


@jit
def _planes_of(region: F64) -> tuple[int, F64]:
    """Return one half-plane per side, pointing inwards; BAD_REGION when the polygon is not convex."""
    n = len(region)
    planes = np.empty((n, 4))
    count = 0
    twice = shoelace(region)
    x1, y1, x2, y2, legal = bounds_of(region)
    if not legal or twice == 0.0:
        return status.BAD_REGION, planes
    turn = 1.0 if twice > 0.0 else -1.0
    for i in range(n):
        j = 0 if i + 1 == n else i + 1
        dx, dy = region[j, 0] - region[i, 0], region[j, 1] - region[i, 1]
        length = math.sqrt(dx * dx + dy * dy)
        if not length > 0.0:
            continue
        planes[count, 0], planes[count, 1] = -turn * dy / length, turn * dx / length
        planes[count, 2], planes[count, 3] = region[i, 0], region[i, 1]
        count += 1
    slack = -SLACK * ((x2 - x1) + (y2 - y1))
    for k in range(count):
        for i in range(n):
            if height(planes[k], region[i, 0], region[i, 1]) < slack:
                return status.BAD_REGION, planes
    return status.OK, planes[:count]


def rect_region(rect: tuple[float, float, float, float]) -> tuple[F64, F64]:
    """Return corners (4, 2) and half-planes (4, 4).

    Raises:
        GeometryError: Not x1 < x2 and y1 < y2, all finite.
    """
    x1, y1, x2, y2 = rect
    corners = np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]])
    if not bounds_of(corners)[4] or not x1 < x2 or not y1 < y2:
        status.raise_if_failed(status.BAD_REGION)
    return corners, np.array([[1.0, 0.0, x1, y1], [0.0, 1.0, x1, y1], [-1.0, 0.0, x2, y2], [0.0, -1.0, x2, y2]])


def convex_region(region: F64) -> tuple[F64, F64]:
    """Return corners (m, 2) and half-planes (k, 4).

    Raises:
        GeometryError: Not a convex polygon of 3 to 4096 points with an area.
    """
    check_types((region, np.float64))
    if region.size % 2 or not 3 <= region.size // 2 <= MAX_CORNERS:
        status.raise_if_failed(status.BAD_REGION)
    corners = region.reshape(-1, 2).copy()
    code, planes = _planes_of(corners)
    status.raise_if_failed(code)
    return corners, planes
