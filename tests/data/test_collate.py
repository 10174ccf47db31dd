from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dcap.augment import Scene
from dcap.core.errors import TrainingError
from dcap.data.collate import PackingCollator, PaddingCollator, num_bytes
from dcap.data.dataset import DenseCaptionDataset
from dcap.data.encode import IGNORE_INDEX
from dcap.data.tokens import TokenKind
from dcap.geometry import Canvas, ShapeArray
from dcap.model.patches import normalised
from support.dataset_cases import make_dataset


@pytest.fixture(scope="module")
def dataset(tiny_folder: Path) -> DenseCaptionDataset:
    return make_dataset(tiny_folder)


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
