from __future__ import annotations

from functools import partial
from types import ModuleType

import numpy as np
import numpy.typing as npt
import pytest

from dcap.core.errors import GeometryError
from dcap.geometry import Affine
from support.kernel_calls import assert_same_bits

U8 = npt.NDArray[np.uint8]
IDENTITY = Affine.identity().coefficients


def noise(height: int, width: int) -> U8:
    return np.random.default_rng(height + width).integers(0, 256, (height, width, 3), dtype=np.uint8)


def warp(
    backend: ModuleType, image: U8, back: Affine, height: int, width: int, samples: tuple[int, int] = (1, 1)
) -> U8:
    out = np.full((height, width, 3), 77, np.uint8)
    backend.warp(image, back.coefficients, samples, out)
    return out


def bilinear(
    image: U8, back: Affine, height: int, width: int, samples: tuple[int, int] = (1, 1)
) -> npt.NDArray[np.float64]:
    """The definition, in float64."""
    y, x = np.indices((height, width)).astype(float)
    total = np.zeros((height, width, 3))
    for j, i in np.ndindex(samples[1], samples[0]):
        points = np.stack([x + (i + 0.5) / samples[0], y + (j + 0.5) / samples[1]], axis=-1).reshape(-1, 2)
        at = np.clip(back.apply(points) - 0.5, 0, np.array(image.shape[1::-1]) - 1.0)
        low = at.astype(int)
        high = np.minimum(low + 1, np.array(image.shape[1::-1]) - 1)
        wx, wy = (at - low).T[..., None]
        (x1, y1), (x2, y2) = low.T, high.T
        above = image[y1, x1] * (1 - wx) + image[y1, x2] * wx
        under = image[y2, x1] * (1 - wx) + image[y2, x2] * wx
        total += (above * (1 - wy) + under * wy).reshape(height, width, 3)
    return total / (samples[0] * samples[1])


def maps(count: int) -> list[Affine]:
    rng = np.random.default_rng(3)
    made = []
    for _ in range(count):
        turn = Affine.rotation(rng.uniform(-180, 180)) @ Affine.scaling(*rng.uniform(0.3, 2.0, 2))
        made.append(Affine.translation(*rng.uniform(-30, 90, 2)) @ turn)
    return made


@pytest.mark.parametrize("samples", [(1, 1), (2, 1), (1, 2), (2, 2)])
@pytest.mark.parametrize("back", maps(6))
def test_a_map_is_bilinear(backend: ModuleType, back: Affine, samples: tuple[int, int]) -> None:
    image = noise(60, 83)
    off = np.abs(warp(backend, image, back, 50, 70, samples) - bilinear(image, back, 50, 70, samples))
    # Half of 1/128 pixel at the largest contrast is a level, half is rounding; on average it is rounding alone.
    assert off.max() < 2.0
    assert off.mean() < 0.35


@pytest.mark.parametrize("samples", [(1, 1), (2, 2)])
@pytest.mark.parametrize("height", [1, 2, 3, 7])
@pytest.mark.parametrize("width", [1, 2, 3, 33])
def test_the_border_is_repeated(backend: ModuleType, height: int, width: int, samples: tuple[int, int]) -> None:
    image = noise(height, width)
    for back in (Affine.translation(-4.25, -3.5), Affine.rotation(30) @ Affine.scaling(0.4), Affine.scaling(1e3)):
        off = np.abs(warp(backend, image, back, 12, 45, samples) - bilinear(image, back, 12, 45, samples))
        assert off.max() < 1.6


def test_whole_pixels_are_moved_without_loss(backend: ModuleType) -> None:
    image = noise(40, 70)
    assert np.array_equal(warp(backend, image, Affine.identity(), 40, 70), image)
    assert np.array_equal(warp(backend, image, Affine(-1, 0, 70, 0, -1, 40), 40, 70), image[::-1, ::-1])
    turned = warp(backend, image, Affine.translation(0, 40) @ Affine.rotation(-90), 70, 40)
    assert np.array_equal(turned, np.rot90(image, -1))
    moved = warp(backend, image, Affine.translation(-3, 5), 40, 70)
    assert np.array_equal(moved[:35, 3:], image[5:, :67])


def test_four_samples_average_four_pixels(backend: ModuleType) -> None:
    image = noise(64, 96)
    blocks = image.reshape(32, 2, 48, 2, 3).mean(axis=(1, 3))
    assert np.abs(warp(backend, image, Affine.scaling(2.0), 32, 48, (2, 2)) - blocks).max() <= 0.51
    assert np.abs(warp(backend, image, Affine.scaling(1.0, 2.0), 32, 96, (1, 2)) - bilinear_rows(image)).max() <= 0.51


