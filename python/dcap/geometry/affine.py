"""Affine maps and the coordinate contract.

The contract: points are continuous **pixel-edge** coordinates, x in [0, W] to the right, y in [0, H] down. Pixel
(row i, column j) covers [j, j+1) x [i, i+1) and its centre is at +0.5. A horizontal flip is x' = W - x. An
`Affine` maps source to destination. PIL's AFFINE takes the inverse unchanged; OpenCV's warpAffine needs a
half-pixel shift, applied in `opencv_matrix` only. Computation is float64.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dcap.core.errors import GeometryError
from dcap.geometry.canvas import Canvas

_QUARTER_COS_SIN = ((1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0))


@dataclass(frozen=True, slots=True)
class Affine:
    """The map (x, y) -> (a x + b y + c, d x + e y + f), from source to destination pixel-edge coordinates.

    ``p @ q`` is "first q, then p", as with matrices.

    Raises:
        GeometryError: A coefficient is not finite.
    """

    a: float
    b: float
    c: float
    d: float
    e: float
    f: float

    def __post_init__(self) -> None:
        if not all(map(math.isfinite, self.coefficients)):
            raise GeometryError(f"affine must have six finite coefficients, not {self.coefficients}")

    @classmethod
    def identity(cls) -> Affine:
        """Return the map that changes nothing."""
        return cls(1.0, 0.0, 0.0, 0.0, 1.0, 0.0)

    @classmethod
    def translation(cls, dx: float, dy: float) -> Affine:
        """Return the shift by `dx` pixels to the right and `dy` down."""
        return cls(1.0, 0.0, float(dx), 0.0, 1.0, float(dy))

    @classmethod
    def scaling(cls, sx: float, sy: float | None = None, center: tuple[float, float] = (0.0, 0.0)) -> Affine:
        """Return the scaling by `sx` and `sy` (default: `sx`) that leaves `center` in place."""
        sy = sx if sy is None else sy
        return cls(float(sx), 0.0, center[0] * (1 - sx), 0.0, float(sy), center[1] * (1 - sy))

    @classmethod
    def rotation(cls, angle_deg: float, center: tuple[float, float] = (0.0, 0.0)) -> Affine:
        """Return the rotation by `angle_deg`, clockwise on screen (y points down), about `center`.

        Multiples of 90 degrees have exact coefficients.
        """
        cos, sin = _cos_sin(angle_deg)
        cx, cy = center
        return cls(cos, -sin, cx - cos * cx + sin * cy, sin, cos, cy - sin * cx - cos * cy)

    @classmethod
    def hflip(cls, canvas: Canvas) -> Affine:
        """Return the horizontal flip x' = W - x of a canvas."""
        return cls(-1.0, 0.0, float(canvas.width), 0.0, 1.0, 0.0)

    @classmethod
    def vflip(cls, canvas: Canvas) -> Affine:
        """Return the vertical flip y' = H - y of a canvas."""
        return cls(1.0, 0.0, 0.0, 0.0, -1.0, float(canvas.height))

    @classmethod
    def from_matrix(cls, matrix: npt.ArrayLike) -> Affine:
        """Build from a (2, 3) matrix, or a (3, 3) one whose last row is 0, 0, 1.

        Raises:
            GeometryError: Another shape, a projective last row, or a coefficient that is not finite.
        """
        m = np.asarray(matrix, np.float64)
        if m.shape == (3, 3) and m[2].tolist() == [0.0, 0.0, 1.0]:
            m = m[:2]
        if m.shape != (2, 3):
            raise GeometryError(f"matrix must be an affine one of shape (2, 3) or (3, 3), not {m.shape}")
        return cls(*m.ravel().tolist())

    @property
    def coefficients(self) -> tuple[float, float, float, float, float, float]:
        """The six numbers a, b, c, d, e, f."""
        return (self.a, self.b, self.c, self.d, self.e, self.f)

    @property
    def matrix(self) -> npt.NDArray[np.float64]:
        """The map as a float64 (3, 3) matrix for column vectors (x, y, 1)."""
        return np.array([[self.a, self.b, self.c], [self.d, self.e, self.f], [0.0, 0.0, 1.0]])

    @property
    def determinant(self) -> float:
        """Signed area ratio; negative for a reflection."""
        return self.a * self.e - self.b * self.d

    @property
    def is_axis_aligned(self) -> bool:
        """Whether boxes stay boxes: flips, scalings, shifts and quarter turns."""
        return (self.b == 0.0 and self.d == 0.0) or (self.a == 0.0 and self.e == 0.0)

    def __matmul__(self, first: Affine) -> Affine:
        return Affine(
            self.a * first.a + self.b * first.d,
            self.a * first.b + self.b * first.e,
            self.a * first.c + self.b * first.f + self.c,
            self.d * first.a + self.e * first.d,
            self.d * first.b + self.e * first.e,
            self.d * first.c + self.e * first.f + self.f,
        )

    def inverse(self) -> Affine:
        """Return the map from destination back to source.

        Raises:
            GeometryError: The map is singular: it squashes the plane to a line or a point.
        """
        det = self.determinant
        size = max(abs(self.a), abs(self.b), abs(self.d), abs(self.e))
        if abs(det) <= 1e-14 * size * size:
            raise GeometryError(f"affine must be invertible, not singular (determinant {det!r})")
        a, b, d, e = self.e / det, -self.b / det, -self.d / det, self.a / det
        return Affine(a, b, -(a * self.c + b * self.f), d, e, -(d * self.c + e * self.f))

    def apply(self, points: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Map points, float64 (..., 2), source frame to destination frame."""
        p = np.asarray(points, np.float64)
        x, y = p[..., 0], p[..., 1]
        out = np.empty(p.shape)
        out[..., 0] = self.a * x + self.b * y + self.c
        out[..., 1] = self.d * x + self.e * y + self.f
        return out

    def opencv_matrix(self) -> npt.NDArray[np.float64]:
        """Return the (2, 3) matrix for OpenCV, whose coordinates are pixel centres: the one half-pixel shift."""
        c = self.c + 0.5 * (self.a + self.b) - 0.5
        f = self.f + 0.5 * (self.d + self.e) - 0.5
        return np.array([[self.a, self.b, c], [self.d, self.e, f]])


def _cos_sin(angle_deg: float) -> tuple[float, float]:
    quarter, rest = divmod(angle_deg, 90.0)
    if rest == 0.0:
        return _QUARTER_COS_SIN[int(quarter) % 4]
    angle = math.radians(angle_deg)
    return math.cos(angle), math.sin(angle)
