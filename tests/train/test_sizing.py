"""The sizes of a first run follow from records and GPU."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from dcap.data.dataset import DenseCaptionDataset
from dcap.model.sizes import PublishedSize
from dcap.records.files.opening import open_records
from dcap.records.record import Origin, parse_record
from dcap.train import sizing
from dcap.train.sizing import Facts, Lengths, choose_machine, max_pixels_for, plan_lengths

PHOTOS = "builtin:photos/train.jsonl"


def facts(*pixels: int) -> Facts:
    many = np.array(pixels, np.float64)
    return Facts(len(many), len(many), many, np.ones(len(many)), np.full(len(many), 50.0), np.empty(0))


def lengths(*tokens: int, image: float = 0.6) -> Lengths:
    many = np.array(tokens, np.float64)
    return Lengths(many, many * image, True)


@pytest.fixture
def gib(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """GiB of each size per thousand tokens of a row, in place of estimates; five times that without checkpointing."""
    found = {"-30B": 20.0, "-8B": 2.5, "-4B": 1.5, "-2B": 1.0}

    def memory(size: PublishedSize, _: object, *, tokens: int, checkpointing: bool, **__: int) -> SimpleNamespace:
        (each,) = [gib for name, gib in found.items() if name in size.name]
        return SimpleNamespace(total=each * tokens / 1000 * (1 if checkpointing else 5) * 2**30)

    monkeypatch.setattr("dcap.model.sizes.published_memory", memory)
    return found


def test_facts_are_those_of_the_records() -> None:
    records = list(open_records(PHOTOS))
    found = Facts.of(records, 100)
    assert (found.num_records, found.num_looked_at) == (100, len(records))
    assert found.pixels.tolist() == [record.canvas.num_pixels for record in records]
    assert found.objects.sum() == len(found.sides) == sum(len(record.shapes) for record in records)


def test_the_side_of_an_object_is_that_of_its_box() -> None:
    line = {"images": ["a"], "width": 64, "height": 64, "objects": [
        {"desc": "a", "bbox_2d": [0, 0, 4, 9]}, {"desc": "b", "poly": [0, 0, 16, 0, 0, 1]},
        {"desc": "c", "line": [2, 2, 2, 50]}]}  # fmt: skip
    record = parse_record(json.dumps(line).encode(), Origin("r.jsonl", 1))
    assert sizing.box_sides(record).tolist() == [6, 4, 0]


def test_images_are_as_large_as_nearly_all_files_within_bounds() -> None:
    assert max_pixels_for(facts(*[500_000] * 99, 40_000_000), has_gpu=True) == 500_736
    assert max_pixels_for(facts(12_000_000), has_gpu=True) == 1_048_576
    assert max_pixels_for(facts(12_000_000), has_gpu=False) == 131_072
    assert max_pixels_for(facts(900), has_gpu=True) == 65_536


def test_lengths_are_those_of_training(tiny_folder: Path) -> None:
    found = plan_lengths([PHOTOS], 90_112, str(tiny_folder))
    answer = {"max_pixels": 90_112}
    dataset = DenseCaptionDataset({"train": PHOTOS, "answer": answer}, "train", str(tiny_folder))
    assert found.counted
    assert found.tokens.tolist() == [len(dataset[k].input_ids) for k in range(len(dataset))]
    assert found.image.tolist() == [len(dataset[k].pixel_values) / 4 for k in range(len(dataset))]


def test_without_a_tokenizer_lengths_are_bounds(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counted = plan_lengths([PHOTOS], 90_112, str(tiny_folder))
    monkeypatch.setattr(sizing, "_tokenizer", lambda _: None)
    bounds = plan_lengths([PHOTOS], 90_112)
    assert not bounds.counted
    assert (bounds.tokens >= counted.tokens).all()
    assert (bounds.image == counted.image).all()


def test_the_longest_sample_fits_with_headroom_and_rows_hold_several(gib: dict[str, float]) -> None:
    assert lengths(1000, 2000).longest == choose_machine(lengths(1000, 2000), None).row == 2304
    assert choose_machine(lengths(1000, 2000), 1000).row == 7936
    assert choose_machine(lengths(*[1000] * 99, 30_000), 1000).row == 34_560
    assert choose_machine(lengths(9000), 1000).row == 16_384


def test_without_a_gpu_it_is_a_trial() -> None:
    found = choose_machine(lengths(1000), None)
    assert (found.model, found.dtype, found.memory_gib) == ("builtin:tiny", "float32", None)
    assert "no GPU was found" in found.note
    assert choose_machine(lengths(1000), None, "mine").model == "mine"


@pytest.mark.parametrize(
    ("gpu_gib", "model", "row", "checkpointing"),
    [
        (100, "8B", 6144, False),
        (50, "8B", 6144, True),
        (10, "8B", 1792, True),  # a shorter row comes before a smaller model
        (4, "4B", 1792, True),
        (3, "2B", 1792, True),
    ],
)
def test_the_largest_model_that_fits_is_chosen(
    gib: dict[str, float], gpu_gib: float, model: str, row: int, checkpointing: bool
) -> None:
    found = choose_machine(lengths(1000, 1500), gpu_gib)
    assert model in found.model
    assert (found.row, found.checkpointing) == (row, checkpointing)
    assert found.memory_gib is not None
    assert found.memory_gib <= 0.85 * gpu_gib


def test_what_does_not_fit_is_said(gib: dict[str, float]) -> None:
    found = choose_machine(lengths(1000, 1500), 1)
    assert "2B" in found.model
    assert found.note.startswith("no size fits a GPU of 1 GiB")
    assert "4B" in choose_machine(lengths(1000), 2, "Qwen/Qwen3-VL-4B-Instruct").model


def test_a_mixture_of_experts_is_taken_where_it_is_asked_for(gib: dict[str, float]) -> None:
    assert "8B" in choose_machine(lengths(1000), 1000).model
    found = choose_machine(lengths(1000), 1000, "Qwen/Qwen3-VL-30B-A3B-Instruct")
    assert found.memory_gib == pytest.approx(20 * found.row / 1000 * 5)


def test_a_model_of_unknown_memory_is_taken_as_it_is(gib: dict[str, float]) -> None:
    assert choose_machine(lengths(1000), 2, "folder/mine").model == "folder/mine"
