"""Files that are no records: the message names what they are and what to do."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from dcap.core.errors import ConfigError, RecordError
from dcap.core.outputs import marked
from dcap.records.files.opening import expand_sources, open_source

RECORD = {"images": ["a.png"], "width": 4, "height": 4, "objects": []}
COCO = {
    "info": {"year": 2017},
    "images": [{"id": 1, "file_name": "a.png", "width": 4, "height": 4}],
    "annotations": [],
    "categories": [{"id": 1, "name": "cup"}],
}
LVIS = {"annotations": [], "images": [{"id": 1, "neg_category_ids": [1]}]}
LABELME = {"version": "5", "flags": {}, "shapes": [{"label": "cup"}], "imagePath": "a.png"}


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize(
    ("tree", "said"),
    [
        (COCO, "this looks like COCO. Convert it: dcap convert coco {} -o NEW.jsonl"),
        (LVIS, "this looks like LVIS. Convert it: dcap convert lvis {} -o NEW.jsonl"),
        (LABELME, "this looks like Labelme. Convert it: dcap convert labelme FOLDER -o NEW.jsonl"),
        (marked("evaluate", {"total": 1}), "is a report or a list that dcap wrote"),
        ({"dcap": "0.1.0", "made_with": {}}, "is a report or a list that dcap wrote"),
        ({"file": "a.jsonl", "line": 1, "errors": []}, "is a report or a list that dcap wrote"),
        ([RECORD, RECORD], "not one JSON array. Convert it: jq"),
    ],
)
def test_what_is_no_record_is_recognised(tree: object, said: str, indent: int | None, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    for text in (json.dumps(tree, indent=indent), "\ufeff\n" + json.dumps(tree, indent=indent) + "\n\n"):
        path.write_text(text)
        with pytest.raises(RecordError) as caught:
            open_source(path)
        assert str(caught.value).startswith(f"{path}: file must be ")
        assert said.format(path) in str(caught.value)


def test_a_record_over_several_lines_is_one_error(tmp_path: Path) -> None:
    for indent in (0, 1, 4):
        (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(json.dumps(RECORD, indent=indent).encode()))
        with pytest.raises(RecordError, match=r"not JSON over several lines\. Convert it: jq -c \. OLD"):
            open_source(tmp_path / "a.jsonl.gz")
    (tmp_path / "a.json").write_text("<annotation/>")
    with pytest.raises(RecordError, match="not XML"):
        open_source(tmp_path / "a.json")


@pytest.mark.parametrize(
    "line",
    [
        json.dumps({**RECORD, "metadata": {"annotations": [], "shapes": [], "report": "dcap x"}}),
        json.dumps(RECORD)[:20],
        json.dumps({**RECORD, "images": 3}),
        "[1]",
    ],
)
def test_good_and_torn_lines_are_left_to_the_check_of_records(line: str, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(f"{line}\n{json.dumps(RECORD)}\n")
    assert len(open_source(tmp_path / "a.jsonl")) == 2


@pytest.mark.parametrize(("name", "tool"), [("a.xml", "voc FOLDER"), ("a.txt", "yolo data.yaml")])
def test_endings_of_other_tools_are_known(name: str, tool: str, tmp_path: Path) -> None:
    (tmp_path / name).touch()
    with pytest.raises(RecordError, match=f"dcap convert {tool} -o NEW"):
        open_source(tmp_path / name)
    with pytest.raises(ConfigError, match=f"dcap convert {tool} -o NEW"):
        expand_sources([tmp_path])


def test_a_folder_of_voc_is_known(tmp_path: Path) -> None:
    for name in ("Annotations", "JPEGImages"):
        (tmp_path / name).mkdir()
    with pytest.raises(ConfigError, match="dcap convert voc FOLDER"):
        expand_sources([tmp_path])
