"""Every row of the record contract: what is read, and what each wrong value says."""

from __future__ import annotations

import contextlib
import copy
import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcap.augment.fit import fit_canvas
from dcap.core.errors import GeometryError, RecordError
from dcap.geometry.canvas import Canvas
from dcap.geometry.shapes import GeometryKind, ShapeArray
from dcap.records.record import (
    Origin,
    Record,
    has_fractions,
    image_path,
    parse_record,
    read_or_explain,
    to_dict,
    with_all_parts,
)

ORIGIN = Origin("/data/train.jsonl", 1841)
Make = Callable[..., dict[str, Any]]


def parse(data: Any) -> Record:
    return parse_record(json.dumps(data).encode(), ORIGIN)


def error_of(data: Any) -> str:
    with pytest.raises(RecordError) as caught:
        parse(data)
    message = str(caught.value)
    assert message.startswith("train.jsonl:1841: ")
    return message.removeprefix("train.jsonl:1841: ")


def test_the_contract_s_example_is_read() -> None:
    data = {
        "images": ["images/0001.jpg"], "width": 640, "height": 393,
        "objects": [{"desc": "sandwich", "poly": [156, 281, 168, 281, 180, 283]},
                    {"desc": "cup", "bbox_2d": [267, 194, 314, 276]},
                    {"desc": "road, paved, 2 lanes", "line": [0, 12.5, 80, 40, 210, 44]}],
        "summary": "a plate of food on a table", "metadata": {"source": "coco"},
    }  # fmt: skip
    record = parse(data)
    assert record.image == "images/0001.jpg"
    assert record.canvas == Canvas(height=393, width=640)
    assert record.captions == ("sandwich", "cup", "road, paved, 2 lanes")
    assert record.shapes == ShapeArray.from_objects(data["objects"])
    assert record.shapes.kinds.tolist() == [GeometryKind.POLYGON, GeometryKind.BOX, GeometryKind.LINE]
    assert record.attributes == (None, None, None)
    assert (record.summary, record.metadata, record.clipped) == (data["summary"], {"source": "coco"}, ())
    assert str(record.origin) == "train.jsonl:1841"


def test_a_record_without_objects_is_a_negative_sample(make_record: Make) -> None:
    record = parse(make_record(objects=[]))
    assert len(record.shapes) == 0
    assert record.captions == record.attributes == ()


@pytest.mark.parametrize("summary", [..., None])
def test_optional_fields_may_be_absent(make_record: Make, summary: Any) -> None:
    record = parse(make_record(summary=summary))
    assert record.summary is None
    assert record.metadata == {}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": ...}, "images must be given"),
        ({"images": ..., "image": "a.png"}, 'images must be given; "image" is given: did you mean images?'),
        ({"width": ..., "img_width": 64}, 'width must be given; "img_width" is given: did you mean width?'),
        ({"objects": ..., "annotations": []}, 'objects must be given; "annotations" is given: did you mean objects?'),
        ({"images": "a.png"}, 'images must be a list of one path, not "a.png"'),
        ({"images": []}, "images must be a list of one path, not []"),
        ({"images": ["a.png", "b.png"]}, 'images must be a list of one path, not ["a.png", "b.png"]'),
        ({"images": None}, "images must be a list of one path, not null"),
        ({"images": [""]}, 'images[0] must be a path, not ""'),
        ({"images": [7]}, "images[0] must be a path, not 7"),
        ({"images": ["a\0.png"]}, 'images[0] must be a path, not "a\\u0000.png"'),
        ({"width": ...}, "width must be given"),
        ({"height": ...}, "height must be given"),
        ({"width": 0}, "width must be a whole number of pixels >= 1, not 0"),
        ({"width": -64}, "width must be a whole number of pixels >= 1, not -64"),
        ({"width": "64"}, 'width must be a whole number of pixels >= 1, not "64"'),
        ({"width": 63.5}, "width must be a whole number of pixels >= 1, not 63.5"),
        ({"height": True}, "height must be a whole number of pixels >= 1, not true"),
        ({"height": None}, "height must be a whole number of pixels >= 1, not null"),
        ({"height": 10**12}, "height must be a whole number of pixels >= 1, not 1000000000000"),
        ({"objects": ...}, "objects must be given; an image without objects has an empty list"),
        ({"objects": None}, "objects must be a list, not null"),
        ({"objects": {"desc": "cup"}}, 'objects must be a list, not {"desc": "cup"}'),
        ({"summary": 5}, "summary must be a string, not 5"),
        ({"summary": " \n"}, 'summary must not be empty, not " \\n"'),
        ({"metadata": ["coco"]}, 'metadata must be an object, not ["coco"]'),
    ],
)  # fmt: skip
def test_a_wrong_field_is_named(make_record: Make, changes: dict[str, Any], message: str) -> None:
    assert error_of(make_record(**changes)) == message


