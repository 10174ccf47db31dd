"""Records to COCO and back, with pycocotools as the reader that must agree."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO

from dcap.convert.coco_writer import CocoOptions, to_coco
from dcap.convert.conversion_report import ConversionReport
from dcap.core.errors import ConfigError, RecordError
from dcap.geometry.shapes import ShapeArray, rings_without_area
from dcap.records.files.jsonl import JsonlFile
from dcap.records.record import Record
from support.convert_cases import image, instances, read, write_json

WIDTH, HEIGHT = 40, 30

numbers = st.one_of(st.integers(0, 30), st.floats(0, 30, allow_nan=False))
words = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=6).filter(str.strip)
texts = st.one_of(st.sampled_from(["cup", "dog"]), words)
json_data = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | words,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(words, inner, max_size=2),
    max_leaves=4,
)
attributes = st.one_of(
    json_data,
    st.fixed_dictionaries(
        {"supercategory": st.sampled_from(["a", "b"])}, optional={"iscrowd": st.just(1), "x": json_data}
    ),
)


@st.composite
def objects(draw: st.DrawFn) -> dict[str, Any]:
    item: dict[str, Any] = {"desc": draw(texts)}
    kind = draw(st.sampled_from(["bbox_2d", "poly", "line"]))
    if kind == "bbox_2d":
        x, y = draw(numbers), draw(st.floats(0, 20))
        item[kind] = [x, y, x + draw(st.sampled_from([0.1, 3, 9.99])), y + draw(st.sampled_from([1e-3, 7]))]
    else:
        points = draw(st.lists(st.tuples(numbers, numbers), min_size=3, max_size=6, unique=True))
        item[kind] = [value for point in points for value in point]
        shape = ShapeArray.from_objects([{kind: item[kind]}])
        assume(not rings_without_area(shape.xy, shape.offsets, shape.kinds).any())
    if draw(st.booleans()):
        item["attributes"] = draw(attributes)
    if draw(st.booleans()):
        item["my_key"] = draw(json_data)
    return item


@st.composite
def record_dicts(draw: st.DrawFn) -> dict[str, Any]:
    data = {"images": ["a.png"], "width": WIDTH, "height": HEIGHT, "objects": draw(st.lists(objects(), max_size=4))}
    if draw(st.booleans()):
        data["summary"] = draw(words)
    if draw(st.booleans()):
        data["metadata"] = draw(st.dictionaries(st.sampled_from(["source", "n", "iscrowd"]), json_data, min_size=1))
    if draw(st.booleans()):
        data["my_key"] = draw(json_data)
    return data


def write_jsonl(path: Path, records: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), "utf-8")
    return path


def content(record: Record) -> tuple[Any, ...]:
    """All of a record but the ids that COCO gave it."""
    metadata = {key: value for key, value in record.metadata.items() if key not in ("image_id", "annotation_ids")}
    extras = record.extras or ({},) * len(record.shapes)
    plain = [item or None for item in record.attributes]
    return (record.image, record.canvas, record.captions, plain, extras, record.summary, metadata, record.extra)


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(record_dicts(), min_size=1, max_size=3))
def test_records_come_back_as_they_were(records: list[dict[str, Any]]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        image(folder / "a.png", WIDTH, HEIGHT)
        source = write_jsonl(folder / "in.jsonl", records)
        report = ConversionReport()
        assert to_coco(source, folder / "coco.json", report) == len(records)
        assert report.total == 0
        back, report = read("coco", folder / "coco.json", crowd="keep")
        before = list(JsonlFile(source))
    assert report.total == 0
    assert [record.shapes for record in back] == [record.shapes for record in before]
    assert list(map(content, back)) == list(map(content, before))


def polygons(rng: np.random.Generator) -> list[dict[str, Any]]:
    found = []
    for k in range(6):
        angles = np.sort(rng.uniform(0, 2 * np.pi, 8))
        ring = np.stack([np.cos(angles), np.sin(angles)], axis=1) * rng.uniform(4, 12, (8, 1)) + [20, 15]
        found.append({"desc": f"thing {k % 2}", "poly": ring.round(2).ravel().tolist()})
    return found


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools and NumPy 2
def test_pycocotools_agrees(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shapes = [
        *polygons(np.random.default_rng(0)),
        {"desc": "box", "bbox_2d": [3, 4, 9, 20]},
        {"desc": "wire", "line": [1, 1, 9, 9]},
    ]
    record = {"images": ["a.png"], "width": WIDTH, "height": HEIGHT, "objects": shapes}
    to_coco(write_jsonl(tmp_path / "in.jsonl", [record]), tmp_path / "coco.json", ConversionReport())
    coco = COCO(tmp_path / "coco.json")
    capsys.readouterr()
    assert [c["name"] for c in coco.loadCats(coco.getCatIds())] == ["box", "thing 0", "thing 1", "wire"]
    annotations = coco.loadAnns(coco.getAnnIds())
    assert len(annotations) == 7  # the line stands apart
    y, x = np.indices((HEIGHT, WIDTH)) + 0.5
    for annotation, shape in zip(annotations, shapes, strict=False):
        mask = coco.annToMask(annotation)
        points = np.reshape(annotation["segmentation"][0], (-1, 2))
        inside = np.zeros((HEIGHT, WIDTH), bool)
        for (x1, y1), (x2, y2) in zip(points, np.roll(points, -1, axis=0), strict=True):
            with np.errstate(divide="ignore", invalid="ignore"):
                crosses = (np.minimum(y1, y2) <= y) & (y < np.maximum(y1, y2))
                inside ^= crosses & (x < x1 + (y - y1) * (x2 - x1) / (y2 - y1))
        # Its raster rounds to fifths of a pixel: borders may differ, a shift by half a pixel would show.
        assert (mask.astype(bool) & inside).sum() / (mask.astype(bool) | inside).sum() > 0.9
        assert abs(annotation["area"] - mask.sum()) < 0.1 * mask.sum()
        if "bbox_2d" in shape:
            assert np.array_equal(mask.astype(bool), inside)
            assert annotation["bbox"] == [3, 4, 6, 16]
            assert annotation["area"] == 96


def test_parts_that_the_border_of_the_image_splits_off_are_a_loss(tmp_path: Path) -> None:
    road = {"desc": "road", "line": [5, 5, 5, -5, 10, -5, 10, 20]}
    record = {"images": ["a.png"], "width": WIDTH, "height": HEIGHT, "objects": [road]}
    report = ConversionReport()
    to_coco(write_jsonl(tmp_path / "in.jsonl", [record]), tmp_path / "coco.json", report)
    assert [(found.action, found.reason, found.examples[0].get("detail")) for found in report.found] == [
        ("dropped", "shape that the border of its image splits: only the largest part is kept", "1 of 2 parts is kept"),
        ("changed", "shape partly outside the image: cut at its border", None),
    ]


def test_coco_comes_back_with_its_ids(tmp_path: Path) -> None:
    square, wide = [1.0, 1, 3, 1, 3, 3, 1, 3], [4.0, 1, 8, 1, 8, 4, 4, 4]
    source = instances(
        tmp_path, {"segmentation": [square, wide]}, {"bbox": [1, 1, 2, 3], "category_id": 7, "score": 0.25}
    )
    records, _ = read("coco", source, parts="all")
    from dcap.convert.record_files import record_line
    from dcap.records.record import to_dict

    (tmp_path / "out.jsonl").write_bytes(b"\n".join(record_line(to_dict(record)) for record in records))
    to_coco(tmp_path / "out.jsonl", tmp_path / "back.json", ConversionReport(), CocoOptions(categories=source))
    before, after = json.loads(source.read_text()), json.loads((tmp_path / "back.json").read_text())
    assert after["categories"] == before["categories"]
    assert after["images"] == before["images"]
    first, second = after["annotations"]
    assert (first["id"], first["image_id"], first["category_id"]) == (10, 3, 1)
    assert first["segmentation"] == [square, wide]
    assert (first["area"], first["bbox"]) == (16, [1, 1, 7, 3])
    assert (second["id"], second["category_id"], second["attributes"]) == (11, 7, {"score": 0.25})


def test_ids_do_not_depend_on_the_run_and_follow_the_alphabet(tmp_path: Path) -> None:
    objects = [{"desc": desc, "bbox_2d": [1, 1, 2, 2]} for desc in ("zebra", "ape", "zebra")]
    record = {"images": ["a.png"], "width": 8, "height": 6, "objects": objects}
    source = write_jsonl(tmp_path / "in.jsonl", [record, record])
    for name in ("one.json", "two.json"):
        to_coco(source, tmp_path / name, ConversionReport())
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "two.json").read_bytes()
    data = json.loads((tmp_path / "one.json").read_text())
    assert [(c["id"], c["name"]) for c in data["categories"]] == [(1, "ape"), (2, "zebra")]
    assert [a["id"] for a in data["annotations"]] == [1, 2, 3, 4, 5, 6]
    assert [i["id"] for i in data["images"]] == [1, 2]


def test_images_are_named_from_the_given_folder(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    record = {"images": ["../pictures/a.png"], "width": 8, "height": 6, "objects": []}
    source = write_jsonl(tmp_path / "sub" / "in.jsonl", [record])
    with pytest.raises(RecordError, match=r"line 1: images\[0\] must lie in .*Give --images a folder above it"):
        to_coco(source, tmp_path / "coco.json", ConversionReport())
    assert not (tmp_path / "coco.json").exists()
    to_coco(source, tmp_path / "coco.json", ConversionReport(), CocoOptions(images=tmp_path))
    assert json.loads((tmp_path / "coco.json").read_text())["images"][0]["file_name"] == "pictures/a.png"


def test_broken_records_and_strictness(tmp_path: Path) -> None:
    good = {"images": ["a.png"], "width": 8, "height": 6, "objects": [{"desc": "cup", "bbox_2d": [5, 1, 12, 3]}]}
    source = write_jsonl(tmp_path / "in.jsonl", [good, {"images": []}])
    with pytest.raises(RecordError, match="line 2: images must be a list of one path"):
        to_coco(source, tmp_path / "coco.json", ConversionReport())
    report = ConversionReport("skip")
    assert to_coco(source, tmp_path / "coco.json", report) == 1
    assert (report.skipped, report.total) == (1, 2)
    with pytest.raises(ConfigError, match="--overwrite"):
        to_coco(source, tmp_path / "coco.json", ConversionReport("skip"))
    strict = CocoOptions(strict=True)
    assert to_coco(write_jsonl(tmp_path / "one.jsonl", [good]), tmp_path / "x.json", ConversionReport(), strict) is None
    assert not (tmp_path / "x.json").exists()


def test_a_table_that_is_no_coco_file(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "in.jsonl", [])
    table = write_json(tmp_path / "table.json", {"categories": 3})
    with pytest.raises(RecordError, match=r"table\.json: images must be given"):
        to_coco(source, tmp_path / "coco.json", ConversionReport(), CocoOptions(categories=table))


@pytest.mark.parametrize("descs", [("cup", "cup"), ("cup", "dog")])
def test_objects_that_share_an_id_are_all_written(tmp_path: Path, descs: tuple[str, str]) -> None:
    boxes = [{"desc": desc, "bbox_2d": [1 + k, 1, 4 + k, 4]} for k, desc in enumerate(descs)]
    record = {"images": ["a.png"], "width": 8, "height": 6, "metadata": {"annotation_ids": [5, 5]}, "objects": boxes}
    write_json(tmp_path / "in.jsonl", record)
    assert to_coco(tmp_path / "in.jsonl", tmp_path / "out.json", ConversionReport()) == 1
    written = json.loads((tmp_path / "out.json").read_text())["annotations"]
    assert [each["bbox"] for each in written] == [[1, 1, 3, 3], [2, 1, 3, 3]]
    assert len({each["id"] for each in written}) == 2
