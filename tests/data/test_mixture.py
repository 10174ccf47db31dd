from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcap.augment.schedule import TrainingStep
from dcap.core.errors import ConfigError
from dcap.data.config import MixtureEntry, Split
from dcap.data.dataset import DenseCaptionDataset
from dcap.data.epoch import plan_epoch
from dcap.data.lengths import sample_sizes
from dcap.data.mixture import Mixture
from dcap.data.sample import SampleKey
from support.dataset_cases import make_dataset, photo, records
from support.epoch_cases import keys_of

SHARES = st.one_of(
    st.just({}),
    st.floats(0.01, 5).map(lambda ratio: {"ratio": ratio}),
    st.floats(0.01, 5).map(lambda weight: {"weight": weight}),
)


@st.composite
def mixtures(draw: st.DrawFn) -> Mixture:
    parts = draw(st.lists(st.tuples(SHARES, st.integers(0, 40)), min_size=1, max_size=4))
    entries = [MixtureEntry(f"set{k}", train="x.jsonl", **share) for k, (share, _) in enumerate(parts)]
    return Mixture.of_counts(entries, [count for _, count in parts])


@given(mixtures(), st.integers(0, 5), st.integers(0, 9))
def test_targets_are_taken_once_and_sources_by_their_ratio(mixture: Mixture, seed: int, epoch: int) -> None:
    samples = mixture.samples(seed, epoch)
    taken = Counter(samples.index.tolist())
    for part in mixture.parts:
        of_part = {k: n for k, n in taken.items() if part.start <= k < part.stop}
        if part.entry.is_target:
            assert of_part == dict.fromkeys(range(part.start, part.stop), 1)
        elif part.entry.ratio is not None:
            assert sum(of_part.values()) == (round(part.entry.ratio * mixture.num_targets) if len(part) else 0)


@given(mixtures(), st.integers(0, 5), st.integers(1, 12))
def test_epochs_of_a_weighted_set_take_each_record_as_often_as_any_other(
    mixture: Mixture, seed: int, epochs: int
) -> None:
    taken: Counter[int] = Counter()
    for epoch in range(epochs):
        taken.update(mixture.samples(seed, epoch).index.tolist())
    for part in mixture.parts:
        if part.entry.weight is not None and len(part):
            times = [taken[k] for k in range(part.start, part.stop)]
            assert max(times) - min(times) <= 1
            assert abs(sum(times) - epochs * part.entry.weight * len(part)) < 1.0


@given(mixtures(), st.integers(0, 5), st.integers(0, 9))
def test_samples_are_pure_and_no_two_are_the_same(mixture: Mixture, seed: int, epoch: int) -> None:
    samples, again = mixture.samples(seed, epoch), mixture.samples(seed, epoch)
    assert np.array_equal(samples.index, again.index)
    assert np.array_equal(samples.draw, again.draw)
    keys = set(zip(samples.index.tolist(), samples.draw.tolist(), strict=True))
    assert len(keys) == len(samples)
    assert {(k, n - 1) for k, n in keys if n} <= keys  # draws of a record count from 0 without a gap


@given(mixtures(), st.integers(0, 5), st.integers(0, 9))
def test_what_a_set_draws_does_not_depend_on_its_neighbours(mixture: Mixture, seed: int, epoch: int) -> None:
    for part in mixture.parts:
        others = [p.entry for p in mixture.parts if p is not part]
        moved = Mixture.of_counts([part.entry, *others], [len(part), *(len(p) for p in mixture.parts if p is not part)])
        here = part.indices(seed, epoch, mixture.num_targets) - part.start
        assert np.array_equal(here, moved.parts[0].indices(seed, epoch, mixture.num_targets))


@given(mixtures())
def test_a_record_knows_its_set(mixture: Mixture) -> None:
    owners = [k for k, part in enumerate(mixture.parts) for _ in range(len(part))]
    assert [mixture.part_of(i) for i in range(len(owners))] == owners


