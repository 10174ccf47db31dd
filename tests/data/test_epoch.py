"""The plan of an epoch: what it counts, where its steps begin, and how it finds a sample."""

from __future__ import annotations

from pathlib import Path

import pytest

from dcap.core.errors import ConfigError, TrainingError
from dcap.data.dataset import DenseCaptionDataset
from dcap.data.epoch import EpochRules, plan_epoch
from dcap.data.loader import EpochLoader
from dcap.data.mixture import EpochSamples
from dcap.data.packing import SampleSizes
from dcap.data.sample import SampleKey
from support.dataset_cases import make_dataset, records
from support.epoch_cases import keys_of

GROWING = {
    "ops": [{"name": "rotate", "params": {"max_deg": 0}}],
    "curriculum": [{"until_percent": 50, "ops": {"rotate": {"max_deg": 80}}}],
}


@pytest.fixture
def dataset(micro_folder: Path) -> DenseCaptionDataset:
    return make_dataset(micro_folder, GROWING, packing=False)


def test_an_epoch_begins_where_the_one_before_ends(dataset: DenseCaptionDataset) -> None:
    rules = EpochRules(rows_per_step=2, total_steps=20)
    before = plan_epoch(dataset, 0, rules)
    given = plan_epoch(dataset, 1, rules, first_step=before.next_step)
    found = plan_epoch(dataset, 1, rules)
    assert (given.first_step, given.next_step) == (2, 4)
    assert (found.first_step, [step.rows for step in found.steps]) == (2, [step.rows for step in given.steps])
    assert {key.when.step for key in keys_of(found) if key.when} == {2, 3}


def test_without_the_steps_of_the_run_a_curriculum_stays_where_it_starts(dataset: DenseCaptionDataset) -> None:
    plan = plan_epoch(dataset, 3)
    assert plan.first_step == 0
    assert [key.when for key in plan.keys] == [None] * len(dataset)


def test_it_finds_the_key_of_a_sample(dataset: DenseCaptionDataset) -> None:
    plan = plan_epoch(dataset, 1, EpochRules(total_steps=20))
    for k, step in enumerate(plan.steps):
        (row,) = step.rows
        assert plan.key_of(row[0].index) == row[0] == plan.keys[row[0].index]
        assert row[0].when is not None
        assert row[0].when.step == plan.first_step + k
    with pytest.raises(ConfigError, match="sample 99 must be trained on in epoch 1, but is left out there"):
        plan.key_of(99)


def test_given_samples_and_sizes_are_not_planned_again(micro_folder: Path) -> None:
    dataset, few = make_dataset(micro_folder, {}), EpochSamples.of_all(3)
    sizes = SampleSizes(few.index + 100, few.index)
    plan = plan_epoch(dataset, 0, samples=few, sizes=sizes)
    assert plan.sizes is sizes
    assert [sorted(row) for row in plan.rows] == [[0, 1, 2]]
    assert set(plan.keys) == {SampleKey(0, k) for k in range(3)}


def test_a_loader_has_as_many_batches_as_it_yields(dataset: DenseCaptionDataset) -> None:
    loader = EpochLoader(dataset, plan_epoch(dataset, 0, EpochRules(rows_per_step=3)), rank=1, num_ranks=3)
    assert len(loader) == len(list(loader)) == 2


def test_an_epoch_needs_a_sample(micro_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="at least one sample must be left"):
        plan_epoch(make_dataset(micro_folder, {}, train=records(tmp_path)), 0)
