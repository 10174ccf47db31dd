from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dcap.core.errors import GeometryError
from support.kernel_calls import assert_same_bits

U8 = npt.NDArray[np.uint8]
DTYPES = [np.float32, np.uint16, np.uint8]


def noise(height: int, width: int, seed: int = 0) -> U8:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def patchify(backend: ModuleType, image: U8, dtype: Any = np.float32) -> npt.NDArray[Any]:
    """Patches from an output that holds something else before."""
    out = np.full((image.size // 768, 768 if dtype is np.uint8 else 1536), 77, dtype)
    backend.patchify(image, out)
    return out


def by_index(image: U8) -> U8:
    """The layout as it is written down, one value at a time."""
    height, width, channels = image.shape
    out = np.empty((height * width // 256, 768), np.uint8)
    for y, x, c in np.ndindex(height, width, channels):
        block = (y // 32) * (width // 32) + x // 32
        row = block * 4 + (y // 16 % 2) * 2 + x // 16 % 2
        out[row, (c * 16 + y % 16) * 16 + x % 16] = image[y, x, c]
    return out


def of_torch(values: U8, dtype: Any) -> npt.NDArray[Any]:
    """The contract of every dtype, computed by torch."""
    torch = pytest.importorskip("torch", reason="torch is the oracle")
    normalised = (torch.arange(256, dtype=torch.float32) - 127.5) / 127.5
    table = {
        np.float32: normalised.numpy(),
        np.uint16: normalised.to(torch.bfloat16).view(torch.uint16).numpy(),
        np.uint8: np.arange(256, dtype=np.uint8),
    }[dtype]
    return np.asarray(table[values])


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_value_is_bit_equal_to_the_contract(backend: ModuleType, dtype: Any) -> None:
    image = np.resize(np.arange(256, dtype=np.uint8), (32, 32, 3))
    plain = patchify(backend, image, np.uint8)
    assert np.array_equal(np.unique(plain), np.arange(256))
    want = of_torch(plain, dtype).reshape(-1, 3, 1, 256)
    steps = 1 if dtype is np.uint8 else 2
    assert_same_bits((patchify(backend, image, dtype),), (np.repeat(want, steps, axis=2).reshape(4, -1),))


def test_the_order_is_as_written_down(backend: ModuleType) -> None:
    image = noise(96, 64)
    assert np.array_equal(patchify(backend, image, np.uint8), by_index(image))


@pytest.fixture(scope="module")
def processor() -> Any:
    """Normalisation and patches of Hugging Face, nothing else."""
    pytest.importorskip("torch", reason="torch is the oracle")
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    return Qwen2VLImageProcessorPil(patch_size=16, image_mean=[0.5] * 3, image_std=[0.5] * 3)


@given(st.integers(1, 7), st.integers(1, 7), st.integers(0, 2**32 - 1))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_patches_equal_the_processor(backend: ModuleType, processor: Any, rows: int, columns: int, seed: int) -> None:
    import torch

    image = noise(rows * 32, columns * 32, seed)
    got = patchify(backend, image)
    want = processor(image, do_resize=False, return_tensors="np")["pixel_values"]
    assert got.shape == want.shape
    assert np.abs(got - want).max() <= 1e-7
    halves = torch.from_numpy(got).to(torch.bfloat16).view(torch.uint16).numpy()
    assert_same_bits((patchify(backend, image, np.uint16),), (halves,))


@pytest.mark.parametrize("dtype", DTYPES)
def test_twins_agree(twins: tuple[ModuleType, ModuleType], dtype: Any) -> None:
    for height, width in ((32, 32), (32, 1280), (704, 32), (320, 416)):
        image = noise(height, width, width)
        first, second = (patchify(backend, image, dtype) for backend in twins)
        assert_same_bits((first,), (second,))


def test_an_output_anywhere_in_memory(backend: ModuleType) -> None:
    image = noise(64, 64)
    want = patchify(backend, image)
    for shift in (1, 3, 7):
        out = np.zeros(want.size + 8, np.float32)
        backend.patchify(image, out[shift : shift + want.size])
        assert np.array_equal(out[shift : shift + want.size], want.reshape(-1))
        assert not out[:shift].any()
        assert not out[shift + want.size :].any()


def test_several_threads_at_once(backend: ModuleType) -> None:
    images = [noise(160, 224, seed) for seed in range(8)]
    with ThreadPoolExecutor(4) as pool:
        got = list(pool.map(lambda image: patchify(backend, image), images))
    assert_same_bits(tuple(got), tuple(patchify(backend, image) for image in images))


@pytest.mark.parametrize(
    "shape", [(64, 40, 3), (40, 64, 3), (16, 32, 3), (0, 32, 3), (32, 0, 3), (32, 32, 4), (32, 96)]
)
def test_an_image_that_does_not_fit_is_refused(backend: ModuleType, shape: tuple[int, ...]) -> None:
    with pytest.raises(GeometryError, match="sides that are multiples of 32"):
        backend.patchify(np.zeros(shape, np.uint8), np.zeros((4, 1536), np.float32))


@pytest.mark.parametrize("dtype", DTYPES)
def test_an_output_of_another_length_is_refused(backend: ModuleType, dtype: Any) -> None:
    image = noise(32, 32)
    for size in (0, 4 * 768 - 1, 4 * 768 + 1, 4 * 1536 + 1):
        with pytest.raises(GeometryError, match="lengths"):
            backend.patchify(image, np.zeros(size, dtype))


def test_wrong_dtypes_and_strided_arrays_are_type_errors(backend: ModuleType) -> None:
    image, out = noise(32, 64), np.zeros((8, 1536), np.float32)
    for bad in (image.astype(np.int16), image[:, ::-1], np.asfortranarray(image), image.tolist(), None):
        with pytest.raises(TypeError):
            backend.patchify(bad, out)
    for bad in (out.astype(np.float64), out.astype(np.int16), out.T, out[:, ::2], None):
        with pytest.raises(TypeError):
            backend.patchify(image, bad)


def test_a_read_only_output_is_refused(backend: ModuleType) -> None:
    out = np.zeros((4, 1536), np.float32)
    out.flags.writeable = False
    with pytest.raises(ValueError, match="not writeable"):
        backend.patchify(noise(32, 32), out)