def two_sets(micro_folder: Path, tmp_path: Path, ops: Any = None, **second: Any) -> DenseCaptionDataset:
    (tmp_path / "b").mkdir(exist_ok=True)
    a = records(tmp_path, *[photo(tmp_path, f"a{i}.png", summary="a wall") for i in range(3)])
    b = records(tmp_path / "b", photo(tmp_path / "b", summary="a floor"))
    mixture = [{"name": "walls", "train": a, "val": a}, {"name": "floors", "train": b, "val": b, **second}]
    domains = {"indoor": {"dense": "Indoor.", "summary": "Room?"}}
    return make_dataset(micro_folder, ops, train=(), val=(), mixture=mixture, domains=domains)


def test_a_record_taken_several_times_is_augmented_each_time_in_its_own_way(micro_folder: Path, tmp_path: Path) -> None:
    dataset = two_sets(micro_folder, tmp_path, ratio=2.0)
    keys = keys_of(plan_epoch(dataset, 0))
    assert sorted((key.index, key.draw) for key in keys) == [(0, 0), (1, 0), (2, 0), *((3, n) for n in range(6))]
    made = {dataset[key].answer for key in keys if key.index == 3}
    assert len(made) == 6
    assert {dataset[key].dataset for key in keys} == {"walls", "floors"}


def test_lengths_are_those_of_the_drawn_samples(micro_folder: Path, tmp_path: Path) -> None:
    dataset = two_sets(micro_folder, tmp_path, weight=2.5)
    for epoch in range(2):
        samples = dataset.samples(epoch)
        for k, length in enumerate(sample_sizes(dataset, epoch).tokens):
            sample = dataset[SampleKey(epoch, int(samples.index[k]), draw=int(samples.draw[k]))]
            assert length == len(sample.input_ids)


@pytest.mark.parametrize(
    ("settings", "asked"),
    [({}, "default"), ({"domain": "indoor"}, "Indoor."), ({"domain": "indoor", "prompts": {"dense": "Own."}}, "Own.")],
)
def test_prompts_of_the_data_set_win_over_the_domain_and_those_over_the_default(
    micro_folder: Path, tmp_path: Path, settings: Any, asked: str
) -> None:
    dataset = two_sets(micro_folder, tmp_path, **settings)
    expected = dataset.profile.prompts.dense if asked == "default" else asked
    tokenizer: Any = dataset.planners[0].encoder.tokenizer
    assert expected in tokenizer.decode(dataset[3].input_ids)
    assert dataset.profile.prompts.dense in tokenizer.decode(dataset[0].input_ids)


def test_a_data_set_has_its_own_answer_mode_and_loss_weight(micro_folder: Path, tmp_path: Path) -> None:
    summary = two_sets(micro_folder, tmp_path, {}, mode="summary", loss_weight=0.25)
    assert summary[3].answer == "a floor"
    assert (summary[3].weight, summary[0].weight) == (0.25, 1.0)
    assert '"bbox_2d"' in summary[0].answer
    listed = two_sets(micro_folder, tmp_path, {}, answer={"format": "qwen", "emit_norm": "norm100"})
    assert listed[3].answer.startswith("[")
    assert listed[0].answer.startswith("{")


def test_a_cap_keeps_so_many_objects_and_other_ones_in_other_epochs(micro_folder: Path, tmp_path: Path) -> None:
    dataset = two_sets(micro_folder, tmp_path, {}, max_objects=7)
    kept = [dataset[(epoch, 3)].augmented for epoch in range(3)]
    assert [len(made.source_index) for made in kept] == [7, 7, 7]
    assert len({tuple(made.source_index.tolist()) for made in kept}) > 1
    assert all(len(made.telemetry.dropped) == 13 for made in kept)
    assert len(dataset[0].augmented.source_index) == 20


