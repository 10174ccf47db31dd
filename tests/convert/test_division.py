"""Divisions: shares, groups that stay together, files that are never empty, and what does not change them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dcap.convert.division import Division, GroupBy, Trait
from dcap.core.errors import ConfigError
from dcap.records.look_alikes import look_of


def parts(names: list[str], by: GroupBy = "name", shares: tuple[float, ...] = (0.9, 0.1), seed: int = 0) -> list[int]:
    found: list[int] = Division(shares, by, seed).parts([Trait(name) for name in names])[0].tolist()
    return found


NAMES = [f"images/{k}.jpg" for k in range(4000)]


def test_shares_are_met_as_dice_would() -> None:
    for shares in ((0.9, 0.1), (0.7, 0.2, 0.1)):
        counts = np.bincount(parts(NAMES, shares=shares))
        spread = [4 * (len(NAMES) * share * (1 - share)) ** 0.5 for share in shares]
        assert (np.abs(counts - len(NAMES) * np.array(shares)) < spread).all()


def test_no_image_changes_its_file_when_others_are_added_or_moved() -> None:
    few = dict(zip(NAMES[:500], parts(NAMES[:500]), strict=True))
    every = dict(zip(NAMES[::-1], parts(NAMES[::-1]), strict=True))
    assert few == {name: every[name] for name in few}
    assert parts(NAMES[:500], seed=1) != list(few.values())


def test_a_smaller_val_is_part_of_a_larger_one() -> None:
    small, large = (np.array(parts(NAMES, shares=(1 - share, share))) for share in (0.05, 0.2))
    assert (large[small == 1] == 1).all()


def test_a_folder_stays_together() -> None:
    names = [f"video{k % 40}/{k}.jpg" for k in range(400)]
    found = parts(names, "folder", (0.5, 0.5))
    by_folder: dict[str, set[int]] = {}
    for name, part in zip(names, found, strict=True):
        by_folder.setdefault(name.partition("/")[0], set()).add(part)
    assert all(len(each) == 1 for each in by_folder.values())
    assert {part for each in by_folder.values() for part in each} == {0, 1}
    assert found == parts([name.replace("/", "\\") for name in names], "folder", (0.5, 0.5))


def test_look_alikes_stay_together_whatever_their_names() -> None:
    rng = np.random.default_rng(3)
    pictures = rng.integers(0, 256, (60, 16, 16, 3), dtype=np.uint8)
    traits = [
        Trait(f"{copy}{k}.png", bytes([copy, k]), look_of(np.repeat(picture, 1 + copy, axis=0)))
        for k, picture in enumerate(pictures)
        for copy in range(3)
    ]
    part, group = Division((0.5, 0.5)).parts(traits)
    assert (part.reshape(60, 3) == part.reshape(60, 3)[:, :1]).all()
    assert (group.reshape(60, 3) == np.arange(0, 180, 3)[:, None]).all()
    assert 10 < part.reshape(60, 3)[:, 0].sum() < 50


@pytest.mark.parametrize("seed", range(20))
def test_no_file_is_empty(seed: int) -> None:
    assert set(parts(["a", "b"], shares=(0.99, 0.01), seed=seed)) == {0, 1}
    assert set(parts(["a", "b", "c"], shares=(0.98, 0.01, 0.01), seed=seed)) == {0, 1, 2}


def test_too_few_groups_are_an_error_with_a_way_out() -> None:
    with pytest.raises(ConfigError, match=r"at least 2 folders, one for each file, not 1\. Give --by name"):
        parts(["a/1", "a/2"], "folder")
    with pytest.raises(ConfigError, match=r"at least 3 images, one for each file, not 2\.$"):
        parts(["a", "b"], shares=(0.5, 0.25, 0.25))


@pytest.mark.parametrize("shares", [(1.0,), (0.5, 0.4), (0.9, 0.2, -0.1), (0.25,) * 4, (1.0, 0.0)])
def test_wrong_shares_are_refused(shares: tuple[float, ...]) -> None:
    with pytest.raises(ConfigError, match=r"^--split must be 2 or 3 shares above 0 that sum to 1"):
        Division(shares)


@pytest.mark.parametrize(
    ("text", "shares"),
    [("0.9,0.1", (0.9, 0.1)), (".8,.1,.1", (0.8, 0.1, 0.1)), ("val", None), ("a/train.txt", None), ("1.2.3,1", None)],
)
def test_shares_are_told_from_names(text: str, shares: tuple[float, ...] | None) -> None:
    assert Division.parse_shares(text) == shares


@pytest.mark.parametrize(
    ("out", "files"),
    [
        ("train.jsonl", ["train.jsonl", "val.jsonl", "test.jsonl"]),
        ("coco-train.jsonl", ["coco-train.jsonl", "coco-val.jsonl", "coco-test.jsonl"]),
        ("mine.jsonl", ["mine-train.jsonl", "mine-val.jsonl", "mine-test.jsonl"]),
        ("trainset.jsonl", ["trainset-train.jsonl", "trainset-val.jsonl", "trainset-test.jsonl"]),
        ("v1.2.jsonl", ["v1.2-train.jsonl", "v1.2-val.jsonl", "v1.2-test.jsonl"]),
        ("mine", ["mine-train", "mine-val", "mine-test"]),
    ],
)
def test_files_are_named_after_the_output(out: str, files: list[str]) -> None:
    folder = Path("some.dir")
    assert Division((0.8, 0.1, 0.1)).files(folder / out) == tuple(folder / name for name in files)
    assert len(Division((0.5, 0.5)).files(folder / out)) == 2