def bilinear_rows(image: U8) -> npt.NDArray[np.float64]:
    return np.asarray(image.reshape(32, 2, 96, 3).mean(axis=1))


def test_large_sources_keep_their_precision(backend: ModuleType) -> None:
    image = np.zeros((2, 32768, 3), np.uint8)
    image[:, 32732:, :] = np.arange(36, dtype=np.uint8)[:, None] * 7
    back = Affine.translation(32722.3, 0.0)
    off = np.abs(warp(backend, image, back, 2, 64) - bilinear(image, back, 2, 64))
    assert off.max() < 0.6


FAR = (
    Affine(1024, 0, -70_000.5, 0, 1, 0),  # from far outside to far outside, over the image
    Affine(-1000, 0, 90_000, 0, 1, 0),
    Affine(-1, 0, 32_768 + 40, 0, 1, 0),
    Affine(1024, -1e9, 1e9, -1024, 1, 700),
    Affine(0.5, 1e150, 0, 1, 1, -1e150),
)


@pytest.mark.parametrize("back", FAR)
@pytest.mark.parametrize("width", [2, 300, 32_768])
def test_far_away_is_the_border(backend: ModuleType, back: Affine, width: int) -> None:
    image = np.ascontiguousarray(np.kron(noise(2, 32), np.ones((1, -(-width // 32), 1), np.uint8))[:, :width])
    got, want = (fill(image, back, 2, 200) for fill in (partial(warp, backend), bilinear))
    # Where neighbours differ, 2^-14 pixels of rounding per step come to a level or two.
    assert np.abs(got - want).max() < 4.0


@pytest.mark.parametrize("back", [*maps(8), *FAR])
def test_twins_agree(twins: tuple[ModuleType, ModuleType], back: Affine) -> None:
    for height, width, samples in (
        (1, 1, (1, 1)),
        (1, 40, (2, 2)),
        (40, 1, (1, 2)),
        (61, 97, (1, 1)),
        (61, 97, (2, 2)),
    ):
        for columns in (1, 31, 32, 65):
            first, second = (warp(backend, noise(height, width), back, 20, columns, samples) for backend in twins)
            assert_same_bits((first,), (second,))


def test_an_output_without_pixels(backend: ModuleType) -> None:
    for shape in ((0, 4, 3), (4, 0, 3)):
        backend.warp(noise(3, 3), IDENTITY, (1, 1), np.zeros(shape, np.uint8))


@pytest.mark.parametrize("shape", [(0, 4, 3), (4, 0, 3), (4, 4, 4), (4, 12), (1, 32_769, 3)])
def test_a_source_that_is_none_is_refused(backend: ModuleType, shape: tuple[int, ...]) -> None:
    with pytest.raises(GeometryError, match="sides of 1 to 32768 pixels"):
        backend.warp(np.zeros(shape, np.uint8), IDENTITY, (1, 1), np.zeros((4, 4, 3), np.uint8))


def test_steps_that_are_too_long_are_refused(backend: ModuleType) -> None:
    out = np.zeros((4, 4, 3), np.uint8)
    for height, width, back in ((1, 2, Affine(1025, 0, 0, 0, 1, 0)), (2, 1, Affine(1, 0, 0, -1025, 0, 0))):
        with pytest.raises(GeometryError, match="steps over at most 1024"):
            backend.warp(noise(height, width), back.coefficients, (1, 1), out)
        backend.warp(noise(1, 1), back.coefficients, (1, 1), out)
        assert (out == noise(1, 1)).all()


def test_other_arguments_are_refused(backend: ModuleType) -> None:
    image, out = noise(4, 4), np.zeros((4, 4, 3), np.uint8)
    for samples in ((0, 1), (1, 3), (-1, 1), (4, 4)):
        with pytest.raises(GeometryError, match="lengths"):
            backend.warp(image, IDENTITY, samples, out)
    with pytest.raises(GeometryError, match="lengths"):
        backend.warp(image, IDENTITY, (1, 1), np.zeros((4, 4), np.uint8))
    for number in (np.nan, np.inf, 1e151):
        with pytest.raises(GeometryError, match="finite"):
            backend.warp(image, (1.0, 0.0, number, 0.0, 1.0, 0.0), (1, 1), out)
    for call in (
        (image.astype(np.int8), out),
        (image[:, ::2], out),
        (image, out[:, ::2]),
        (image, out.astype(np.int8)),
    ):
        with pytest.raises(TypeError):
            backend.warp(call[0], IDENTITY, (1, 1), call[1])
    out.flags.writeable = False
    with pytest.raises(ValueError, match="not writeable"):
        backend.warp(image, IDENTITY, (1, 1), out)
