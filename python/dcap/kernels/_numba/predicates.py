"""Twin of cpp/src/predicates.cpp: which way three points turn, and which of two crossings comes first; exact.

Ties are broken by simulation of simplicity, the same for both questions.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from dcap.kernels._numba._shared import jit
from dcap.kernels._types import F64, I64

MOST_MOVED: Final = 4
MOST_WHOLE: Final = 8192.0

_NOT_AT_ALL: Final = 0
_ALONG_Y: Final = 1
# What a point of both f and g contributes to a product, by rising order of the infinitesimals.
_MOVED_TWICE: Final = ((0, 0), (0, 1), (1, 1), (0, 2), (1, 2), (2, 2))


@jit
def _add(value: float, terms: F64, size: int) -> int:
    """Add to an expansion: terms that do not overlap, from the smallest to the largest, none of them 0."""
    kept = 0
    for i in range(size):
        t = terms[i]
        s = value + t
        bb = s - value
        error = (value - (s - bb)) + (t - bb)
        value = s
        if error != 0.0:
            terms[kept] = error
            kept += 1
    if value != 0.0:
        terms[kept] = value
        kept += 1
    return kept


@jit
def _add_product(a: float, b: float, terms: F64, size: int) -> int:
    size = _add(_lost_by_product(a, b), terms, size)
    return _add(a * b, terms, size)


@jit
def _sign_of(terms: F64, size: int) -> int:
    if size == 0:
        return 0
    return 1 if terms[size - 1] > 0.0 else -1


@jit
def _turn_of(a: F64, b: F64, c: F64, terms: F64) -> int:
    """Fill `terms` with (b - a) x (c - a); rows are x, y and 1 for a point, 0 for the direction in which one moves."""
    size = 0
    if a[2] != 0.0:
        size = _add_product(b[0], c[1], terms, size)
        size = _add_product(-b[1], c[0], terms, size)
    if b[2] != 0.0:
        size = _add_product(-a[0], c[1], terms, size)
        size = _add_product(a[1], c[0], terms, size)
    if c[2] != 0.0:
        size = _add_product(a[0], b[1], terms, size)
        size = _add_product(-a[1], b[0], terms, size)
    return size


@jit
def _sign(v: float) -> int:
    return 1 if v > 0.0 else (-1 if v < 0.0 else 0)


@jit
def _perturbed_sign(ax: float, ay: float, ia: int, bx: float, by: float, ib: int, cx: float, cy: float, ic: int) -> int:
    swaps = 1
    if ia > ib:
        ax, ay, ia, bx, by, ib = bx, by, ib, ax, ay, ia
        swaps = -swaps
    if ib > ic:
        bx, by, ib, cx, cy, ic = cx, cy, ic, bx, by, ib
        swaps = -swaps
    if ia > ib:
        ax, ay, ia, bx, by, ib = bx, by, ib, ax, ay, ia
        swaps = -swaps
    s = _sign(cx - bx)
    if s == 0:
        s = _sign(by - cy)
    if s == 0:
        s = _sign(ax - cx)
    return swaps if s == 0 else swaps * s


@jit
def _exact_sign(ax: float, ay: float, bx: float, by: float, cx: float, cy: float) -> int:
    points = np.ones((3, 3))
    points[0, 0], points[0, 1], points[1, 0], points[1, 1], points[2, 0], points[2, 1] = ax, ay, bx, by, cx, cy
    terms = np.empty(12)
    return _sign_of(terms, _turn_of(points[0], points[1], points[2], terms))


@jit
def _lost(a: float, b: float) -> float:
    """Return what a - b loses by rounding."""
    s = a - b
    bb = s - a
    return (a - (s - bb)) + (-b - bb)


@jit
def _lost_by_product(a: float, b: float) -> float:
    p = a * b
    ca, cb = 134217729.0 * a, 134217729.0 * b
    ah, bh = ca - (ca - a), cb - (cb - b)
    al, bl = a - ah, b - bh
    return al * bl - (((p - ah * bh) - al * bh) - ah * bl)


@jit
def orientation(ax: float, ay: float, ia: int, bx: float, by: float, ib: int, cx: float, cy: float, ic: int) -> int:
    """Return the sign of (a, b, c), never 0: +1 when they turn from the x axis towards the y axis."""
    left = (ax - cx) * (by - cy)
    right = (ay - cy) * (bx - cx)
    det = left - right
    if abs(det) > 3.3306690738754716e-16 * (abs(left) + abs(right)):
        return 1 if det > 0.0 else -1
    if _lost(ax, cx) == 0.0 and _lost(ay, cy) == 0.0 and _lost(bx, cx) == 0.0 and _lost(by, cy) == 0.0:
        # Rounding keeps the order of the products; where they round alike, what they lost decides.
        s = _sign(det)
        if s == 0:
            s = _sign(_lost_by_product(ax - cx, by - cy) - _lost_by_product(ay - cy, bx - cx))
    else:
        s = _exact_sign(ax, ay, bx, by, cx, cy)
    return s if s != 0 else _perturbed_sign(ax, ay, ia, bx, by, ib, cx, cy, ic)


@jit
def _scaled(points: F64) -> F64:
    """Scale by a power of two, so that products of four coordinates neither overflow nor lose bits."""
    most = 0.0
    for k in range(6):
        most = max(most, max(abs(points[k, 0]), abs(points[k, 1])))
    exponent = math.frexp(most)[1]
    out = np.ones((6, 3))
    for k in range(6):
        out[k, 0] = math.ldexp(points[k, 0], 200 - exponent)
        out[k, 1] = math.ldexp(points[k, 1], 200 - exponent)
    return out


@jit
def _add_turns(a: F64, size_a: int, b: F64, size_b: int, factor: float, terms: F64, size: int) -> int:
    for i in range(size_a):
        for j in range(size_b):
            size = _add_product(a[i], factor * b[j], terms, size)
    return size


@jit
def _add_order(points: F64, moves: I64, terms: F64, size: int) -> int:
    """Add f(q) g(p) - f(p) g(q), where f(.) is the turn of f and a point; what moves stands for its direction."""
    at = points.copy()
    for k in range(6):
        if moves[k] != _NOT_AT_ALL:
            along_y = moves[k] == _ALONG_Y
            at[k, 0], at[k, 1], at[k, 2] = (0.0, 1.0, 0.0) if along_y else (1.0, 0.0, 0.0)
    first, second = np.empty(12), np.empty(12)
    n, m = _turn_of(at[2], at[3], at[1], first), _turn_of(at[4], at[5], at[0], second)
    size = _add_turns(first, n, second, m, 1.0, terms, size)
    n, m = _turn_of(at[2], at[3], at[0], first), _turn_of(at[4], at[5], at[1], second)
    return _add_turns(first, n, second, m, -1.0, terms, size)


@jit
def _find_whole(points: F64) -> tuple[bool, I64]:
    """Return whether all are whole numbers near the first point, and what they are relative to it."""
    out = np.ones((6, 3), np.int64)
    for k in range(6):
        for column in range(2):
            value = points[k, column] - points[0, column]
            # Of whole numbers, a difference as small as that is exact.
            if not abs(value) <= MOST_WHOLE or points[k, column] != math.floor(points[k, column]):
                return False, out
            out[k, column] = np.int64(value)
    return True, out


@jit
def _whole_turn(a: I64, b: I64, c: I64) -> int:
    turn = 0
    if a[2] != 0:
        turn += b[0] * c[1] - b[1] * c[0]
    if b[2] != 0:
        turn += a[1] * c[0] - a[0] * c[1]
    if c[2] != 0:
        turn += a[0] * b[1] - a[1] * b[0]
    return turn


@jit
def _whole_order(points: I64, moves: I64) -> int:
    at = points.copy()
    for k in range(6):
        if moves[k] != _NOT_AT_ALL:
            along_y = moves[k] == _ALONG_Y
            at[k, 0], at[k, 1], at[k, 2] = (0, 1, 0) if along_y else (1, 0, 0)
    left = _whole_turn(at[2], at[3], at[1]) * _whole_turn(at[4], at[5], at[0])
    return left - _whole_turn(at[2], at[3], at[0]) * _whole_turn(at[4], at[5], at[1])


@jit
def _variables(index: I64) -> tuple[I64, int]:
    """Return, by rising number, where each point stands among those of e, f, g, and where it does again or -1."""
    variables = np.empty((6, 3), np.int64)
    count = 0
    for k in range(6):
        at = 0
        while at < count and variables[at, 0] != index[k]:
            at += 1
        if at < count:
            variables[at, 2] = k
            continue
        while at > 0 and variables[at - 1, 0] > index[k]:
            for column in range(3):
                variables[at, column] = variables[at - 1, column]
            at -= 1
        variables[at, 0], variables[at, 1], variables[at, 2] = index[k], k, -1
        count += 1
    return variables, count


@jit
def _order_sign(points: F64, index: I64) -> int:
    # As in C++: coefficients of the polynomial in the infinitesimals, the largest first, until one is not 0.
    is_whole, whole = _find_whole(points)
    scaled = points if is_whole else _scaled(points)
    variables, count = _variables(index)
    state, moves, terms = np.zeros(6, np.int64), np.zeros(6, np.int64), np.empty(1152)
    carry = 0
    while carry < count:
        moved, twice = 0, -1
        for k in range(count):
            slot, twin = variables[k, 1], variables[k, 2]
            moves[slot] = state[k] if twin < 0 else _MOVED_TWICE[state[k]][0]
            moved += moves[slot] != _NOT_AT_ALL
            if twin >= 0:
                moves[twin] = _MOVED_TWICE[state[k]][1]
                moved += moves[twin] != _NOT_AT_ALL
                if moves[slot] != moves[twin]:
                    twice = k
        if moved <= MOST_MOVED:
            total = size = 0
            for again in range(1 if twice < 0 else 2):
                if again:
                    slot, twin = variables[twice, 1], variables[twice, 2]
                    moves[slot], moves[twin] = moves[twin], moves[slot]
                if is_whole:
                    total += _whole_order(whole, moves)
                else:
                    size = _add_order(scaled, moves, terms, size)
            if total != 0:
                return 1 if total > 0 else -1
            if size > 0:
                return _sign_of(terms, size)
        carry = 0
        while carry < count:
            state[carry] += 1
            if state[carry] < (3 if variables[carry, 2] < 0 else 6):
                break
            state[carry] = 0
            carry += 1
    return 0


@jit
def crosses_before(points: F64, index: I64) -> bool:
    """Return whether e, on its way from p to q, crosses f before it crosses g.

    `points` (6, 2) and their numbers `index` (6,) are those of e, f and g. e crosses both, and shares a point with
    neither; f and g may share one.
    """
    ex, ey, ie = points[0, 0], points[0, 1], index[0]
    sides = 1
    for k in (2, 4):
        px, py, qx, qy = points[k, 0], points[k, 1], points[k + 1, 0], points[k + 1, 1]
        sides *= orientation(px, py, index[k], qx, qy, index[k + 1], ex, ey, ie)
    return sides * _order_sign(points, index) < 0
