from __future__ import annotations

import json
import multiprocessing
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dcap.core.config import build
from dcap.core.errors import ConfigError, ImageError, RecordError, TrainingError
from dcap.data.codec import parse, to_canvas
from dcap.data.collate import PackingCollator, PaddingCollator
from dcap.data.dataset import DenseCaptionDataset, SampleKey
from dcap.data.encode import IGNORE_INDEX
from dcap.data.loader import RowLoader
from dcap.data.preprocess import PREPROCESSORS
from dcap.train.config import RunConfig

AUGMENTATION = {
    "ops": [
        {"name": "hflip", "prob": 0.5},
        {"name": "rotate", "params": {"max_deg": 15}},
        {"name": "random_crop", "prob": 0.5},
        {"name": "expand_to_fit_affine", "params": {"max_pixels": 100_000}},
        {"name": "color_jitter", "params": {"brightness": 0.2, "saturation": 0.2}},
    ]
}
PHOTOS = "builtin:photos/train.jsonl"


def config(tiny_folder: Path, augmentation: Any = None, **data: Any) -> RunConfig:
    section = {
        "train": PHOTOS,
        "val": "builtin:photos/val.jsonl",
        "global_max_length": 6000,
        "num_workers": 0,
        "answer": {"max_pixels": 90_000},
        **data,
    }
    tree = {
        "model": {"name_or_path": str(tiny_folder)},
        "data": section,
        "training": {"output_dir": "none"},
        "augmentation": augmentation if augmentation is not None else AUGMENTATION,
    }
    return build(RunConfig, tree)


@pytest.fixture(scope="module")
def dataset(tiny_folder: Path) -> DenseCaptionDataset:
    return DenseCaptionDataset(config(tiny_folder))


def arrays(sample: Any) -> list[np.ndarray[Any, Any]]:
    return [sample.input_ids, sample.labels, sample.position_ids, sample.pixel_values, sample.scene.image]


def test_an_item_depends_on_seed_epoch_and_index_alone(dataset: DenseCaptionDataset) -> None:
    first = [dataset[SampleKey(3, i)] for i in range(4)]
    again = pickle.loads(pickle.dumps(dataset))
    for i in (2, 0, 3, 1):
        other = again[SampleKey(3, i)]
        assert all(np.array_equal(a, b) for a, b in zip(arrays(first[i]), arrays(other), strict=True))
    assert any(not np.array_equal(dataset[SampleKey(4, i)].input_ids, first[i].input_ids) for i in range(4))
    assert dataset[0].answer == dataset[(0, 0)].answer == dataset[SampleKey(0, 0)].answer


def test_planned_length_is_the_encoded_length(dataset: DenseCaptionDataset) -> None:
    for epoch in range(5):
        lengths = dataset.lengths(epoch)
        for i in range(len(dataset)):
            assert lengths[i] == len(dataset[(epoch, i)].input_ids) == dataset[(epoch, i)].planned_length


def test_labels_are_the_answer_and_its_end(dataset: DenseCaptionDataset) -> None:
    tokenizer: Any = dataset.planner.encoder.tokenizer
    sample = dataset[(0, 1)]
    supervised = sample.labels != IGNORE_INDEX
    assert tokenizer.decode(sample.labels[supervised]) == sample.answer + "<|im_end|>"
    assert np.array_equal(sample.labels[supervised], sample.input_ids[supervised])
    start = int(np.argmax(supervised))
    assert supervised[start:].all()
    assert tokenizer.decode(sample.input_ids[:start]).endswith("<|im_start|>assistant\n")


def test_the_answer_says_where_the_shapes_are(dataset: DenseCaptionDataset) -> None:
    profile = dataset.planner.profile.answer
    for i in range(len(dataset)):
        sample = dataset[(1, i)]
        parsed = parse(sample.answer, profile, strict=True)
        assert sorted(parsed.captions) == sorted(sample.scene.captions)
        back = to_canvas(parsed, sample.scene.canvas, profile)
        grid = max(sample.scene.canvas.width, sample.scene.canvas.height) / 1000
        got, want = back.bounds(), sample.scene.shapes.bounds()
        order = [np.lexsort(b.T.round(0)) for b in (got, want)]
        assert np.abs(np.sort(got, axis=0) - np.sort(want, axis=0)).max() <= grid
        assert len(order[0]) == len(order[1])


