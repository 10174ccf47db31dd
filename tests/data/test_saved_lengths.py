"""Lengths on disk: which are believed, which are planned again, and that none of it fails a run."""

from __future__ import annotations

import logging
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dcap.answers.formats import ANSWER_FORMATS, JsonFormat
from dcap.data import saved_lengths
from dcap.data.dataset import DenseCaptionDataset
from dcap.data.encode import Encoder
from dcap.data.lengths import EpochLengths, sample_sizes
from dcap.data.packing import SampleSizes
from dcap.records.files import saved_index
from support.dataset_cases import make_dataset, photo, records

SUMMARY = "a street with some things"


@pytest.fixture(autouse=True)
def small_files_count(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(saved_index, "LEAST_BYTES", 1)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    few = photo(tmp_path, summary=SUMMARY)
    return Path(records(tmp_path, photo(tmp_path, summary="a b"), few | {"objects": few["objects"][:3]}, few))


@pytest.fixture
def planned(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Gets an entry each time that lengths are planned."""
    found: list[str] = []
    plan = EpochLengths.all

    def noting(self: EpochLengths) -> SampleSizes:
        found.append(self.name)
        return plan(self)

    monkeypatch.setattr(EpochLengths, "all", noting)
    return found


def dataset(micro_folder: Path, path: Path, augmentation: Any = None, **data: Any) -> DenseCaptionDataset:
    entry = {name: data.pop(name) for name in ("max_objects", "weight") if name in data}
    if entry:
        data = {**data, "train": (), "val": (), "mixture": [{"name": "a", "train": str(path), **entry}]}
        return make_dataset(micro_folder, augmentation or {}, **data)
    return make_dataset(micro_folder, augmentation or {}, **{"train": str(path), **data})


def place_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.dcap-lengths")


def test_fixed_lengths_are_planned_once(micro_folder: Path, path: Path, planned: list[str]) -> None:
    first = dataset(micro_folder, path)
    lengths = sample_sizes(first, 0).tokens
    assert lengths.tolist() == [len(first[(0, i)].input_ids) for i in range(3)]
    assert sample_sizes(first, 5) is sample_sizes(first, 0)
    again = sample_sizes(dataset(micro_folder, path), 3).tokens
    assert (again.tolist(), again.dtype) == (lengths.tolist(), lengths.dtype)
    assert planned == ["train epoch 0"]


def test_validation_is_fixed_whatever_training_draws(micro_folder: Path, path: Path, planned: list[str]) -> None:
    for _ in range(2):
        sample_sizes(make_dataset(micro_folder, split="val", val=str(path)), 0)
    assert planned == ["val epoch 0"]


def test_those_of_validation_depend_on_the_split_policy(micro_folder: Path, tmp_path: Path, planned: list[str]) -> None:
    """A road that enters the image twice is one object of its record, or two."""
    road = {"desc": "road", "line": [10, 10, 10, -5, 30, -5, 30, 20]}
    file = records(tmp_path, {**photo(tmp_path), "objects": [road]})
    lengths = [
        int(sample_sizes(make_dataset(micro_folder, {"split_policy": policy}, split="val", val=file), 0).tokens[0])
        for policy in ("largest", "all")
    ]
    assert lengths[0] < lengths[1]
    assert len(planned) == 2


CHANGES: list[dict[str, Any]] = [
    {"answer": {"max_pixels": 70_000}}, {"answer": {"min_pixels": 80_000, "max_pixels": 90_000}},
    {"answer": {"prefix": "{num_objects} objects: "}}, {"answer": {"format": "rows"}},
    {"answer": {"format": "qwen"}}, {"answer": {"emit_norm": "norm100"}}, {"answer": {"object_order": "record"}},
    {"answer": {"prompts": {"dense": "List them all, please, one by one."}}},
    {"answer": {"prompts": {"system": "Be brief."}}},
    {"mode": "summary"}, {"global_max_length": 860, "overlong": "drop"},
    {"global_max_length": 860, "overlong": "drop_objects"},
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_another_config_is_planned_again(
    micro_folder: Path, path: Path, change: dict[str, Any], planned: list[str]
) -> None:
    sample_sizes(dataset(micro_folder, path), 0)
    changed = dataset(micro_folder, path, **change)
    want = [changed.plan(0, i) for i in range(3)]
    assert sample_sizes(changed, 0).tokens.tolist() == [sample.length if sample.fits else 0 for sample in want]
    assert len(planned) == 2


def test_lengths_of_tiles_depend_on_how_images_are_cut(micro_folder: Path, path: Path, planned: list[str]) -> None:
    for number, change in enumerate(({"size": 64}, {"size": 70}, {"size": 70, "min_coverage": 0.9}), 1):
        for _ in range(2):
            tiled = dataset(micro_folder, path, tiles=change)
            lengths = [tiled.plan(0, i).length for i in range(len(tiled))]
            assert sample_sizes(tiled, 0).tokens.tolist() == lengths
        assert len(planned) == number


def test_other_records_tokens_or_code_are_planned_again(
    micro_folder: Path, path: Path, planned: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lengths = sample_sizes(dataset(micro_folder, path), 0).tokens
    path.write_bytes(path.read_bytes().replace(b"thing 1", b"thing one"))
    other = sample_sizes(dataset(micro_folder, path), 0).tokens
    assert other.tolist() != lengths.tolist()
    with path.open("ab") as file:
        file.write(b"\n{}")
    assert sample_sizes(dataset(micro_folder, path, on_bad_record="skip"), 0).tokens.tolist() == other.tolist()
    assert len(planned) == 3
    for target, name, value in ((saved_lengths, "__version__", "0"), (Encoder, "tokenizer_digest", lambda _: "other")):
        monkeypatch.setattr(target, name, value)
        sample_sizes(dataset(micro_folder, path, on_bad_record="skip"), 0)
    assert len(planned) == 5


def test_what_is_torn_or_not_lengths_is_made_again(micro_folder: Path, path: Path, planned: list[str]) -> None:
    fresh, place = dataset(micro_folder, path), place_of(path)
    lengths = sample_sizes(fresh, 0).tokens.tolist()
    whole = place.read_bytes()
    body = whole[:-4]
    torn = [b"", b"stale", whole[:40], whole[:-1], whole[:70] + b"\xff" + whole[71:]]
    for number, data in enumerate(torn, 2):
        place.write_bytes(data)
        assert sample_sizes(dataset(micro_folder, path), 0).tokens.tolist() == lengths
        assert len(planned) == number
        assert place.read_bytes() == whole
    for body_of_another in (body[:50], b"x" + body[1:], body[:8] + b"\2" + body[9:], body + b" " * 8):
        place.write_bytes(body_of_another + struct.pack("<I", zlib.crc32(body_of_another)))
        sample_sizes(dataset(micro_folder, path), 0)
    assert len(planned) == 1 + len(torn) + 4


def test_a_folder_that_cannot_be_written_uses_the_cache(micro_folder: Path, path: Path, planned: list[str]) -> None:
    place_of(path).mkdir()  # which no file can replace
    for _ in range(2):
        sample_sizes(dataset(micro_folder, path), 0)
    assert len(planned) == 1
    assert len(list((path.parent / "cache" / "dcap" / "lines").glob("*.dcap-lengths"))) == 1


def test_nowhere_to_write_is_no_failure(
    micro_folder: Path, path: Path, planned: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    place_of(path).mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(path))
    for _ in range(2):
        sample_sizes(dataset(micro_folder, path), 0)
    assert len(planned) == 2


@pytest.mark.parametrize(("overlong", "kept"), [("drop", True), ("drop_objects", False)])
def test_what_was_left_out_is_told_each_time(
    micro_folder: Path,
    path: Path,
    planned: list[str],
    overlong: str,
    kept: bool,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(logging.getLogger("dcap"), "propagate", True)
    for _ in range(2):
        caplog.clear()
        with caplog.at_level(logging.WARNING, "dcap"):
            sample_sizes(dataset(micro_folder, path, overlong=overlong, global_max_length=680), 0)
        (told,) = [record.message for record in caplog.records]
        assert "left out" in told
        assert "too long" in told
    assert len(planned) == (1 if kept else 2)


class Spaced(JsonFormat):
    """A layout of a plugin."""


@pytest.mark.parametrize(
    ("augmentation", "data"),
    [
        ({"ops": [{"name": "hflip", "prob": 0.5}]}, {}),
        ({}, {"mode": "mixed"}),
        ({}, {"max_objects": 3}),
        ({}, {"weight": 2.0}),
        ({}, {"preprocessors": [{"name": "min_objects"}]}),
        ({}, {"answer": {"format": "spaced"}}),
    ],
    ids=["augmented", "mixed", "capped", "taken twice", "preprocessed", "format of a plugin"],
)
def test_what_is_drawn_or_depends_on_other_code_is_not_kept(
    micro_folder: Path, path: Path, planned: list[str], augmentation: Any, data: dict[str, Any]
) -> None:
    ANSWER_FORMATS.register("spaced", Spaced("label", numbered=False))
    try:
        for _ in range(2):
            sample_sizes(dataset(micro_folder, path, augmentation, **data), 0)
    finally:
        del ANSWER_FORMATS._items["spaced"]
    assert len(planned) == 2
    assert not place_of(path).exists()


def test_those_of_small_files_are_not_kept(
    micro_folder: Path, path: Path, planned: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(saved_index, "LEAST_BYTES", path.stat().st_size + 1)
    sample_sizes(dataset(micro_folder, path), 0)
    assert planned
    assert not place_of(path).exists()
