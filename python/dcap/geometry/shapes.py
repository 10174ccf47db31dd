"""ShapeArray: all shapes of one image as three flat arrays, and the way to and from plain dicts.

Owns the ragged layout that every kernel reads, the checks at its border, and the JSON keys of shapes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from dcap import kernels
from dcap.core.errors import GeometryError
from dcap.core.words import show

MIN_POINTS = (2, 3, 2)
"""By kind."""
_LEAST_POINTS = np.array(MIN_POINTS)
_MOST_POINTS = np.array([2, *[np.iinfo(np.int64).max] * 2])

_ROUNDING = 2.0**-40
"""Share of its largest coordinate by which rounding may move a point; about a billionth of a pixel in a photo."""

_new = object.__new__


class GeometryKind(IntEnum):
    """The meaning of the points of a shape."""

    BOX = 0
    """Two points: the top-left corner (x1, y1), then the bottom-right one (x2, y2)."""
    POLYGON = 1
    """Three or more vertices of one ring, not repeated at the end; filled by the even-odd rule."""
    LINE = 2
    """Two or more points of an open polyline."""


KEYS: dict[str, GeometryKind] = {
    "bbox_2d": GeometryKind.BOX,
    "poly": GeometryKind.POLYGON,
    "line": GeometryKind.LINE,
}
"""JSON key of each kind."""
KEY_OF_KIND: dict[int, str] = {kind: key for key, kind in KEYS.items()}


@dataclass(frozen=True, eq=False, slots=True)
class ShapeArray:
    """N shapes in the ragged layout of Arrow and GeoArrow.

    Shape ``i`` owns the points ``xy[offsets[i]:offsets[i + 1]]``::

        kinds    [BOX,  LINE]              uint8   (N,)
        offsets  [0,    2,          5]     int64   (N + 1,)
        xy       [a, b, p, q, r]           float64 (P, 2)

    The arrays are C-contiguous and read-only. Points are continuous pixel-edge coordinates: x to the right in
    [0, width], y down in [0, height].

    Args:
        xy: Points, float64 (P, 2), finite.
        offsets: int64 (N + 1,), from 0 to P, not decreasing.
        kinds: uint8 (N,) of `GeometryKind`.

    Raises:
        GeometryError: An array has another type or shape, a point is not finite, or a shape has too few points.
    """

    xy: npt.NDArray[np.float64]
    offsets: npt.NDArray[np.int64]
    kinds: npt.NDArray[np.uint8]

    def __post_init__(self) -> None:
        _check_array("xy", self.xy, np.float64, 2)
        _check_array("offsets", self.offsets, np.int64, 1)
        _check_array("kinds", self.kinds, np.uint8, 1)
        _check_layout(self.xy, self.offsets, self.kinds)
        self._freeze()

    def _freeze(self) -> None:
        for name in ("xy", "offsets", "kinds"):
            array = getattr(self, name).view()
            array.flags.writeable = False
            object.__setattr__(self, name, array)

    @classmethod
    def trusted(
        cls, xy: npt.NDArray[np.float64], offsets: npt.NDArray[np.int64], kinds: npt.NDArray[np.uint8]
    ) -> ShapeArray:
        """Wrap arrays that a kernel made, without checking them again; they become read-only."""
        xy.setflags(write=False)
        offsets.setflags(write=False)
        kinds.setflags(write=False)
        return cls.frozen(xy, offsets, kinds)

    @classmethod
    def frozen(
        cls, xy: npt.NDArray[np.float64], offsets: npt.NDArray[np.int64], kinds: npt.NDArray[np.uint8]
    ) -> ShapeArray:
        """As `trusted`, for arrays that are read-only already."""
        shapes = _new(cls)
        # Spelled out, since a loop over names costs as much as clipping a small image.
        _set_xy(shapes, xy)
        _set_offsets(shapes, offsets)
        _set_kinds(shapes, kinds)
        return shapes

    @classmethod
    def empty(cls) -> ShapeArray:
        """Return the array of no shapes."""
        return cls.trusted(np.empty((0, 2)), np.zeros(1, np.int64), np.empty(0, np.uint8))

    @classmethod
    def from_points(cls, points: Iterable[npt.ArrayLike], kinds: Iterable[int]) -> ShapeArray:
        """Build from one (n, 2) array-like per shape and one kind per shape.

        Raises:
            GeometryError: As the constructor; or an item is not (n, 2).
        """
        parts = [_points(item, i) for i, item in enumerate(points)]
        offsets = np.zeros(len(parts) + 1, np.int64)
        np.cumsum([len(part) for part in parts], out=offsets[1:])
        xy = np.concatenate(parts) if parts else np.empty((0, 2))
        return cls(xy, offsets, np.fromiter(kinds, np.uint8))

    @classmethod
    def from_objects(cls, objects: Iterable[Mapping[str, Any]]) -> ShapeArray:
        """Build from plain dicts with one of ``bbox_2d``, ``poly`` or ``line`` each; other keys are ignored.

        Raises:
            GeometryError: A dict has none or several of the three, or its numbers are not a legal shape; the message
                begins with its index.
        """
        points, kinds = [], []
        for i, obj in enumerate(objects):
            try:
                kind, xy = read_shape(obj)
            except GeometryError as error:
                raise GeometryError(f"objects[{i}]: {error}") from None
            points.append(xy)
            kinds.append(kind)
        return cls.from_points(points, kinds)

    @classmethod
    def concatenate(cls, parts: Sequence[ShapeArray]) -> ShapeArray:
        """Return the shapes of all `parts`, in order."""
        if not parts:
            return cls.empty()
        ends = np.cumsum([0, *(len(part.xy) for part in parts)])
        offsets = [part.offsets[1:] + end for part, end in zip(parts, ends[:-1], strict=True)]
        return cls.trusted(
            np.concatenate([part.xy for part in parts]),
            np.concatenate([[0], *offsets]),
            np.concatenate([part.kinds for part in parts]),
        )

    def to_objects(self) -> list[dict[str, list[float]]]:
        """Return one plain dict per shape, ``{"poly": [x1, y1, x2, y2, ...]}`` and the like; numbers are floats."""
        return [{KEY_OF_KIND[kind]: points.ravel().tolist()} for kind, points in self]

    def __len__(self) -> int:
        return len(self.kinds)

    def points(self, i: int) -> npt.NDArray[np.float64]:
        """Return the points of shape `i`, float64 (n, 2), as a view."""
        return self.xy[self.offsets[i] : self.offsets[i + 1]]

    def __iter__(self) -> Iterator[tuple[GeometryKind, npt.NDArray[np.float64]]]:
        return ((GeometryKind(int(self.kinds[i])), self.points(i)) for i in range(len(self)))

    def take(self, index: npt.ArrayLike) -> ShapeArray:
        """Return the shapes at `index` (integers or a boolean mask), in that order; repeats are allowed."""
        wanted = np.asarray(index)
        chosen = wanted if wanted.size else np.empty(0, np.int64)
        starts = self.offsets[:-1][chosen]
        counts = self.offsets[1:][chosen] - starts
        offsets = np.zeros(len(counts) + 1, np.int64)
        counts.cumsum(out=offsets[1:])
        rows = (starts - offsets[:-1]).repeat(counts) + np.arange(offsets[-1])
        return ShapeArray.trusted(self.xy[rows], offsets, self.kinds[chosen])

    def bounds(self) -> npt.NDArray[np.float64]:
        """Return the axis-aligned bounds of each shape, float64 (N, 4) as x1, y1, x2, y2."""
        if not len(self):
            return np.empty((0, 4))
        starts = self.offsets[:-1]
        low = np.minimum.reduceat(self.xy, starts, axis=0)
        return np.hstack([low, np.maximum.reduceat(self.xy, starts, axis=0)])

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ShapeArray):
            return NotImplemented
        return all(np.array_equal(getattr(self, n), getattr(other, n)) for n in ("xy", "offsets", "kinds"))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"ShapeArray({len(self)} shapes, {len(self.xy)} points)"

    def __reduce__(self) -> tuple[Any, ...]:
        return ShapeArray.trusted, (np.array(self.xy), np.array(self.offsets), np.array(self.kinds))


# What the slots themselves offer; quicker than object.__setattr__, which looks them up by name.
_set_xy, _set_offsets, _set_kinds = (vars(ShapeArray)[name].__set__ for name in ("xy", "offsets", "kinds"))


def read_shape(obj: Mapping[str, Any]) -> tuple[GeometryKind, npt.NDArray[np.float64]]:
    """Return kind and cleaned points, float64 (n, 2), of one plain dict.

    Consecutive repeats and the repeated closing point of a ring are removed.

    Raises:
        GeometryError: None or several of the three keys, or numbers that are no legal shape; the message starts
            with the key.
    """
    keys = [key for key in KEYS if key in obj]
    if len(keys) != 1:
        raise GeometryError(f"object must have exactly one of bbox_2d, poly, line, not {' and '.join(keys) or 'none'}")
    key = keys[0]
    kind = KEYS[key]
    points = _numbers(obj[key], key, kind).reshape(-1, 2)
    if kind is GeometryKind.BOX:
        if fault := box_fault(points):
            values = obj[key]
            given = values.ravel().tolist() if isinstance(values, np.ndarray) else list(values)
            raise GeometryError(f"{key} must have x1 < x2 and y1 < y2, not {given}: {fault}")
        return kind, points
    points, _ = kernels.without_repeats(points, np.array([0, len(points)]), np.array([kind], np.uint8))
    least = MIN_POINTS[kind]
    if len(points) < least:
        raise GeometryError(f"{key} must have at least {least} distinct points, not {len(points)}")
    return kind, points


def box_fault(corners: npt.NDArray[np.float64]) -> str:
    """Return what is wrong with the corners of a box, float64 (2, 2), and the way out; nothing for a box."""
    (x1, y1), (x2, y2) = corners.tolist()
    swapped = [f"{axis}1 and {axis}2" for axis, low, high in (("x", x1, x2), ("y", y1, y2)) if low > high]
    if swapped:
        form = ". [x, y, width, height] is [x, y, x + width, y + height] here."
        return f"{' and '.join(swapped)} are swapped. Write the smaller number first{form}"
    flat = [word for word, low, high in (("width", x1, x2), ("height", y1, y2)) if low == high]
    return f"it has no {' and no '.join(flat)}" if flat else ""


def rings_without_area(
    xy: npt.NDArray[np.float64], offsets: npt.NDArray[np.int64], kinds: npt.NDArray[np.uint8]
) -> npt.NDArray[np.bool_]:
    """Return which polygons enclose nothing: their points are on one line, or their edges cancel out.

    Points count as being on one line where rounding alone could have moved them off it.

    Args:
        xy: Points of all shapes, float64 (P, 2).
        offsets: int64 (N + 1,).
        kinds: uint8 (N,) of `GeometryKind`.

    Returns:
        bool (N,); false for boxes, lines, and polygons that cross themselves millions of times.
    """
    areas = np.empty(len(kinds))
    try:
        kernels.area_or_length(xy, offsets, kinds, areas)
    except GeometryError:
        areas[:] = 0.0  # one of them cannot be measured: look at each
    reach = float(np.abs(xy).max(initial=0.0))
    flat: npt.NDArray[np.bool_] = (kinds == GeometryKind.POLYGON) & (areas <= 2 * _ROUNDING * reach * reach)
    for i in np.flatnonzero(flat).tolist():
        flat[i] = _is_flat(xy[offsets[i] : offsets[i + 1]])
    return flat


def _is_flat(ring: npt.NDArray[np.float64]) -> bool:
    area, reach = np.empty(1), float(np.abs(ring).max())
    try:
        kernels.area_or_length(ring, np.array([0, len(ring)]), np.array([GeometryKind.POLYGON], np.uint8), area)
    except GeometryError:
        return False
    return bool(area[0] <= _ROUNDING * reach * np.ptp(ring, axis=0).max()) and not _turns_outside(ring.tolist(), reach)


def _turns_outside(ring: list[list[float]], reach: float) -> bool:
    """Return whether a ring passes its first corner by x, then y, once, and turns there by more than rounding.

    That corner is outside the rest of the ring, which so encloses something. The C++ reader of records accepts these.
    """
    at = min(range(len(ring)), key=ring.__getitem__)
    (x, y), before, after = ring[at], ring[at - 1], ring[(at + 1) % len(ring)]
    ax, ay, bx, by = before[0] - x, before[1] - y, after[0] - x, after[1] - y
    steps = max(abs(ax), abs(ay), abs(bx), abs(by))
    return ring.count([x, y]) == 1 and abs(ax * by - ay * bx) > _ROUNDING * reach * steps


def _numbers(values: Any, key: str, kind: GeometryKind) -> npt.NDArray[np.float64]:
    if isinstance(values, np.ndarray):
        values = values.ravel().tolist()
    if not isinstance(values, (list, tuple)):
        raise GeometryError(f"{key} must be a list of numbers, not {show(values)}")
    if kind is GeometryKind.BOX and len(values) != 4:
        raise GeometryError(f"{key} must have 4 numbers, not {len(values)}")
    least = 2 * MIN_POINTS[kind]
    if len(values) % 2 or len(values) < least:
        raise GeometryError(f"{key} must have an even count of at least {least} numbers, not {len(values)}")
    for i, value in enumerate(values):
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise GeometryError(f"{key}[{i}] must be a number, not {show(value)}")
    try:
        array = np.array(values, np.float64)
    except OverflowError:
        raise GeometryError(f"{key} must hold numbers that fit float64, not larger ones") from None
    for i in np.flatnonzero(~np.isfinite(array))[:1]:
        raise GeometryError(f"{key}[{i}] must be finite, not {show(values[i])}")
    return array


def _points(item: npt.ArrayLike, i: int) -> npt.NDArray[np.float64]:
    points = np.ascontiguousarray(item, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 2:
        raise GeometryError(f"points of shape {i} must be an (n, 2) array, not one of shape {points.shape}")
    return points


def _check_array(name: str, array: object, dtype: type, ndim: int) -> None:
    if not isinstance(array, np.ndarray) or array.dtype != dtype or array.ndim != ndim:
        got = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__
        raise GeometryError(f"{name} must be a {np.dtype(dtype)} array of {ndim} dimension(s), not {got}")
    if not (array.flags.c_contiguous and array.flags.aligned):
        actual = "misaligned" if array.flags.c_contiguous else "strided"
        raise GeometryError(
            f'{name} must be C-contiguous and aligned, not {actual}. Use numpy.require(array, requirements="CA").'
        )


def _check_layout(xy: npt.NDArray[Any], offsets: npt.NDArray[Any], kinds: npt.NDArray[Any]) -> None:
    if xy.shape[1] != 2:
        raise GeometryError(f"xy must have 2 columns, not {xy.shape[1]}")
    if len(offsets) != len(kinds) + 1:
        raise GeometryError(f"offsets must have {len(kinds) + 1} entries for {len(kinds)} kinds, not {len(offsets)}")
    counts = offsets[1:] - offsets[:-1]
    if offsets[0] != 0 or offsets[-1] != len(xy) or (counts < 0).any():
        raise GeometryError(f"offsets must rise from 0 to {len(xy)}, the number of points, not {offsets[:8]}...")
    if (kinds >= len(_LEAST_POINTS)).any():
        raise GeometryError(f"kinds must be 0 (box), 1 (polygon) or 2 (line), not {kinds.max()}")
    wrong = (counts < _LEAST_POINTS[kinds]) | (counts > _MOST_POINTS[kinds])
    for i in wrong.nonzero()[0][:1]:
        kind = GeometryKind(int(kinds[i])).name.lower()
        rule = "2 points" if kind == "box" else f"at least {MIN_POINTS[kinds[i]]} points"
        raise GeometryError(f"{kind} {i} must have {rule}, not {counts[i]}")
    if not np.isfinite(xy).all():
        row = int(np.flatnonzero(~np.isfinite(xy).all(axis=1))[0])
        shape = int(np.searchsorted(offsets, row, side="right")) - 1
        raise GeometryError(
            f"xy must be finite, not {xy[row].tolist()} at point {row - offsets[shape]} of shape {shape}"
        )