def test_augmentation_and_curriculum_can_be_off_for_a_data_set(micro_folder: Path, tmp_path: Path) -> None:
    rotate = {"ops": [{"name": "rotate", "params": {"max_deg": 1}}]}
    grows = {**rotate, "curriculum": [{"until_step": 10, "ops": {"rotate": {"max_deg": 40}}}]}
    plain = two_sets(micro_folder, tmp_path, grows, augmentation=False)
    late = TrainingStep(10)
    assert dataset_ops(plain, 3, late) == ((), {})
    assert dataset_ops(plain, 0, late) == (("rotate",), {"rotate.max_deg": 40.0})
    fixed = two_sets(micro_folder, tmp_path, grows, curriculum=False)
    assert dataset_ops(fixed, 3, late) == (("rotate",), {})
    assert fixed.curriculum.phases
    assert not two_sets(micro_folder, tmp_path, rotate).curriculum.phases


def dataset_ops(dataset: DenseCaptionDataset, index: int, when: TrainingStep) -> Any:
    telemetry = dataset[SampleKey(0, index, when=when)].augmented.telemetry
    return telemetry.applied, dict(telemetry.curriculum)


def test_validation_takes_every_record_once(micro_folder: Path, tmp_path: Path) -> None:
    train = two_sets(micro_folder, tmp_path, ratio=9.0)
    dataset = DenseCaptionDataset(train.data, "val", train.planners[0].encoder.tokenizer)
    assert [key.index for key in keys_of(plan_epoch(dataset, 0))] == [0, 1, 2, 3]
    assert {dataset[i].dataset for i in range(4)} == {"walls", "floors"}


def numbered(folder: Path, name: str, count: int) -> str:
    """Write records of images with their own names, which are there under one name only."""
    one = photo(folder)
    path = folder / f"{name}.jsonl"
    path.write_text("".join(json.dumps({**one, "images": [f"{name}{k}.png"]}) + "\n" for k in range(count)))
    return str(path)


def limited_names(data: dict[str, Any], split: Split = "train", **options: Any) -> list[str]:
    dataset = DenseCaptionDataset({"check_images": False, **data}, split, None, **options)
    return [dataset.records[k].image for k in range(len(dataset))]


def test_a_limit_is_of_all_data_sets_together_and_depends_on_the_seed(tmp_path: Path) -> None:
    files = [numbered(tmp_path, name, 30) for name in ("a", "b")]
    kept = limited_names({"train": files, "limit": 20})
    assert len(kept) == 20
    assert {name[0] for name in kept} == {"a", "b"}
    assert limited_names({"train": files, "limit": 20}, seed=1) != kept
    assert limited_names({"train": files, "limit": 20, "num_workers": 2}) == kept


def test_a_data_set_of_a_mixture_has_a_limit_of_its_own(tmp_path: Path) -> None:
    a, b = (numbered(tmp_path, name, 30) for name in ("a", "b"))
    entries = [{"name": "a", "train": a, "limit": 5, "val": a}, {"name": "b", "train": b, "ratio": 2.0}]
    kept = limited_names({"mixture": entries})
    assert [name[0] for name in kept] == ["a"] * 5 + ["b"] * 30
    assert len(limited_names({"mixture": entries}, "val")) == 30
    assert len(limited_names({"mixture": entries, "limit": 12})) == 12
    data = {"mixture": entries, "check_images": False}
    dataset = DenseCaptionDataset(data, "train", None)
    assert dataset.mixture.num_targets == 5
    assert len(dataset.samples(0)) == 15


def test_validation_records_are_the_same_for_all_seeds(tmp_path: Path) -> None:
    data = {"train": numbered(tmp_path, "a", 30), "val": numbered(tmp_path, "b", 30), "limit": 3}
    kept = limited_names(data, "val", limit=7)
    assert len(kept) == 7
    assert limited_names(data, "val", limit=7, seed=1) == kept
    assert len(limited_names(data, "val")) == 30
    with pytest.raises(ConfigError, match="limit must be at least 1, not 0"):
        limited_names(data, "val", limit=0)
