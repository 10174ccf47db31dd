"""A long name is stated once, and places stay short and different."""

from __future__ import annotations

import json
from dataclasses import replace

from dcap.geometry.tiling import TileWindow
from dcap.records.record import Origin, Record, parse_record
from dcap.records.source_names import SourceNames

LINE = json.dumps({"images": ["a.png"], "width": 80, "height": 40, "objects": []}).encode()
SCENES = "builtin:scenes?level=single&num=4000&seed=1"


def record(file: str, line: int = 7) -> Record:
    return parse_record(LINE, Origin(file, line))


def test_one_source_is_in_the_legend_alone() -> None:
    names = SourceNames.of([record(SCENES), record(SCENES, 9)])
    assert names.place(record(SCENES, 9)) == "line 9"
    assert names.legend == f"all of {SCENES}"


def test_several_have_short_names_that_differ() -> None:
    files = [SCENES, "a/train.jsonl", "b/train.jsonl", f"{SCENES}&kinds=box", "a?b.jsonl"]
    names = SourceNames.of(map(record, files))
    short = ["builtin:scenes", "train.jsonl", "train.jsonl (2)", "builtin:scenes (2)", "a?b.jsonl"]
    assert [names.place(record(file)) for file in files] == [f"{each}:7" for each in short]
    assert names.legend == ", ".join(f"{each} is {file}" for each, file in zip(short, files, strict=True))


def test_a_tile_has_its_window() -> None:
    window = TileWindow(4, 0, 32, 16)
    assert SourceNames.of([record("a")]).place(replace(record("a"), window=window)) == f"line 7 {window}"


def test_no_record_has_no_legend() -> None:
    assert SourceNames.of([]).legend == ""
