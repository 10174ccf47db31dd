"""Signatures of the kernels. `dcap.kernels._numba` and `dcap.kernels.plain` have the same, but for `read_record`.

Shapes come as `xy` float64 (P, 2), `offsets` int64 (N + 1,) and `kinds` uint8 (N,); see `dcap.geometry.ShapeArray`.
Arrays are C-contiguous and aligned: nothing is copied. Any others, or a wrong dtype, are a TypeError; a wrong layout or
value is a GeometryError. Callers allocate
the ``out`` arrays; only cutting shapes and reading records, whose sizes nobody knows before, return new (read-only)
ones.
`clip_rect`, `clip_convex` and `difference` return points, offsets, kinds, source shapes and visible fractions.

`patchify` takes an image instead, uint8 (H, W, 3); the dtype of ``out`` says what it writes.
`fill_outside` changes an image in place, `warp` fills one from another.
`recolor` takes uint8 RGB values of any shape and N steps: kinds, tables (N, 256) and numbers float32 (N, 3), see
`dcap.augment.color`; ``out`` may be the image.
`canonicalize` takes shapes whose points are int64, the order in which they are written and the largest x and y, and
returns the number of points; ``out_xy`` has room for as many as come in.
`pack` takes the lengths of samples, int64 (N,), and returns the number of rows.
`read_record` takes a line of JSONL and the largest side of an image, and returns None for what is no plain record, see
`dcap.records.plain`; else points, offsets and kinds of the shapes, which characters its texts (N + 2, 3) and kept
values (M, 4) are, int64, and width and height.
"""

import numpy as np
import numpy.typing as npt

_F64 = npt.NDArray[np.float64]
_I64 = npt.NDArray[np.int64]
_F32 = npt.NDArray[np.float32]
_U8 = npt.NDArray[np.uint8]
_Matrix = tuple[float, float, float, float, float, float]
_Rect = tuple[float, float, float, float]
_Parts = tuple[_F64, _I64, _U8, _I64, _F64]
_Record = tuple[_F64, _I64, _U8, _I64, _I64, tuple[int, int]]

def area_or_length(xy: _F64, offsets: _I64, kinds: _U8, out: _F64) -> None: ...
def canonicalize(
    xy: _I64, offsets: _I64, kinds: _U8, order: _I64, span: tuple[int, int], out_xy: _I64, out_offsets: _I64
) -> int: ...
def clip_convex(
    xy: _F64, offsets: _I64, kinds: _U8, matrix: _Matrix, keep_boxes: bool, keep_largest: bool, region: _F64
) -> _Parts: ...
def clip_rect(
    xy: _F64, offsets: _I64, kinds: _U8, matrix: _Matrix, keep_boxes: bool, keep_largest: bool, rect: _Rect
) -> _Parts: ...
def difference(
    xy: _F64,
    offsets: _I64,
    kinds: _U8,
    cover_xy: _F64,
    cover_offsets: _I64,
    cover_kinds: _U8,
    keep_boxes: bool,
    keep_largest: bool,
) -> _Parts: ...
def fill_outside(region: _F64, grey: int, out: _U8) -> None: ...
def min_area_rect(xy: _F64, offsets: _I64, kinds: _U8, out: _F64) -> None: ...
def pack(lengths: _I64, capacity: int, window: int, out: _I64) -> int: ...
def pairwise_iou(
    xy_a: _F64, offsets_a: _I64, kinds_a: _U8, xy_b: _F64, offsets_b: _I64, kinds_b: _U8, out: _F64
) -> None: ...
def patchify(image: _U8, out: npt.NDArray[np.float32 | np.uint16 | np.uint8]) -> None: ...
def read_record(line: bytes, max_side: int) -> _Record | None: ...
def recolor(image: _U8, kinds: _U8, tables: _U8, numbers: _F32, out: _U8) -> None: ...
def simplify(xy: _F64, offsets: _I64, kinds: _U8, max_points: int, out_keep: _U8, out_score: _F64) -> None: ...
def transform(
    xy: _F64,
    offsets: _I64,
    kinds: _U8,
    matrix: _Matrix,
    keep_boxes: bool,
    out_xy: _F64,
    out_offsets: _I64,
    out_kinds: _U8,
) -> int: ...
def warp(image: _U8, matrix: _Matrix, samples: tuple[int, int], out: _U8) -> None: ...
