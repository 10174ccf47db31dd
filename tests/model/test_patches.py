from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from dcap.augment.patches import to_patches
from dcap.model.patches import normalised

PROCESSOR = Qwen2VLImageProcessorPil(patch_size=16, image_mean=[0.5] * 3, image_std=[0.5] * 3)
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"))]


def bits(values: torch.Tensor) -> torch.Tensor:
    return values.cpu().view(torch.int32)


@pytest.mark.parametrize("device", DEVICES)
def test_every_value_has_the_bits_of_the_cpu_path(device: str) -> None:
    image = np.arange(32 * 32 * 3, dtype=np.uint32).astype(np.uint8).reshape(32, 32, 3)
    assert len(np.unique(image)) == 256
    made = normalised(torch.from_numpy(to_patches(image, "uint8")).to(device))
    assert made.device.type == device
    assert torch.equal(bits(made), bits(torch.from_numpy(to_patches(image))))


@given(st.integers(1, 4), st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_images_have_the_bits_of_the_cpu_path_and_the_values_of_the_processor(
    rows: int, columns: int, seed: int
) -> None:
    image = np.random.default_rng(seed).integers(0, 256, (rows * 32, columns * 32, 3), dtype=np.uint8)
    patches = torch.from_numpy(to_patches(image, "uint8"))
    before = patches.clone()
    made = normalised(patches)
    assert torch.equal(bits(made), bits(torch.from_numpy(to_patches(image))))
    assert torch.equal(patches, before)
    want = PROCESSOR(image, do_resize=False, return_tensors="np")["pixel_values"]
    # The processor divides by 255 first, which rounds once more.
    assert np.abs(made.numpy() - want).max() <= 1e-7


def test_normalised_patches_stay_as_they_are() -> None:
    patches = torch.randn(3, 1536)
    assert normalised(patches) is patches