def test_a_whole_number_written_as_float_is_a_size(make_record: Make) -> None:
    assert parse(make_record(width=64.0)).canvas == Canvas(height=48, width=64)


def test_all_problems_of_a_record_are_found(make_record: Make) -> None:
    objects = [{"bbox_2d": [1, 1, 5, 5]}, {"desc": "a", "poly": [1, 2]}, {"desc": "b", "bbox_2d": [5, 1, 1, 5]}, 3]
    data = make_record(images=[], width="x", objects=objects)
    record, problems = read_or_explain(json.dumps(data).encode(), ORIGIN)
    assert record is None
    assert {problem.field for problem in problems} == {
        "images", "width", "objects[0].desc", "objects[1].poly", "objects[2].bbox_2d", "objects[3]"
    }  # fmt: skip
    with pytest.raises(RecordError, match="images must be"):
        parse(data)


def test_nothing_is_lost_on_conversion() -> None:
    data = {
        "images": ["a.png"], "width": 64, "height": 48, "id": 17, "flags": {"checked": True},
        "objects": [{"desc": "cup", "bbox_2d": [1, 2, 30, 40], "attributes": {"colour": "red"}, "score": 0.5},
                    {"desc": "杯子", "line": [0, 0, 1.25, 3]}],
        "summary": "a cup", "metadata": {"source": "coco", "nested": [{"a": None}]},
    }  # fmt: skip
    record = parse(data)
    assert record.extra == {"id": 17, "flags": {"checked": True}}
    assert record.extras == ({"score": 0.5}, {})
    assert record.attributes == ({"colour": "red"}, None)
    assert to_dict(record) == data


def test_a_record_can_go_to_another_process(make_record: Make) -> None:
    record = parse(make_record(summary="a cup"))
    assert pickle.loads(pickle.dumps(record)) == record
    assert copy.deepcopy(record) == record


@pytest.mark.parametrize("field", ["captions", "attributes", "extras"])
def test_a_preprocessor_cannot_break_a_record(make_record: Make, field: str) -> None:
    with pytest.raises(RecordError, match=f"train.jsonl:1841: {field} must have one entry per shape, 1, not 2"):
        replace(parse(make_record()), **{field: ({}, {})})


numbers = st.floats(0, 40, allow_subnormal=False)
objects = st.one_of(
    st.tuples(st.floats(0, 30), st.floats(0, 20), st.floats(0.5, 30), st.floats(0.5, 20)).map(
        lambda b: {"bbox_2d": [b[0], b[1], b[0] + b[2], b[1] + b[3]]}
    ),
    st.lists(numbers, min_size=3, max_size=8, unique=True).map(lambda v: {"poly": [*v, *v[::-1]][: 2 * len(v)]}),
    st.lists(numbers, min_size=2, max_size=8, unique=True).map(lambda v: {"line": [*v, *v[::-1]][: 2 * len(v)]}),
)


@given(st.lists(st.tuples(objects, st.text(min_size=1).filter(lambda t: t.strip() and "\0" not in t)), max_size=6))
def test_conversion_reads_back(items: list[tuple[dict[str, Any], str]]) -> None:
    data = {"images": ["a"], "width": 64, "height": 48, "objects": [{"desc": d, **shape} for shape, d in items]}
    record, problems = read_or_explain(json.dumps(data).encode(), ORIGIN)
    if record is None:
        assert any("distinct points" in problem.text or "enclose an area" in problem.text for problem in problems)
        return
    again = parse_record(json.dumps(to_dict(record), ensure_ascii=False).encode(), ORIGIN)
    assert again == record