def test_validation_is_never_augmented(tiny_folder: Path) -> None:
    sample = DenseCaptionDataset(config(tiny_folder), "val")[(7, 0)]
    assert sample.augmented.plan.interpolation == "model"
    assert sample.augmented.telemetry.applied == ()


@pytest.mark.parametrize("mode", ["summary", "mixed"])
def test_modes(tiny_folder: Path, mode: str) -> None:
    dataset = DenseCaptionDataset(config(tiny_folder, mode=mode, summary_ratio=0.5))
    modes = [dataset.plan(epoch, i).mode for epoch in range(8) for i in range(4)]
    assert set(modes) == ({"summary"} if mode == "summary" else {"summary", "dense"})
    planned = next(dataset.plan(e, 0) for e in range(20) if dataset.plan(e, 0).mode == "summary")
    assert planned.answer == dataset.records[0].summary


def records(folder: Path, *items: dict[str, Any]) -> str:
    (folder / "r.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
    return str(folder / "r.jsonl")


def photo(folder: Path, name: str = "a.png", **extra: Any) -> dict[str, Any]:
    from PIL import Image

    Image.fromarray(np.random.default_rng(0).integers(0, 256, (80, 120, 3), dtype=np.uint8)).save(folder / name)
    objects = [{"desc": f"thing {i}", "bbox_2d": [i, i, 40 + i, 40 + i]} for i in range(20)]
    return {"images": [name], "width": 120, "height": 80, "objects": objects, **extra}


def test_summary_mode_needs_summaries(tiny_folder: Path, tmp_path: Path) -> None:
    dataset = DenseCaptionDataset(config(tiny_folder, train=records(tmp_path, photo(tmp_path)), mode="summary"))
    with pytest.raises(RecordError, match=r"r.jsonl:1: summary must be given in summary mode"):
        dataset.lengths(0)


def test_an_image_without_objects_is_trained_on(tiny_folder: Path, tmp_path: Path) -> None:
    dataset = DenseCaptionDataset(config(tiny_folder, train=records(tmp_path, photo(tmp_path, objects=[]))))
    assert dataset[0].answer == "{}"
    assert dataset[0].num_supervised == 2
    batch = next(RowLoader(dataset).batches())
    assert (batch["labels"] != IGNORE_INDEX).sum() == 2


def test_overlong_policies(tiny_folder: Path, tmp_path: Path) -> None:
    path = records(tmp_path, photo(tmp_path))
    short = {"train": path, "global_max_length": 400}
    full = DenseCaptionDataset(config(tiny_folder, {}, train=path)).lengths(0)[0]
    assert full > 400
    with pytest.raises(RecordError, match=rf"r.jsonl:1: sample must have at most 400 tokens, not {full}"):
        DenseCaptionDataset(config(tiny_folder, {}, **short)).lengths(0)
    dropping = DenseCaptionDataset(config(tiny_folder, {}, overlong="drop", **short))
    assert dropping.lengths(0).tolist() == [0]
    with pytest.raises(TrainingError, match="at least one sample must be left"):
        RowLoader(dropping).steps_per_epoch(0)
    fewer = DenseCaptionDataset(config(tiny_folder, {}, overlong="drop_objects", **short))
    sample = fewer[0]
    assert 370 < len(sample.input_ids) <= 400
    kept = len(sample.scene.captions)
    assert 0 < kept < 20
    assert sample.scene.captions == tuple(f"thing {i}" for i in range(kept))
    assert len(sample.augmented.telemetry.dropped) == 20 - kept


def test_preprocessors_run_first_and_drops_are_counted(tiny_folder: Path) -> None:
    name = "only_cats_test"
    if name not in PREPROCESSORS:
        PREPROCESSORS.register(
            name, lambda: lambda r: replace(r, summary="seen") if "cat" in " ".join(r.captions) else None
        )
    dataset = DenseCaptionDataset(config(tiny_folder, preprocessors=[{"name": name}], mode="summary"))
    assert len(dataset) == 1
    assert dataset.records.dropped == {name: 3}
    assert dataset[0].answer == "seen"


def test_a_split_without_files_is_a_config_error(tiny_folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"data\.val must name at least one JSONL file"):
        DenseCaptionDataset(config(tiny_folder, val=[]), "val")


def test_rows_hold_samples_end_to_end(dataset: DenseCaptionDataset) -> None:
    samples = [dataset[(0, i)] for i in (0, 1, 2)]
    batch = PackingCollator(6000)(samples)
    bounds = batch["cu_seqlens"].tolist()
    assert bounds == [0, *np.cumsum([len(s.input_ids) for s in samples]).tolist()]
    for k, sample in enumerate(samples):
        part = slice(bounds[k], bounds[k + 1])
        assert np.array_equal(batch["input_ids"][0, part], sample.input_ids)
        assert np.array_equal(batch["labels"][0, part], sample.labels)
        assert np.array_equal(batch["position_ids"][:, 0, part], sample.position_ids)
    assert batch["image_grid_thw"].tolist() == [list(s.grid_thw or ()) for s in samples]
    assert len(batch["pixel_values"]) == sum(len(s.pixel_values) for s in samples if s.pixel_values is not None)
    assert [info.sample_id for info in batch["samples"]] == [f"train.jsonl:{i}" for i in (1, 2, 3)]


def test_padding_is_on_the_right_and_unlabelled(dataset: DenseCaptionDataset) -> None:
    samples = [dataset[(0, i)] for i in (0, 1)]
    batch = PaddingCollator(dataset.pad_id, 6000)(samples)
    longest = max(len(s.input_ids) for s in samples)
    assert batch["input_ids"].shape == (2, longest)
    assert batch["position_ids"].shape == (4, 2, longest)
    assert "cu_seqlens" not in batch
    for k, sample in enumerate(samples):
        n = len(sample.input_ids)
        assert np.array_equal(batch["input_ids"][k, :n], sample.input_ids)
        assert (batch["input_ids"][k, n:] == dataset.pad_id).all()
        assert (batch["labels"][k, n:] == IGNORE_INDEX).all()


def broken(sample: Any, **changes: Any) -> Any:
    return replace(sample, **changes)


def test_rows_are_checked_before_the_model_sees_them(dataset: DenseCaptionDataset) -> None:
    sample = dataset[(0, 0)]
    labels, kinds = sample.labels.copy(), sample.mm_token_type_ids
    labels[np.argmax(kinds)] = 5
    nothing = np.full_like(sample.labels, IGNORE_INDEX)
    cases = [
        (broken(sample, planned_length=3), "planned 3 tokens"),
        (broken(sample, grid_thw=(1, 2, 2)), "a quarter of the 4 patches"),
        (broken(sample, pixel_values=sample.pixel_values[:-1]), "pixel_values must have"),
        (broken(sample, labels=nothing), "at least one token must be supervised"),
        (broken(sample, labels=labels), "no image token may carry a label"),
    ]
    for bad, message in cases:
        for collator in (PackingCollator(6000), PaddingCollator(0, 6000)):
            with pytest.raises(TrainingError, match=f"sample train.jsonl:1: .*{message}"):
                collator([sample, bad])
    with pytest.raises(TrainingError, match=r"row must have at most 100 tokens.*train.jsonl:1"):
        PackingCollator(100)([sample])
    with pytest.raises(TrainingError, match="sample must have at most 100 tokens"):
        PaddingCollator(0, 100)([sample])


@pytest.mark.parametrize("packing", [True, False])
@pytest.mark.parametrize(("world", "accumulation"), [(1, 1), (2, 1), (3, 2)])
def test_ranks_share_an_epoch_without_loss_or_repeat(
    tiny_folder: Path, packing: bool, world: int, accumulation: int
) -> None:
    settings = config(tiny_folder, packing=packing, global_max_length=4200)
    dataset = DenseCaptionDataset(settings)
    seen: list[str] = []
    steps = set()
    for rank in range(world):
        loader = RowLoader(dataset, rank, world, accumulation)
        batches = list(loader.steps_from(0, 0))
        steps.add(tuple(len(step) for step in batches))
        for batch in (b for step in batches for b in step):
            weights = batch["loss_weights"].unique().tolist()
            assert weights in ([0.0], [1.0])
            seen += [info.sample_id for info in batch["samples"] if info.weight]
    assert sorted(seen) == [f"train.jsonl:{i}" for i in (1, 2, 3, 4)]
    assert len(steps) == 1


def test_resuming_gives_the_rest_of_the_epoch(tiny_folder: Path) -> None:
    dataset = DenseCaptionDataset(config(tiny_folder, global_max_length=4200))
    whole = [b["input_ids"] for step in RowLoader(dataset).steps_from(2, 0) for b in step]
    rest = [b["input_ids"] for step in RowLoader(dataset).steps_from(2, 1) for b in step]
    assert len(rest) == len(whole) - 1 > 0
    assert all(np.array_equal(a, b) for a, b in zip(rest, whole[1:], strict=True))


def test_workers_give_the_same_bytes(tiny_folder: Path) -> None:
    alone = DenseCaptionDataset(config(tiny_folder, global_max_length=4200))
    helped = DenseCaptionDataset(config(tiny_folder, global_max_length=4200, num_workers=2))
    pairs = zip(RowLoader(alone).steps_from(1, 0), RowLoader(helped).steps_from(1, 0), strict=True)
    for a, b in ((x, y) for step_a, step_b in pairs for x, y in zip(step_a, step_b, strict=True)):
        assert np.array_equal(a["input_ids"], b["input_ids"])
        assert np.array_equal(a["pixel_values"], b["pixel_values"])


@pytest.mark.parametrize("num_workers", [0, 1])
def test_an_image_that_breaks_later_stops_or_is_left_out(tiny_folder: Path, tmp_path: Path, num_workers: int) -> None:
    path = records(tmp_path, photo(tmp_path, "a.png"), photo(tmp_path, "b.png"))
    stopping = DenseCaptionDataset(config(tiny_folder, {}, train=path, num_workers=num_workers))
    skipping = DenseCaptionDataset(
        config(tiny_folder, {}, train=path, num_workers=num_workers, on_bad_record="skip", packing=False)
    )
    data = (tmp_path / "b.png").read_bytes()
    (tmp_path / "b.png").write_bytes(data[: len(data) // 2])
    with pytest.raises(ImageError, match=r"^r.jsonl:2: image .*b.png"):
        list(RowLoader(stopping).steps_from(0, 0))
    messages: list[str] = []
    loader = RowLoader(skipping, on_skip=messages.append)
    batches = [b for step in loader.steps_from(0, 0) for b in step]
    assert len(batches) == 2
    assert sorted(info.sample_id for b in batches for info in b["samples"]) == ["filler", "r.jsonl:1"]
    assert len(messages) == 1
    assert "b.png" in messages[0]


class _Dies:
    def __init__(self, dataset: DenseCaptionDataset) -> None:
        self.__dict__.update(dataset.__dict__)
        self._inner = dataset

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def __getitem__(self, key: SampleKey) -> Any:
        import os

        if multiprocessing.parent_process() is not None:
            os._exit(9)
        return self._inner[key]


def test_a_killed_worker_is_a_clear_error(tiny_folder: Path) -> None:
    dying: Any = _Dies(DenseCaptionDataset(config(tiny_folder, num_workers=1)))
    with pytest.raises(TrainingError, match=r"a loader process died .*lower data\.num_workers"):
        list(RowLoader(dying).steps_from(0, 0))
