"""What is counted from plans, against the samples and the rows that training gets."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dcap.audit.epoch_counts import EpochCounts, count_epoch, dataset_shares
from dcap.core.errors import ConfigError, RecordError
from dcap.data.collate import PaddingCollator
from dcap.data.dataset import DenseCaptionDataset
from dcap.data.epoch import EpochRules, plan_epoch
from dcap.data.sample import SampleKey
from dcap.data.tokens import TokenKind
from support.dataset_cases import make_dataset, photo, records

TURNS = {"ops": [{"name": "random_crop", "prob": 0.7, "params": {"scale": [0.3, 0.9]}}]}


RULES = EpochRules()


@pytest.fixture
def dataset(micro_folder: Path) -> DenseCaptionDataset:
    return make_dataset(micro_folder, TURNS, global_max_length=4000, mode="mixed")


@pytest.mark.parametrize("epoch", [0, 2])
def test_the_numbers_are_those_of_the_samples(dataset: DenseCaptionDataset, epoch: int) -> None:
    plans = count_epoch(dataset, epoch, RULES)
    samples = [dataset[SampleKey(epoch, i)] for i in range(len(dataset))]
    assert plans.tokens.tolist() == [len(s.input_ids) for s in samples]
    assert plans.kinds.tolist() == [np.bincount(s.token_kinds, minlength=5).tolist() for s in samples]
    assert plans.supervised.tolist() == [s.num_supervised for s in samples]
    assert plans.patches.tolist() == [s.num_patches for s in samples]
    assert plans.objects.tolist() == [len(s.scene.shapes) for s in samples]


def test_the_rows_are_those_of_the_loader(dataset: DenseCaptionDataset) -> None:
    plans, made = count_epoch(dataset, 1, RULES), plan_epoch(dataset, 1)
    in_steps = [[key.index for key in row] for step in made.steps for row in step.rows]
    assert sorted(row.tolist() for row in plans.rows) == sorted(in_steps)
    assert plans.row_tokens.tolist() == [int(plans.tokens[row].sum()) for row in plans.rows]
    assert plans.padding_share == 0
    assert plans.fill == pytest.approx(plans.tokens.sum() / (len(plans.rows) * 4000))
    assert plans.num_steps(rows_per_step=1) == len(made.steps)


def test_samples_to_look_at_are_spread_and_kept(dataset: DenseCaptionDataset) -> None:
    plans = count_epoch(dataset, 1, RULES)
    without_first = replace(plans, kinds=plans.kinds * (np.arange(len(plans.kinds)) > 0)[:, None])
    assert without_first.choose(1) == [SampleKey(1, 1)]
    assert plans.choose(99) == [SampleKey(1, k) for k in range(len(dataset))]
    assert plans.choose(2) == [SampleKey(1, 0), SampleKey(1, len(dataset) // 2)]
    assert plans.choose(0) == []


def test_padding_is_what_the_collator_adds(micro_folder: Path) -> None:
    dataset = make_dataset(micro_folder, TURNS, packing=False)
    rules = EpochRules(batch_size=3)
    plans, made = count_epoch(dataset, 0, rules), plan_epoch(dataset, 0, rules)
    collate = PaddingCollator(6000, dataset.pad_id)
    batches = [collate([dataset[key] for key in row]) for step in made.steps for row in step.rows]
    assert sorted(plans.row_tokens.tolist()) == sorted(batch["input_ids"].numel() for batch in batches)
    real = sum(sample.num_supervised for batch in batches for sample in batch["samples"])
    assert plans.supervised.sum() == real
    assert 0 < plans.padding_share < 1


@pytest.mark.parametrize("max_length", [4000, 1600])
def test_a_curriculum_is_planned_at_its_steps(micro_folder: Path, max_length: int) -> None:
    phases = [{"until_percent": 100, "ops": {"random_crop": {"prob": 1.0, "scale": [0.3, 0.3]}}}]
    dataset = make_dataset(micro_folder, {**TURNS, "curriculum": phases}, global_max_length=max_length, overlong="drop")
    rules = EpochRules(total_steps=8)
    plans = count_epoch(dataset, 0, rules)
    rows = [row for step in plan_epoch(dataset, 0, rules).steps for row in step.rows]
    assert rows[-1][0].when is not None
    assert [len(row) for row in plans.rows] == [len(row) for row in rows]
    lengths = [len(dataset[key].input_ids) for row in rows for key in row]
    left_out = len(dataset) - len(lengths)
    assert (left_out > 0) == (max_length == 1600)
    assert plans.tokens.tolist() == lengths + [0] * left_out
    assert (plans.num_left_out, plans.population, plans.scale) == (left_out, len(dataset), 1)


def test_a_drawn_part_stands_for_the_whole(micro_folder: Path, tmp_path: Path) -> None:
    one = photo(tmp_path)
    many = [{**one, "objects": one["objects"][: 1 + k % 20]} for k in range(60)]
    dataset = make_dataset(micro_folder, {}, train=records(tmp_path, *many), global_max_length=2800)
    whole, part = count_epoch(dataset, 0, RULES), count_epoch(dataset, 0, RULES, max_plans=30)
    assert (len(part.tokens), part.population, part.scale) == (30, 60, 2.0)
    assert part.num_tokens == 2 * part.tokens.sum()
    assert 0.7 < part.num_tokens / whole.num_tokens < 1.4
    assert part.num_rows == 2 * len(part.rows)
    assert count_epoch(dataset, 0, RULES, max_plans=60).scale == 1
    with pytest.raises(ConfigError, match="max_plans must be at least 1, not 0"):
        count_epoch(dataset, 0, RULES, max_plans=0)


def test_what_is_left_out_is_counted(micro_folder: Path, tmp_path: Path) -> None:
    one = photo(tmp_path)
    path = records(tmp_path, one, {**one, "objects": one["objects"][:1]})
    long = make_dataset(micro_folder, {}, train=path, global_max_length=860)
    with pytest.raises(RecordError, match=r"r\.jsonl:1: sample must have at most 860 tokens"):
        count_epoch(long, 0, RULES)
    dropping = make_dataset(micro_folder, {}, train=path, global_max_length=860, overlong="drop")
    plans = count_epoch(dropping, 0, RULES)
    assert plans.num_left_out == 1
    assert [row.tolist() for row in plans.rows] == [[1]]
    assert plans.histograms()["tokens per sample"].number == 1


def test_shares_weigh_supervised_tokens(micro_folder: Path, tmp_path: Path) -> None:
    mixture: list[dict[str, Any]] = [
        {"name": "all", "train": "builtin:photos/photos.jsonl"},
        {"name": "few", "train": records(tmp_path, photo(tmp_path)), "ratio": 1.0, "loss_weight": 0.5},
    ]
    dataset = make_dataset(micro_folder, {}, train=(), val=(), mixture=mixture)
    plans = count_epoch(dataset, 0, RULES)
    found = dataset_shares(plans, dataset)
    assert [share.name for share in found] == ["all", "few"]
    assert sum(share.share for share in found) == pytest.approx(1)
    assert sum(share.tokens for share in found) == plans.num_tokens
    assert found[1].share == pytest.approx(
        0.5 * found[1].supervised / (found[0].supervised + 0.5 * found[1].supervised)
    )
    assert [share.samples for share in found] == np.bincount(plans.part).tolist()


def test_histograms_have_a_title_each(dataset: DenseCaptionDataset) -> None:
    titles = list(count_epoch(dataset, 0, RULES).histograms())
    assert "vision tokens per image" in titles
    assert f"{TokenKind.COORDINATE.name.lower()} tokens per sample" in titles
    assert len(set(titles)) == len(titles)


def test_an_epoch_without_samples_is_all_zero() -> None:
    none = np.empty(0, np.int64)
    plans = EpochCounts((), np.empty((0, 5), np.int64), none, none, none, (), 0, 100, False)
    assert (plans.num_tokens, plans.num_rows, plans.fill, plans.num_steps(4)) == (0, 0, 0.0, 0)
