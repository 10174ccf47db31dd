from __future__ import annotations

from typing import Any

import pytest

from dcap.core.config import build
from dcap.core.errors import ConfigError
from dcap.data.config import DataConfig, dataset_name

TARGET = {"name": "a", "train": "a.jsonl"}


def data(**fields: Any) -> DataConfig:
    return build(DataConfig, fields, "data")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"mixture": [TARGET], "train": "b.jsonl"}, "data.train and val must be empty where mixture is given"),
        ({"mixture": [TARGET, {**TARGET, "train": "b"}]}, r"data.mixture\[1\].name must be given once, and 'a'"),
        ({"mixture": [{"name": "a b", "train": "b"}]}, r"data.mixture\[0\].name must be letters, .*, not 'a b'"),
        ({"mixture": [{"name": "a"}]}, r"data.mixture\[0\].train or val must name at least one file"),
        ({"mixture": [{**TARGET, "ratio": 1.0}]}, r"data.mixture\[0\].ratio must go with a target, but there is none"),
        ({"mixture": [{**TARGET, "ratio": 1, "weight": 1}]}, r"data.mixture\[0\].ratio and weight must not both"),
        ({"mixture": [{**TARGET, "weight": 0.0}]}, r"data.mixture\[0\].weight must be above 0, not 0.0"),
        ({"mixture": [{**TARGET, "loss_weight": -1}]}, r"data.mixture\[0\].loss_weight must be above 0, not -1"),
        ({"mixture": [{**TARGET, "max_objects": 0}]}, r"data.mixture\[0\].max_objects must be at least 1, not 0"),
        ({"mixture": [{**TARGET, "answer": {"prompts": {}}}]}, r"data.mixture\[0\].answer.prompts must be given as"),
        ({"mixture": [{**TARGET, "answer": {"formt": "qwen"}}]}, r"data.mixture\[0\].answer.formt is not a field of"),
        ({"mixture": [{**TARGET, "answer": {"max_pixels": 9}}]}, r"data.mixture\[0\].answer.min_pixels must be within"),
        ({"mixture": [{**TARGET, "prompts": {"dens": "x"}}]}, r"data.mixture\[0\].prompts.dens is not a field of"),
        ({"mixture": [{**TARGET, "summary_ratio": 2.0}]}, "summary_ratio must be within 0..1"),
        (
            {"mixture": [{**TARGET, "domain": "citty"}], "domains": {"city": {}}},
            r"data.mixture\[0\].domain must be one of data.domains, not 'citty'; did you mean city",
        ),
        (
            {"mixture": [{**TARGET, "domain": "city"}], "domains": {"city": {"dens": "x"}}},
            r"data.domains.city.dens is not a field of",
        ),
    ],
)
def test_a_wrong_mixture_is_named(fields: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        data(**fields)


def test_files_without_a_mixture_are_data_sets_named_after_them() -> None:
    entries = data(train=["x/towers.jsonl", "y/towers.jsonl", "z/signs.jsonl"]).entries("train")
    assert [(entry.name, entry.files("train")) for entry in entries] == [
        ("towers", ("x/towers.jsonl", "y/towers.jsonl")),
        ("signs", ("z/signs.jsonl",)),
    ]
    assert all(entry.is_target for entry in entries)


def test_a_split_has_the_data_sets_that_name_files_for_it() -> None:
    section = data(mixture=[TARGET, {"name": "b", "val": "b.jsonl"}])
    assert [entry.name for entry in section.entries("train")] == ["a"]
    assert [entry.name for entry in section.entries("val")] == ["b"]
    assert section.has("val")
    assert not data(train="a.jsonl").has("val")


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("a/towers.jsonl", "towers"),
        ("builtin:photos/train.jsonl", "train"),
        ("a/towers.jsonl.gz", "towers"),
        ("shards/train-*.tar", "train"),
        ("shards/train-{0000..0127}.tar", "train"),
        ("shards/*.parquet", "shards"),
        ("my data.v2.jsonl", "my_data.v2"),
        ("a/b/", "b"),
        ("*.jsonl", "data"),
    ],
)
def test_names_come_from_files_without_endings_and_wildcards(file: str, name: str) -> None:
    assert dataset_name(file) == name


def test_what_an_entry_does_not_give_is_that_of_the_section() -> None:
    entry = {**TARGET, "mode": "mixed", "summary_ratio": 0.0, "answer": {"max_pixels": 70_000}}
    section = data(mode="summary", answer={"format": "qwen"}, mixture=[entry, {"name": "b", "train": "b"}])
    first, second = (section.of_entry(each) for each in section.mixture)
    assert (first.mode, first.summary_ratio, first.answer.format, first.answer.max_pixels) == (
        "mixed",
        0.0,
        "qwen",
        70_000,
    )
    assert (second.mode, second.summary_ratio, second.answer) == ("summary", 0.2, section.answer)