class TestImagePath:
    def record(self, folder: Path, image: str) -> Record:
        shapes = ShapeArray.empty()
        return Record(image, Canvas(1, 1), shapes, (), (), None, {}, Origin(str(folder / "train.jsonl"), 7))

    def test_relative_paths_start_at_the_jsonl(self, tmp_path: Path) -> None:
        assert image_path(self.record(tmp_path, "images/a.jpg")) == tmp_path / "images/a.jpg"

    def test_those_of_a_prediction_start_at_the_records_that_it_answers(self, tmp_path: Path) -> None:
        data, out = tmp_path / "data", tmp_path / "out"
        for folder in (data, out):
            folder.mkdir()
        (data / "a.jpg").touch()
        record = replace(self.record(out, "a.jpg"), extra={"source": {"file": str(data / "val.jsonl"), "line": 1}})
        assert image_path(record) == data / "a.jpg"
        with pytest.raises(RecordError, match="must stay inside"):
            image_path(record, out)
        (out / "a.jpg").touch()
        assert image_path(record) == out / "a.jpg", "an image beside the file itself comes first"
        other = replace(record, image="b.jpg", extra={"source": "coco"})
        assert image_path(other) == out / "b.jpg"
        for extra in ({"source": {"file": "a\0b/c.jsonl"}}, {"source": {"file": 5}}):
            assert image_path(replace(other, extra=extra), out) == out / "b.jpg"

    def test_absolute_paths_stay(self, tmp_path: Path) -> None:
        assert image_path(self.record(tmp_path, "/x/a.jpg")) == Path("/x/a.jpg")

    def test_inside_the_root(self, tmp_path: Path) -> None:
        record = self.record(tmp_path / "a", "../b/x.jpg")
        assert image_path(record, tmp_path) == tmp_path.resolve() / "b/x.jpg"

    @pytest.mark.parametrize("image", ["../../x.jpg", "/etc/passwd", "sub/../../../x.jpg"])
    def test_out_of_the_root_is_refused(self, tmp_path: Path, image: str) -> None:
        with pytest.raises(RecordError, match=r"train.jsonl:7: images\[0\] must stay inside data.root"):
            image_path(self.record(tmp_path / "a", image), tmp_path)

    def test_a_sibling_with_the_root_s_name_in_front_is_outside(self, tmp_path: Path) -> None:
        with pytest.raises(RecordError, match="must stay inside"):
            image_path(self.record(tmp_path / "root", "../root2/x.jpg"), tmp_path / "root")

    def test_a_symlink_out_of_the_root_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "root").mkdir()
        (tmp_path / "secret.jpg").write_bytes(b"x")
        (tmp_path / "root" / "link.jpg").symlink_to(tmp_path / "secret.jpg")
        with pytest.raises(RecordError, match="must stay inside"):
            image_path(self.record(tmp_path / "root", "link.jpg"), tmp_path / "root")

    def test_a_symlink_inside_the_root_is_followed(self, tmp_path: Path) -> None:
        (tmp_path / "real.jpg").write_bytes(b"x")
        (tmp_path / "link.jpg").symlink_to(tmp_path / "real.jpg")
        assert image_path(self.record(tmp_path, "link.jpg"), tmp_path) == (tmp_path / "real.jpg").resolve()

    def test_a_loop_of_symlinks_is_an_error(self, tmp_path: Path) -> None:
        (tmp_path / "a.jpg").symlink_to(tmp_path / "b.jpg")
        (tmp_path / "b.jpg").symlink_to(tmp_path / "a.jpg")
        with pytest.raises(RecordError, match=r"train.jsonl:7: images\[0\] must be a path that resolves"):
            image_path(self.record(tmp_path, "a.jpg"), tmp_path)


def test_all_parts_of_a_split_object_become_objects(make_record: Make) -> None:
    objects = [
        {"desc": "cup", "bbox_2d": [1, 2, 30, 40], "score": 1},
        {"desc": "road", "line": [10, 10, 10, -5, 30, -5, 30, 20], "attributes": {"lanes": 2}},
    ]
    record = parse(make_record(objects=objects))
    assert record.captions == ("cup", "road")
    whole = with_all_parts(record)
    assert whole.captions == ("cup", "road", "road")
    assert whole.attributes == (None, {"lanes": 2}, {"lanes": 2})
    assert whole.extras == ({"score": 1}, {}, {})
    assert [points.tolist() for _, points in whole.shapes][1:] == [[[30, 0], [30, 20]], [[10, 10], [10, 0]]]
    assert whole.other_parts == ()
    assert with_all_parts(whole) is whole


@pytest.mark.parametrize(("width", "height", "fits"), [(200, 1, True), (201, 1, False), (2, 401, False)])
@pytest.mark.parametrize("objects", [[], [{"desc": "a", "bbox_2d": [0, 0, 1, 9], "note": 1}]])
def test_what_planning_refuses_is_no_record(
    make_record: Make, width: int, height: int, fits: bool, objects: list[dict[str, Any]]
) -> None:
    line = json.dumps(make_record(width=width, height=height, objects=objects)).encode()
    record, problems = read_or_explain(line, Origin("a.jsonl", 1))
    assert (record is not None) == fits
    with contextlib.nullcontext() if fits else pytest.raises(GeometryError) as planned:
        fit_canvas(Canvas(height=height, width=width), 1024, 4096)
    if not fits:
        assert [str(problem) for problem in problems] == [str(planned.value)]
        assert str(planned.value).startswith("width, height must have an aspect ratio of at most 200, not")


@pytest.mark.parametrize(
    ("box", "size", "looks"),
    [
        ([0, 0, 1, 1], 640, True),
        ([0.2, 0.1, 0.9, 0.8], 640, True),
        ([0, 0, 1, 1.5], 640, False),
        ([0, 0, 1, 1], 1, False),
    ],
)
def test_coordinates_that_look_like_fractions(make_record: Make, box: list[float], size: int, looks: bool) -> None:
    assert has_fractions(parse(make_record(width=size, height=size, objects=[{"desc": "a", "bbox_2d": box}]))) == looks
    assert not has_fractions(parse(make_record(objects=[])))
