from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data._utils.pin_memory import pin_memory

from dcap.core.errors import ImageError, WorkerError
from dcap.data.collate import PackingCollator, SampleInfo
from dcap.data.dataset import DenseCaptionDataset
from dcap.data.epoch import EpochRules, plan_epoch
from dcap.data.loader import EpochLoader, _Rows
from dcap.data.sample import SampleKey
from support.dataset_cases import make_dataset, photo, records
from support.epoch_cases import keys_of, loader_of


@pytest.mark.parametrize("packing", [True, False])
@pytest.mark.parametrize(("world", "accumulation"), [(1, 1), (2, 1), (3, 2)])
def test_ranks_share_an_epoch_without_loss_or_repeat(
    micro_folder: Path, packing: bool, world: int, accumulation: int
) -> None:
    dataset = make_dataset(micro_folder, packing=packing, global_max_length=4200)
    seen: list[str] = []
    steps = set()
    for rank in range(world):
        batches = list(loader_of(dataset, rank=rank, num_ranks=world, accumulation=accumulation).steps())
        steps.add(tuple(len(step) for step in batches))
        for batch in (b for step in batches for b in step):
            weights = batch["loss_weights"].unique().tolist()
            assert weights in ([0.0], [1.0])
            seen += [info.sample_id for info in batch["samples"] if info.weight]
    assert sorted(seen) == [f"train.jsonl:{i}" for i in (1, 2, 3, 4)]
    assert len(steps) == 1


def test_the_balance_of_an_epoch_is_told_in_a_line(micro_folder: Path) -> None:
    dataset = make_dataset(micro_folder, global_max_length=4200, packing=False)
    plan = plan_epoch(dataset, 0, EpochRules(rows_per_step=2))
    values = [step.imbalance(2) for step in plan.steps]
    assert len(values) == 2
    line = f"does {np.mean(values):.1%} more than their mean, in one step {max(values):.1%}"
    assert plan.summary(2) == f"train epoch 0: 4 rows in 2 steps; the busiest of 2 ranks {line}"
    assert plan_epoch(dataset, 0).summary(1) == "train epoch 0: 4 rows in 4 steps"


def test_a_batch_size_that_changes_in_an_epoch_leaves_the_other_epochs_alone(micro_folder: Path) -> None:
    dataset = make_dataset(micro_folder, packing=False)
    changed = plan_epoch(dataset, 1, EpochRules(rows_per_step=2), parts=((1, 1),))
    assert [len(step.rows) for step in changed.steps] == [1, 2, 1]
    assert changed.steps[0].rows == plan_epoch(dataset, 1).steps[0].rows
    assert sorted(key.index for key in keys_of(changed)) == [0, 1, 2, 3]


def test_resuming_gives_the_rest_of_the_epoch(micro_folder: Path) -> None:
    dataset = make_dataset(micro_folder, global_max_length=4200)
    whole = [b["input_ids"] for step in loader_of(dataset, 2).steps() for b in step]
    rest = [b["input_ids"] for step in loader_of(dataset, 2).steps(1) for b in step]
    assert len(rest) == len(whole) - 1 > 0
    assert all(np.array_equal(a, b) for a, b in zip(rest, whole[1:], strict=True))


@pytest.fixture
def start_method(request: pytest.FixtureRequest) -> Iterator[None]:
    """Start processes as the parameter says."""
    before = multiprocessing.get_start_method()
    multiprocessing.set_start_method(request.param, force=True)
    yield
    multiprocessing.set_start_method(before, force=True)


@pytest.mark.usefixtures("start_method")
@pytest.mark.parametrize(
    ("start_method", "num_workers"),
    [("fork", 1), ("fork", 2), ("spawn", 1), ("forkserver", 1)],
    indirect=["start_method"],
)
def test_workers_give_the_same_bytes(micro_folder: Path, num_workers: int) -> None:
    options = {"global_max_length": 4200, "patch_dtype": "uint8"}
    alone = make_dataset(micro_folder, **options)
    helped = make_dataset(micro_folder, **options, num_workers=num_workers)
    pairs = zip(loader_of(alone, 1).steps(), loader_of(helped, 1).steps(), strict=True)
    rows = [(x, y) for step_a, step_b in pairs for x, y in zip(step_a, step_b, strict=True)]
    assert len(rows) > 1
    for a, b in rows:
        assert [facts(info) for info in a["samples"]] == [facts(info) for info in b["samples"]]
        tensors = {name: value for name, value in a.items() if isinstance(value, torch.Tensor)}
        assert len(tensors) == 9
        assert [name for name, value in tensors.items() if not same_bytes(value, b[name])] == []


def facts(info: SampleInfo) -> tuple[object, ...]:
    spans = (info.objects.bounds.tolist(), info.objects.numbers.tolist(), info.objects.kinds.tolist())
    return info.dataset, info.sample_id, info.weight, info.num_supervised, info.tally, info.key, *spans


def same_bytes(a: torch.Tensor, b: torch.Tensor) -> bool:
    return a.dtype == b.dtype and torch.equal(a, b)


CURRICULUM = {
    "ops": [{"name": "rotate", "params": {"max_deg": 0}}, {"name": "expand_to_fit_affine"}],
    "curriculum": [{"until_percent": 50, "ops": {"rotate": {"max_deg": 80}}}],
}


