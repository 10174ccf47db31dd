from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from dcap.augment.patches import PatchType, to_patches
from dcap.core.errors import ConfigError, GeometryError

IMAGE = np.random.default_rng(2).integers(0, 256, (64, 96, 3), dtype=np.uint8)


def test_bfloat16_bits_are_read_by_torch_without_a_copy() -> None:
    torch = pytest.importorskip("torch", reason="torch reads them")
    bits = to_patches(IMAGE, "bfloat16")
    values = torch.from_numpy(bits).view(torch.bfloat16)
    assert values.data_ptr() == bits.ctypes.data
    assert torch.equal(values, torch.from_numpy(to_patches(IMAGE)).to(torch.bfloat16))


def test_uint8_has_one_time_step() -> None:
    values = to_patches(IMAGE, "uint8")
    assert values.shape == (24, 768)
    normalised = (values.astype(np.float32) - np.float32(127.5)) / np.float32(127.5)
    twice = np.repeat(normalised.reshape(24, 3, 1, 256), 2, axis=2)
    assert np.array_equal(to_patches(IMAGE), twice.reshape(24, 1536))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "uint8"])
def test_memory_is_contiguous_and_starts_on_a_cache_line(dtype: PatchType) -> None:
    for _ in range(4):
        patches = to_patches(IMAGE, dtype)
        assert patches.ctypes.data % 64 == 0
        assert patches.flags.c_contiguous
        assert patches.flags.writeable


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "uint8"])
def test_patches_are_written_into_a_batch(dtype: PatchType) -> None:
    want = to_patches(IMAGE, dtype)
    batch = np.full((len(want) + 9, want.shape[1]), 7, want.dtype)
    made = to_patches(IMAGE, dtype, batch[4:28])
    assert np.array_equal(made, want)
    assert np.shares_memory(made, batch)
    assert np.array_equal(batch[4:28], want)
    assert (batch[:4] == 7).all()
    assert (batch[28:] == 7).all()


def test_an_output_that_does_not_fit_is_refused() -> None:
    with pytest.raises(GeometryError, match="lengths"):
        to_patches(IMAGE, "float32", np.empty((23, 1536), np.float32))
    for wrong in (np.empty((24, 1536), np.uint16), np.empty((1536, 24), np.float32).T):
        with pytest.raises(TypeError):
            to_patches(IMAGE, "float32", wrong)


def test_a_strided_image_is_copied() -> None:
    assert np.array_equal(to_patches(IMAGE[:, ::-1]), to_patches(IMAGE[:, ::-1].copy()))


@pytest.mark.parametrize("shape", [(64, 40, 3), (40, 64, 3), (0, 64, 3), (64, 64), (64, 64, 4), (1, 64, 64, 3)])
def test_a_shape_that_does_not_fit_is_refused(shape: tuple[int, ...]) -> None:
    image: npt.NDArray[np.uint8] = np.zeros(shape, np.uint8)
    with pytest.raises(GeometryError, match="sides that are multiples of 32, not"):
        to_patches(image)


def test_other_numbers_are_refused() -> None:
    with pytest.raises(TypeError):
        to_patches(IMAGE.astype(np.float32))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="float32, bfloat16, uint8, not 'float16'"):
        to_patches(IMAGE, "float16")  # type: ignore[arg-type]
