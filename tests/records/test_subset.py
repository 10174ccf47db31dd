"""Parts of records: how many, which, and that they stay when the file changes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dcap.geometry.tiling import Tiling
from dcap.records.checking import CheckedRecords, check_records
from dcap.records.subset import limited
from support.container_cases import annotation, parquet_rows, picture, write_parquet

Make = Callable[..., dict[str, Any]]
Write = Callable[..., Path]


def images(records: CheckedRecords) -> list[str]:
    return [record.image for record in records]


def whole(records: CheckedRecords, most: int, seed: int = 0) -> CheckedRecords:
    return limited(records, [(0, len(records), most)], seed)


@pytest.fixture
def numbered(make_record: Make) -> Callable[..., list[dict[str, Any]]]:
    return lambda count: [make_record(images=[f"{k}.jpg"]) for k in range(count)]


def test_some_records_stay_in_their_order(numbered: Callable[..., Any], write_jsonl: Write) -> None:
    records = check_records([write_jsonl(numbered(40))])
    kept = whole(records, 10)
    chosen = images(kept)
    assert len(set(chosen)) == 10
    assert chosen == [name for name in images(records) if name in chosen] != images(records)[:10]
    assert kept.summary() == "10 records, 30 more beyond the limit"
    assert whole(records, 40).num_unused == 0
    assert whole(records, 1000).summary() == "40 records"
    assert images(whole(records, 10, seed=1)) != chosen


def test_each_smaller_choice_is_part_of_a_larger_one(numbered: Callable[..., Any], write_jsonl: Write) -> None:
    records = check_records([write_jsonl(numbered(40))])
    assert set(images(whole(records, 5))) < set(images(whole(records, 6)))


def test_order_and_files_do_not_matter(numbered: Callable[..., Any], write_jsonl: Write) -> None:
    lines = numbered(40)
    one = check_records([write_jsonl(lines, "one.jsonl")])
    two = check_records([write_jsonl(lines[25:], "b.jsonl"), write_jsonl(lines[24::-1], "a.jsonl")])
    assert set(images(whole(one, 12))) == set(images(whole(two, 12)))


def test_an_added_record_takes_one_place_at_most(numbered: Callable[..., Any], write_jsonl: Write) -> None:
    lines = numbered(60)
    before = set(images(whole(check_records([write_jsonl(lines[:50], "a.jsonl")]), 20)))
    after = set(images(whole(check_records([write_jsonl(lines, "b.jsonl")]), 20)))
    assert 0 < len(before - after) <= 10


def test_records_of_one_image_are_told_apart(make_record: Make, write_jsonl: Write) -> None:
    lines = [make_record(summary=f"text {k}") for k in range(10)]
    forward = whole(check_records([write_jsonl(lines, "a.jsonl")]), 4)
    backward = whole(check_records([write_jsonl(lines[::-1], "b.jsonl")]), 4)
    chosen = {record.summary for record in forward}
    assert len(chosen) == 4
    assert chosen == {record.summary for record in backward}


def test_all_tiles_of_an_image_or_none(make_record: Make, write_jsonl: Write) -> None:
    lines = [make_record(images=[f"{k}.jpg"], width=180, height=100, objects=[]) for k in range(6)]
    tiled = check_records([write_jsonl(lines)], tiling=Tiling(100, 0.1))
    kept = whole(tiled, 2)
    assert (len(tiled), len(kept), kept.num_unused) == (12, 4, 4)
    assert [kept.tile_of(k) for k in range(4)] == [0, 1, 0, 1]
    plain = whole(check_records([write_jsonl(lines, "plain.jsonl")]), 2)
    assert sorted(set(images(kept))) == sorted(images(plain))


def test_limits_of_parts_come_before_that_of_all(numbered: Callable[..., Any], write_jsonl: Write) -> None:
    records = check_records([write_jsonl(numbered(40))])
    kept = limited(records, [(0, 30, 4), (30, 40, None), (0, 40, 8)], 0)
    assert len(kept) == 8
    assert sum(int(name.split(".")[0]) < 30 for name in images(kept)) <= 4
    assert limited(records, [(0, 40, None)], 0) is records


def test_images_in_parquet_with_paths_are_chosen_as_those_of_jsonl(tmp_path: Path, write_jsonl: Write) -> None:
    names = [f"{i:04}.png" for i in range(40)]
    for name in names:
        (tmp_path / name).write_bytes(picture(0))
    jsonl = check_records([write_jsonl([annotation(i, images=[name]) for i, name in enumerate(names)])])
    parquet = check_records([write_parquet(tmp_path / "a.parquet", parquet_rows(40))])
    assert images(whole(parquet, 12)) == images(whole(jsonl, 12))


def test_images_without_names_are_chosen_whatever_their_file_and_row(tmp_path: Path) -> None:
    rows = [annotation(i, image=picture(i)) for i in range(40)]
    one = check_records([write_parquet(tmp_path / "a.parquet", rows)])
    two = check_records([write_parquet(tmp_path / f"{k}.parquet", rows[::-1][k::2]) for k in range(2)])
    chosen = {record.summary for record in whole(one, 12)}
    assert len(chosen) == 12
    assert chosen == {record.summary for record in whole(two, 12)}
    assert chosen != {record.summary for record in whole(one, 12, seed=1)}


def test_the_picture_decides_where_all_else_is_equal(tmp_path: Path) -> None:
    rows = [{"width": 12, "height": 8, "objects": [], "image": picture(i)} for i in range(20)]

    def chosen(path: Path, rows: list[dict[str, Any]]) -> set[bytes]:
        records = whole(check_records([write_parquet(path, rows)]), 6)
        return {record.embedded.open().read() for record in records if record.embedded is not None}

    assert len(chosen(tmp_path / "a.parquet", rows)) == 6
    assert chosen(tmp_path / "a.parquet", rows) == chosen(tmp_path / "b.parquet", rows[::-1])


def test_whole_numbers_are_equal_in_all_files(tmp_path: Path, make_record: Make, write_jsonl: Write) -> None:
    """A column of fractions turns 10 into 10.0."""
    objects = [{"desc": "a", "bbox_2d": [10 + k, 20, 60, 80]} for k in range(10)]
    lines = [make_record(objects=[each]) for each in objects]
    floats = json.loads(json.dumps(lines), parse_int=float)
    two = [{**line, "width": int(line["width"]), "height": int(line["height"])} for line in floats]
    kept = [whole(check_records([write_jsonl(each, name)]), 4) for each, name in ((lines, "a.jsonl"), (two, "b.jsonl"))]
    assert kept[0].row_index.tolist() == kept[1].row_index.tolist()


def test_conversations_and_images_have_the_same_chance(tmp_path: Path, make_record: Make, write_jsonl: Write) -> None:
    """Without an image, the text decides."""
    talks = [{"messages": [{"role": "user", "content": f"question {k}"}, {"role": "assistant", "content": "answer"}]}
             for k in range(40)]  # fmt: skip
    lines = [make_record(images=[f"{k}.jpg"]) for k in range(40)]
    files = [write_jsonl(talks, "talks.jsonl"), write_jsonl(lines, "images.jsonl")]
    kept = whole(check_records(files, text_files=frozenset([0])), 30)
    assert 5 < int((kept.file_index == 0).sum()) < 25