def turns(loader: EpochLoader, begin: int = 0) -> list[tuple[int, int, float]]:
    """Step, sample and the curriculum's number of all samples that a rank gets."""
    steps = enumerate(loader.steps(begin), loader.plan.first_step + begin)
    return [
        (step, int(info.sample_id.split(":")[1]), info.tally["curriculum/rotate.max_deg"])
        for step, batches in steps
        for info in (info for batch in batches for info in batch["samples"] if info.weight)
    ]


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("packing", [True, False])
def test_a_curriculum_stands_where_the_step_is_that_trains_on_a_sample(
    micro_folder: Path, packing: bool, num_workers: int
) -> None:
    fields = {"packing": packing, "global_max_length": 2400, "num_workers": num_workers}
    dataset = make_dataset(micro_folder, CURRICULUM, **fields)
    loader = loader_of(dataset, 1, total_steps=16, first_step=4)
    seen = turns(loader)
    assert sorted(i for _, i, _ in seen) == [1, 2, 3, 4]
    assert len({step for step, _, _ in seen}) > 2
    assert all(value == min(step * 10, 80) for step, _, value in seen)
    # Prefetch, workers and a resumed epoch change nothing of it, nor do ranks.
    assert turns(loader, begin=2) == [each for each in seen if each[0] >= 6]
    shared = [turns(loader_of(dataset, 1, rank=rank, num_ranks=2, total_steps=16, first_step=4)) for rank in (0, 1)]
    assert sorted(i for turn in shared for _, i, _ in turn) == [1, 2, 3, 4]
    assert all(value == min(step * 10, 80) for turn in shared for step, _, value in turn)


def test_a_curriculum_stays_where_it_starts_without_the_number_of_steps(micro_folder: Path) -> None:
    loader = loader_of(make_dataset(micro_folder, CURRICULUM), 1)
    assert [value for _, _, value in turns(loader)] == [0.0] * 4


def test_torch_pins_the_tensors_of_a_row(micro_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Page-locked memory needs a GPU; here it is enough that torch's loader finds every tensor.
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor.clone().fill_(7))
    dataset = make_dataset(micro_folder, {})
    collator = PackingCollator(6000)
    batch = pin_memory(_Rows(dataset, collator, [(SampleKey(0, 0),)])[0]).batch
    tensors = [value for value in batch.values() if isinstance(value, torch.Tensor)]
    assert len(tensors) == 9
    assert all((tensor == 7).all() for tensor in tensors)
    assert batch["samples"][0].sample_id == "train.jsonl:1"


@pytest.mark.parametrize("num_workers", [0, 1])
def test_an_image_that_breaks_later_stops_or_is_left_out(micro_folder: Path, tmp_path: Path, num_workers: int) -> None:
    path = records(tmp_path, photo(tmp_path, "a.png"), photo(tmp_path, "b.png"))
    stopping = make_dataset(micro_folder, {}, train=path, num_workers=num_workers)
    skipping = make_dataset(micro_folder, {}, train=path, num_workers=num_workers, on_bad_record="skip", packing=False)
    data = (tmp_path / "b.png").read_bytes()
    (tmp_path / "b.png").write_bytes(data[: len(data) // 2])
    before = set(multiprocessing.active_children())
    with pytest.raises(ImageError, match=r"^r.jsonl:2: image .*b.png") as caught:
        list(loader_of(stopping))
    # Python waits at its exit for workers that live on, and these ignore SIGTERM; the traceback must not keep them.
    assert set(multiprocessing.active_children()) <= before
    assert caught.tb is not None
    messages: list[str] = []
    batches = list(loader_of(skipping, on_skip=messages.append))
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
        if multiprocessing.parent_process() is not None:
            os.kill(os.getpid(), signal.SIGKILL)
        return self._inner[key]


def test_a_killed_worker_is_a_clear_error(micro_folder: Path) -> None:
    dying: Any = _Dies(make_dataset(micro_folder, num_workers=1))
    with pytest.raises(WorkerError, match=r"a loader process died .*lower data\.num_workers"):
        list(loader_of(dying))


class _Signals(_Dies):
    def __getitem__(self, key: SampleKey) -> Any:
        if multiprocessing.parent_process() is not None:
            os.kill(os.getpid(), signal.SIGTERM)
        return self._inner[key]


def test_workers_leave_sigterm_to_the_trainer(micro_folder: Path) -> None:
    signalled: Any = _Signals(make_dataset(micro_folder, num_workers=1))
    assert len(list(loader_of(signalled))) > 0


@pytest.mark.parametrize(
    ("patch_dtype", "num_workers", "gpu", "want"),
    [
        ("auto", 0, False, torch.float32),
        ("auto", 0, True, torch.uint8),
        ("auto", 1, False, torch.uint8),
        ("uint8", 0, False, torch.uint8),
        ("float32", 1, False, torch.float32),
    ],
)
def test_patches_come_as_bytes_where_they_travel(
    micro_folder: Path, patch_dtype: str, num_workers: int, gpu: bool, want: torch.dtype
) -> None:
    dataset = make_dataset(micro_folder, patch_dtype=patch_dtype, num_workers=num_workers)
    assert loader_of(dataset, pin_memory=gpu).collator([dataset[(0, 0)]])["pixel_values"].dtype == want
