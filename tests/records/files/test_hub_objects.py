"""Objects as Hugging Face ``datasets`` writes them: one list per key, ``bbox`` with a size, numbers of classes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from PIL import Image

from dcap.core.errors import RecordError
from dcap.records.checking import check_records
from dcap.records.files.opening import open_source
from dcap.records.record import to_dict
from support.container_cases import picture, write_parquet

SIZE = {"width": 40, "height": 30}
BOXES = [[1.0, 2.0, 10.0, 20.0], [0.5, 0.0, 39.5, 30.0]]
CORNERS = [[1, 2, 11, 22], [0.5, 0, 40, 30]]


def objects_of(tmp_path: Path, objects: Any, schema: Any = None) -> list[dict[str, Any]]:
    row = {"image": {"bytes": picture(0), "path": "0.png"}, **SIZE, "objects": objects}
    found = open_source(write_parquet(tmp_path / "a.parquet", [row], schema))[0]
    listed: list[dict[str, Any]] = to_dict(found)["objects"]
    return listed


def said(tmp_path: Path, objects: Any, schema: Any = None) -> str:
    with pytest.raises(RecordError, match=r"^a\.parquet:1: ") as error:
        objects_of(tmp_path, objects, schema)
    return str(error.value).removeprefix("a.parquet:1: ")


def with_names(objects: Any, features: Any) -> pa.Schema:
    row = {"image": {"bytes": b"", "path": ""}, **SIZE, "objects": objects}
    info = json.dumps({"info": {"features": {"objects": features}}})
    return pa.Table.from_pylist([row]).schema.with_metadata({"huggingface": info})


@pytest.mark.parametrize("layout", ["lists", "structs", "string of lists", "string of structs"])
def test_boxes_have_a_size_and_other_keys_stay(tmp_path: Path, layout: str) -> None:
    lists = {"id": [7, 8], "area": [200.0, 1185.0], "bbox": BOXES, "category": ["cup", "table"]}
    structs = [dict(zip(lists, values, strict=True)) for values in zip(*lists.values(), strict=True)]
    written: Any = lists if layout.endswith("lists") else structs
    found = objects_of(tmp_path, json.dumps(written) if layout.startswith("string") else written)
    assert found == [
        {"desc": "cup", "bbox_2d": CORNERS[0], "id": 7, "area": 200.0},
        {"desc": "table", "bbox_2d": CORNERS[1], "id": 8, "area": 1185.0},
    ]


LABELS = {"names": ["cup", "table"], "_type": "ClassLabel"}


@pytest.mark.parametrize(
    "features",
    [
        {"bbox": {}, "category": {"feature": LABELS, "_type": "Sequence"}},
        {"feature": {"bbox": {}, "category": LABELS}, "_type": "Sequence"},
        {"feature": {"category": LABELS}, "_type": "List"},
        [{"category": LABELS}],
    ],
)
def test_numbers_of_classes_become_their_names(tmp_path: Path, features: Any) -> None:
    objects = {"bbox": BOXES, "category": [1, 0]}
    found = objects_of(tmp_path, objects, with_names(objects, features))
    assert [item["desc"] for item in found] == ["table", "cup"]
    out_of_range = {"bbox": BOXES, "category": [1, 2]}
    schema = with_names(out_of_range, features)
    message = "objects[1].category must be one of the file's 2 classes, from 0, not 2"
    assert said(tmp_path, out_of_range, schema) == message


@pytest.mark.parametrize("metadata", ["", "{", "[]", '{"info": null}', '{"info": {"features": {"objects": 1}}}'])
def test_numbers_without_names_are_refused(tmp_path: Path, metadata: str) -> None:
    objects = {"bbox": BOXES, "category": [1, 0]}
    schema = with_names(objects, {}).with_metadata({"huggingface": metadata})
    message = said(tmp_path, objects, schema)
    assert message.startswith("objects[0].category must be a text, or the number of a class that the file names")


@pytest.mark.parametrize(
    "polygon",
    [[0, 0, 9, 0, 9, 9], [[0, 0, 9, 0, 9, 9]], [[0, 0], [9, 0], [9, 9]], [[[0, 0], [9, 0], [9, 9]]]],
    ids=["flat", "ring", "points", "ring of points"],
)
@pytest.mark.parametrize("key", ["segmentation", "polygon"])
def test_polygons(tmp_path: Path, polygon: Any, key: str) -> None:
    found = objects_of(tmp_path, {"bbox": [[0, 0, 9, 9]], key: [polygon], "category": ["roof"]})
    assert found == [{"desc": "roof", "poly": [0, 0, 9, 0, 9, 9], "bbox": [0, 0, 9, 9]}]


def test_each_ring_is_an_object_and_no_ring_leaves_the_box(tmp_path: Path) -> None:
    rings = [[[0, 0, 9, 0, 9, 9], [20, 20, 29, 20, 29, 29]], []]
    found = objects_of(
        tmp_path, {"bbox": [[0, 0, 29, 29], [1, 1, 2, 2]], "segmentation": rings, "category": ["a", "b"]}
    )
    shapes = [(item["desc"], item.get("poly", item.get("bbox_2d"))) for item in found]
    assert shapes == [("a", [0, 0, 9, 0, 9, 9]), ("a", [20, 20, 29, 20, 29, 29]), ("b", [1, 1, 3, 3])]


BBOX = "objects[0].bbox must be [x, y, width, height]"


@pytest.mark.parametrize(
    ("objects", "message"),
    [
        ({"bbox": BOXES, "category": ["a"]}, "objects must have as many values of each key, not 2 of bbox, 1 of cat"),
        ({"bbox": [[1.0, 2.0, 3.0]], "category": ["a"]}, f"{BBOX}, not [1.0, 2.0, 3.0]"),
        ({"bbox": [[1.0, 2.0, 0.0, 3.0]], "category": ["a"]}, f"{BBOX} with width and height above 0, not"),
        ({"bbox": [[20.0, 20.0, 40.0, 30.0]], "category": ["a"]}, f"{BBOX} inside the image, and [20.0,"),
        ({"bbox": [[90.0, 20.0, 4.0, 3.0]], "category": ["a"]}, "objects[0].bbox must be at least partly inside the"),
        ({"bbox": [[1.0, 2.0, float("nan"), 9.0]], "category": ["a"]}, f"{BBOX}, not [1.0, 2.0, NaN, 9.0]"),
        ({"boxes": BOXES, "category": ["a", "b"]}, 'objects[0] must have exactly one of bbox_2d, poly, line'),
        ({"bbox": BOXES}, "objects[0].desc must be"),
        ({"polygon": [["a"]], "category": ["a"]}, "objects[0].polygon must be rings"),
        ('{"bbox": [[1, 1, 2, 2]], "bbox": [[1, 1, 3, 3]], "category": ["a"]}', 'key "bbox" must be given once'),
        ('{"bbox": 3}', "objects.bbox must be a list with one value per object, not 3"),
    ],
)  # fmt: skip
def test_what_cannot_be_known_is_refused_by_its_place(tmp_path: Path, objects: Any, message: str) -> None:
    assert said(tmp_path, objects).startswith(message)
    assert len(check_records([tmp_path / "a.parquet"], "skip").bad) == 1


def test_what_datasets_writes(tmp_path: Path) -> None:
    """As in its guide to object detection: the picture, and lists of boxes and of class labels."""
    datasets = pytest.importorskip("datasets", reason="datasets is an oracle only")
    objects = {
        "bbox": datasets.Sequence(datasets.Sequence(datasets.Value("float32"), length=4)),
        "category": datasets.Sequence(datasets.ClassLabel(names=["cup", "table"])),
    }
    features = {"image": datasets.Image(), "width": datasets.Value("int32"), "height": datasets.Value("int64")}
    row = {"image": Image.new("RGB", (40, 30)), **SIZE, "objects": {"bbox": BOXES, "category": [1, 0]}}
    rows = [row, {**row, "objects": {"bbox": [], "category": []}}]
    made = datasets.Dataset.from_list(rows, features=datasets.Features({**features, "objects": objects}))
    made.to_parquet(tmp_path / "a.parquet")
    one, none = open_source(tmp_path / "a.parquet")
    assert to_dict(one)["objects"] == [
        {"desc": "table", "bbox_2d": CORNERS[0]},
        {"desc": "cup", "bbox_2d": CORNERS[1]},
    ]
    assert to_dict(none)["objects"] == []
