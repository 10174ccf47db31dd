from __future__ import annotations

from types import ModuleType

import numpy as np
import numpy.typing as npt
import pytest

from dcap.core.errors import GeometryError
from dcap.geometry import Affine, Canvas
from support.kernel_calls import assert_same_bits
from support.painting import Points, cover

U8 = npt.NDArray[np.uint8]
GREY = 100
CANVAS = Canvas(41, 67)
ALL = np.array([[0.0, 0.0], [67.0, 0.0], [67.0, 41.0], [0.0, 41.0]])
SOME = np.random.default_rng(2).integers(0, 256, (41, 67, 3), dtype=np.uint8)


def fill_outside(backend: ModuleType, region: Points, image: U8 = SOME) -> U8:
    out = image.copy()
    backend.fill_outside(np.ascontiguousarray(region), GREY, out)
    return out


def moved(dx: float, dy: float) -> Points:
    return np.asarray(ALL + np.array([dx, dy]))


def regions() -> list[Points]:
    """Turned, shrunk, stretched and moved rectangles in either direction, some beyond the image, and rounder ones."""
    rng = np.random.default_rng(5)
    made = []
    for i in range(40):
        turn = 0.0 if i % 8 == 0 else rng.uniform(-180, 180)
        affine = Affine.translation(*rng.uniform(-25, 25, 2)) @ Affine.rotation(turn, (33, 20))
        ring = (affine @ Affine.scaling(*rng.uniform(0.02, 2.0, 2), center=(33, 20))).apply(ALL)
        made.append(ring[::-1] if i % 3 == 0 else ring)
    angles = np.arange(40) * (np.pi / 20)
    made.append(np.stack([33 + 28 * np.cos(angles), 20 + 25 * np.sin(angles)], axis=1))
    return made


@pytest.mark.parametrize("region", regions())
def test_each_pixel_shows_by_the_share_inside(backend: ModuleType, region: Points) -> None:
    share = cover(CANVAS, region)[..., None]
    assert np.abs(fill_outside(backend, region) - (GREY + share * (SOME - float(GREY)))).max() <= 0.5 + 1e-6


def test_a_region_that_covers_the_image_changes_nothing(backend: ModuleType) -> None:
    for region in (ALL, ALL[::-1], moved(-1e-9, 1e-9), (ALL - 30) * 100):
        assert np.array_equal(fill_outside(backend, region), SOME)


def test_without_a_region_all_is_grey(backend: ModuleType) -> None:
    away = [moved(0, 41), moved(0, -41), moved(67, 0), moved(-67, 0), moved(1e9, 3), moved(-1e140, 0)]
    for region in (ALL[:0], ALL[:1], ALL[:2], ALL * [1, 0], ALL * [0, 1], *away):
        assert (fill_outside(backend, region) == GREY).all()


def test_an_image_without_pixels(backend: ModuleType) -> None:
    for shape in ((0, 5, 3), (5, 0, 3)):
        backend.fill_outside(ALL, GREY, np.zeros(shape, np.uint8))


def test_twins_agree(twins: tuple[ModuleType, ModuleType]) -> None:
    for region in (*regions(), ALL[:2], ALL * 1e140, ALL * [1, 1e-300]):
        first, second = (fill_outside(backend, region) for backend in twins)
        assert_same_bits((first,), (second,))


@pytest.mark.parametrize("value", [np.nan, np.inf, -1e151])
def test_coordinates_must_be_finite(backend: ModuleType, value: float) -> None:
    region = ALL.copy()
    region[2, 1] = value
    with pytest.raises(GeometryError, match="finite"):
        fill_outside(backend, region)


def test_what_is_no_region_or_image_is_refused(backend: ModuleType) -> None:
    image = SOME.copy()
    for region, out in (
        (ALL.reshape(-1)[:7], image),
        (ALL, image[..., 0].copy()),
        (ALL, np.zeros((4, 4, 4), np.uint8)),
    ):
        with pytest.raises(GeometryError, match="lengths"):
            backend.fill_outside(region, GREY, out)
    for region, out in ((ALL.astype(np.float32), image), (ALL, image[:, ::2]), (ALL, image.astype(np.int16))):
        with pytest.raises(TypeError):
            backend.fill_outside(region, GREY, out)
    image.flags.writeable = False
    with pytest.raises(ValueError, match="not writeable"):
        backend.fill_outside(ALL, GREY, image)
