from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from dcap.augment import Scene
from dcap.augment.patches import to_patches
from dcap.core.errors import TrainingError
from dcap.data.collate import PackingCollator, PaddingCollator, normalised, num_bytes, one_time_step
from dcap.data.dataset import DenseCaptionDataset
from dcap.data.encode import IGNORE_INDEX
from dcap.data.tokens import TokenKind
from dcap.geometry import Canvas, ShapeArray
from support.dataset_cases import make_dataset

PROCESSOR = Qwen2VLImageProcessorPil(patch_size=16, image_mean=[0.5] * 3, image_std=[0.5] * 3)
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"))]


@pytest.fixture(scope="module")
def dataset(micro_folder: Path) -> DenseCaptionDataset:
    return make_dataset(micro_folder)


def test_rows_hold_samples_end_to_end(dataset: DenseCaptionDataset) -> None:
    samples = [dataset[(0, i)] for i in (0, 1, 2)]
    batch = PackingCollator(6000)(samples)
    bounds = batch["cu_seqlens"].tolist()
    assert bounds == [0, *np.cumsum([len(s.input_ids) for s in samples]).tolist()]
    for k, sample in enumerate(samples):
        part = slice(bounds[k], bounds[k + 1])
        assert np.array_equal(batch["input_ids"][0, part], sample.input_ids)
        assert np.array_equal(batch["labels"][0, part], sample.labels)
        assert np.array_equal(batch["token_kinds"][0, part], sample.token_kinds)
        assert np.array_equal(batch["position_ids"][:, 0, part], sample.position_ids)
    assert batch["image_grid_thw"].tolist() == [list(s.grid_thw or ()) for s in samples]
    patches = [s.pixel_values for s in samples if s.pixel_values is not None]
    assert np.array_equal(batch["pixel_values"], np.concatenate(patches))
    assert [len(p) for p in patches] == [s.num_patches for s in samples]
    assert [info.sample_id for info in batch["samples"]] == [f"train.jsonl:{i}" for i in (1, 2, 3)]
    assert [info.tally["objects"] for info in batch["samples"]] == [s.augmented.telemetry.num_objects for s in samples]


def test_padding_is_on_the_right_and_unlabelled(dataset: DenseCaptionDataset) -> None:
    samples = [dataset[(0, i)] for i in (0, 1)]
    batch = PaddingCollator(6000, dataset.pad_id)(samples)
    longest = max(len(s.input_ids) for s in samples)
    assert batch["input_ids"].shape == (2, longest)
    assert batch["position_ids"].shape == (4, 2, longest)
    assert "cu_seqlens" not in batch
    for k, sample in enumerate(samples):
        n = len(sample.input_ids)
        assert np.array_equal(batch["input_ids"][k, :n], sample.input_ids)
        assert (batch["input_ids"][k, n:] == dataset.pad_id).all()
        assert (batch["labels"][k, n:] == IGNORE_INDEX).all()
        assert np.array_equal(batch["token_kinds"][k, :n], sample.token_kinds)
        assert (batch["token_kinds"][k, n:] == TokenKind.PROMPT).all()


def test_bytes_are_the_same_patches_in_an_eighth_of_the_memory(dataset: DenseCaptionDataset) -> None:
    samples = [dataset[(0, i)] for i in (0, 1, 2)]
    for floats, bytes_ in (
        (PackingCollator(6000)(samples), PackingCollator(6000, "uint8")(samples)),
        (PaddingCollator(6000)(samples), PaddingCollator(6000, patch_dtype="uint8")(samples)),
    ):
        assert floats["pixel_values"].dtype == torch.float32
        assert bytes_["pixel_values"].dtype == torch.uint8
        assert 8 * bytes_["pixel_values"].nbytes == floats["pixel_values"].nbytes
        assert torch.equal(normalised(bytes_["pixel_values"]), floats["pixel_values"])
        assert num_bytes(floats) - num_bytes(bytes_) == 7 * bytes_["pixel_values"].nbytes
        assert all(
            torch.equal(floats[name], bytes_[name]) for name in floats if name not in ("pixel_values", "samples")
        )


def test_rows_are_checked_before_the_model_sees_them(dataset: DenseCaptionDataset) -> None:
    sample = dataset[(0, 0)]
    labels, kinds = sample.labels.copy(), sample.mm_token_type_ids
    labels[np.argmax(kinds)] = 5
    nothing = np.full_like(sample.labels, IGNORE_INDEX)
    scene = Scene(Canvas(32, 32), ShapeArray.empty(), (), np.zeros((32, 32, 3), np.uint8))
    cases = [
        (replace(sample, planned_length=3), "planned 3 tokens"),
        (replace(sample, grid_thw=(1, 2, 2)), "a quarter of the 4 patches"),
        (replace(sample, augmented=replace(sample.augmented, scene=scene)), "pixel_values must have"),
        (replace(sample, labels=nothing), "at least one token must be supervised"),
        (replace(sample, labels=labels), "no image token may carry a label"),
    ]
    for bad, message in cases:
        for collator in (PackingCollator(6000), PaddingCollator(6000), PackingCollator(6000, "uint8")):
            with pytest.raises(TrainingError, match=f"sample train.jsonl:1: .*{message}"):
                collator([sample, bad])
    with pytest.raises(TrainingError, match=r"row must have at most 100 tokens.*train.jsonl:1"):
        PackingCollator(100)([sample])
    with pytest.raises(TrainingError, match="sample must have at most 100 tokens"):
        PaddingCollator(100)([sample])


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


@pytest.mark.parametrize("device", DEVICES)
def test_one_time_step_has_the_bits_of_the_cpu_path_from_bytes_and_from_numbers(device: str) -> None:
    image = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    numbers = torch.from_numpy(to_patches(image))
    first, second = numbers.view(-1, 3, 2, 256).unbind(2)
    assert torch.equal(first, second)
    for patches in (torch.from_numpy(to_patches(image, "uint8")), numbers):
        made = one_time_step(patches.to(device))
        assert made.shape == (24, 768)
        assert torch.equal(bits(made), bits(first.reshape(24, 768)))


def test_normalised_patches_stay_as_they_are() -> None:
    patches = torch.randn(3, 1536)
    assert normalised(patches) is patches


@pytest.mark.parametrize("collator", [PackingCollator(), PaddingCollator()])
def test_a_batch_of_nothing_is_refused(collator: Any) -> None:
    with pytest.raises(TrainingError, match="a batch must have at least one sample, not none"):
        collator([])
