"""Whole files: good records by index, all problems at once, or skipped, counted and listed."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dcap.core.errors import RecordError
from dcap.geometry.tiling import Tiling
from dcap.records.checking import ERRORS_SHOWN, ImageRules, check_records, record_ranges
from dcap.records.files.jsonl import JsonlFile
from dcap.records.preprocess import Chain, PreprocessorConfig

Make = Callable[..., dict[str, Any]]
Write = Callable[..., Path]


def test_good_records_keep_their_places(write_jsonl: Write, make_record: Make) -> None:
    first = write_jsonl([b"", make_record(images=["0.png"]), b"  ", make_record(images=["1.png"])], "a.jsonl")
    second = write_jsonl([make_record(images=["2.png"])], "b.jsonl")
    checked = check_records([first, second])
    assert len(checked) == 3
    assert [checked[k].image for k in range(3)] == ["0.png", "1.png", "2.png"]
    assert [str(checked[k].origin) for k in range(3)] == ["a.jsonl:2", "a.jsonl:4", "b.jsonl:1"]
    assert checked.file_index.dtype == np.int32
    assert checked.row_index.tolist() == [0, 1, 0]
    assert checked.summary() == "3 records"
    with pytest.raises(IndexError, match=r"a\.jsonl and 1 more file: index must be from -3 to below 3"):
        checked[3]


def test_with_a_tiling_a_record_is_there_once_for_each_of_its_tiles(write_jsonl: Write, make_record: Make) -> None:
    large = make_record(width=250, height=90, objects=[])
    first = write_jsonl([large, make_record(width=100, height=90, objects=[])], "a.jsonl")
    second = write_jsonl([large], "b.jsonl")
    checked = check_records([first, second], tiling=Tiling(100, 0.2))
    assert [checked[k].name for k in range(7)] == [
        *(f"a.jsonl:1 100x90 at ({x}, 0)" for x in (0, 75, 150)),
        "a.jsonl:2",
        *(f"b.jsonl:1 100x90 at ({x}, 0)" for x in (0, 75, 150)),
    ]
    assert checked[-1].window == checked[6].window
    assert [checked.tile_of(k) for k in range(7)] == [0, 1, 2, 0, 0, 1, 2]
    assert checked.row_index.tolist() == [0, 0, 0, 1, 0, 0, 0]
    assert checked.counts([1, 1]) == [4, 3]
    assert checked.summary() == "3 records in 7 tiles"


def test_error_gives_all_problems_in_one_message(write_jsonl: Write, make_record: Make) -> None:
    path = write_jsonl(
        [
            make_record(),
            make_record(width=0, objects=5),
            b"nonsense",
            make_record(objects=[{"desc": "a"}]),
            make_record(),
        ]
    )
    with pytest.raises(RecordError) as caught:
        check_records([path])
    assert str(caught.value) == (
        "4 problems in 3 records:\n"
        "  train.jsonl:2: width must be a whole number of pixels >= 1, not 0\n"
        "  train.jsonl:2: objects must be a list, not 5\n"
        "  train.jsonl:3: column 1: line must be JSON, and lacks a value here\n"
        "  train.jsonl:4: objects[0] must have exactly one of bbox_2d, poly, line, not none\n"
        "Correct them, or leave bad records out (data.on_bad_record: skip, --on-bad-record skip)."
    )


def test_one_problem_is_one_sentence(write_jsonl: Write, make_record: Make) -> None:
    with pytest.raises(RecordError) as caught:
        check_records([write_jsonl([make_record(), make_record(height=0)])])
    assert str(caught.value) == (
        "train.jsonl:2: height must be a whole number of pixels >= 1, not 0. "
        "Correct it, or leave bad records out (data.on_bad_record: skip, --on-bad-record skip)."
    )


def test_a_question_ends_its_sentence(write_jsonl: Write, make_record: Make) -> None:
    record = make_record()
    record["image"] = record.pop("images")
    with pytest.raises(RecordError) as caught:
        check_records([write_jsonl([record])])
    assert "did you mean images? Correct it, or leave" in str(caught.value)


def test_error_stops_at_the_first_fifty(write_jsonl: Write, make_record: Make) -> None:
    read: list[tuple[int, int]] = []
    path = write_jsonl([make_record(width=0)] * 200)
    with pytest.raises(RecordError, match="50 or more problems in 50 records") as caught:
        check_records([path], on_read=lambda done, total: read.append((done, total)))
    assert str(caught.value).count("width must be") == ERRORS_SHOWN
    assert read[-1] == (50, 200)


def test_images_are_the_same_kind_of_error(write_jsonl: Write, make_record: Make, photo: Path, tmp_path: Path) -> None:
    whole = photo.read_bytes()
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "torn.png").write_bytes(whole[:-30])
    records = [make_record(images=[name]) for name in ("a.png", "gone.png", "empty.png", "torn.png", "/etc/passwd")]
    path = write_jsonl([*records, make_record(width=65)])
    assert len(check_records([path])) == 6
    headers = check_records([path], "skip", ImageRules(root=tmp_path))
    assert [bad.origin.line for bad in headers.bad] == [2, 3, 5, 6]
    pixels = check_records([path], "skip", ImageRules(root=tmp_path, decode=True))
    assert [bad.origin.line for bad in pixels.bad] == [2, 3, 4, 5, 6]
    messages = [str(bad.problems[0]) for bad in pixels.bad]
    for message, part in zip(
        messages, ("not missing", "empty", "truncated", "inside data.root", "64 x 48, not 65 x 48"), strict=True
    ):
        assert part in message
        assert "train.jsonl" not in message
    with pytest.raises(
        RecordError, match=r"train.jsonl:2: images\[0\] .*gone.png must be a readable file, not missing"
    ):
        check_records([path], images=ImageRules())


def test_the_pixel_bound_is_checked(write_jsonl: Write, make_record: Make, photo: Path) -> None:
    assert photo.exists()
    path = write_jsonl([make_record()])
    assert len(check_records([path], images=ImageRules(max_pixels=64 * 48))) == 1
    with pytest.raises(RecordError, match="must have at most 3071 pixels, not 64 x 48 = 3072"):
        check_records([path], images=ImageRules(max_pixels=64 * 48 - 1))


def test_drops_of_preprocessors_are_counted(write_jsonl: Write, make_record: Make) -> None:
    chain = Chain.from_config([PreprocessorConfig("min_objects", {"count": 1})])
    checked = check_records([write_jsonl([make_record(objects=[]), make_record()])], chain=chain)
    assert len(checked) == 1
    assert checked[0].origin.line == 2
    assert checked.dropped == {"min_objects": 1}
    assert checked.summary() == "1 record, 1 dropped by min_objects"


def test_a_preprocessor_that_changes_its_mind_is_an_error(write_jsonl: Write, make_record: Make) -> None:
    seen: list[int] = []

    def once(record: Any) -> Any:
        seen.append(1)
        return record if len(seen) == 1 else None

    checked = check_records([write_jsonl([make_record()])], chain=Chain((("once", once),)))
    with pytest.raises(RecordError, match=r"^train\.jsonl:1: preprocessor 'once' must give the same result each time"):
        checked[0]


def test_clipped_shapes_are_counted(write_jsonl: Write, make_record: Make) -> None:
    outside = make_record(objects=[{"desc": "a", "bbox_2d": [-5, 0, 5, 5]}, {"desc": "b", "bbox_2d": [1, 0, 5, 5]}])
    checked = check_records([write_jsonl([outside, outside])])
    assert checked.clipped == 2
    assert checked.summary() == "2 records, 2 shapes clipped to the image"


def mixed(make_record: Make, number: int) -> list[dict[str, Any] | bytes]:
    def one(i: int) -> dict[str, Any]:
        box = {"desc": "a", "bbox_2d": [-5 if i % 3 else 0, 0, 5, 5]}
        return make_record(images=[f"{i}.png"], objects=[box] * (i % 4), width=0 if i % 50 == 49 else 64)

    return [one(i) for i in range(number)]


def test_several_processes_find_the_same(write_jsonl: Write, make_record: Make) -> None:
    path = write_jsonl(mixed(make_record, 1400))
    chain = Chain.from_config([PreprocessorConfig("min_objects", {"count": 1}), PreprocessorConfig("min_objects")])
    read: list[tuple[int, int]] = []
    one = check_records([path], "skip", chain=chain)
    two = check_records([path], "skip", None, chain, lambda *counts: read.append(counts), num_workers=2)
    assert read == [(i, 1400) for i in range(1, 1401)]
    assert (one.bad, one.dropped, one.clipped) == (two.bad, two.dropped, two.clipped)
    assert len(one.bad) == 28
    assert one.row_index.tolist() == two.row_index.tolist()
    with pytest.raises(RecordError) as alone:
        check_records([path])
    with pytest.raises(RecordError) as together:
        check_records([path], num_workers=2)
    assert str(together.value) == str(alone.value)


def test_several_processes_stop_at_the_first_fifty(write_jsonl: Write, make_record: Make) -> None:
    read: list[tuple[int, int]] = []
    path = write_jsonl([make_record()] * 700 + [make_record(width=0)] * 900)
    with pytest.raises(RecordError, match="50 or more problems in 50 records"):
        check_records([path], on_read=lambda *counts: read.append(counts), num_workers=2)
    assert read[-1] == (750, 1600)
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize(("num_bad", "message"), [(49, "'picky' must return a Record"), (50, "50 or more problems")])
def test_what_comes_first_is_raised(
    write_jsonl: Write, make_record: Make, num_workers: int, num_bad: int, message: str
) -> None:
    """An error of a preprocessor stops the reading, but not where the fiftieth problem did so before."""
    records = [make_record(width=0)] * num_bad + [make_record(images=["picked.png"])] + [make_record()] * 1500
    chain = Chain((("picky", _picky),))
    with pytest.raises(RecordError, match=message) as caught:
        check_records([write_jsonl(records)], chain=chain, num_workers=num_workers)
    assert caught.tb is not None
    assert multiprocessing.active_children() == []


def _picky(record: Any) -> Any:
    return 5 if record.image == "picked.png" else record


def test_each_record_is_in_one_range(write_jsonl: Write, make_record: Make) -> None:
    files = [JsonlFile(write_jsonl([make_record()] * n, f"{n}.jsonl")) for n in (5, 0, 4)]
    ranges = record_ranges(files, 2)
    assert [(part.file, row) for part in ranges for row in part.rows] == [
        (f, i) for f, n in ((0, 5), (2, 4)) for i in range(n)
    ]
    assert max(len(part.rows) for part in ranges) == 2


ROAD = {"desc": "road", "line": [10, 10, 10, -5, 30, -5, 30, 20]}
"""It enters the image twice."""


def test_the_policy_decides_about_parts_and_the_note_counts_them(write_jsonl: Write, make_record: Make) -> None:
    path = write_jsonl([make_record(objects=[ROAD]), make_record(objects=[ROAD, ROAD]), make_record()])
    largest, every = (check_records([path], split_policy=policy) for policy in ("largest", "all"))
    assert [len(largest[k].shapes) for k in range(3)] == [1, 2, 1]
    assert [len(every[k].shapes) for k in range(3)] == [2, 4, 1]
    assert every[0].captions == ("road", "road")
    assert (largest.clipped, largest.split) == (every.clipped, every.split) == (3, 3)
    assert largest.summary().endswith("3 of them split by its border, only the largest part of each is kept")
    assert every.summary().endswith("3 of them split by its border, all parts are kept")


def test_preprocessors_see_what_the_policy_leaves(write_jsonl: Write, make_record: Make) -> None:
    path = write_jsonl([make_record(objects=[ROAD])])
    chain = Chain.from_config([PreprocessorConfig("min_objects", {"count": 2})])
    assert len(check_records([path], chain=chain)) == 0
    records = check_records([path], chain=chain, split_policy="all")
    assert len(records[0].shapes) == 2


def test_bad_objects_do_not_hide_a_missing_image(write_jsonl: Write, make_record: Make) -> None:
    bad = make_record(images=["gone.png"], objects=[{"desc": "a"}])
    path = write_jsonl([bad, {**bad, "width": 0}, b"nonsense"])
    with pytest.raises(RecordError) as caught:
        check_records([path], images=ImageRules())
    assert [line.split(":", 2)[2].split(" must")[0].strip() for line in str(caught.value).splitlines()[1:-1]] == [
        "objects[0]",
        f"images[0] {path.parent / 'gone.png'}",
        "width",
        "objects[0]",
        "column 1: line",
    ]
