"""Plain records against Python's own JSON: same numbers to the bit, same texts; what is not plain is refused."""

from __future__ import annotations

import json
import re
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dcap.core.errors import GeometryError
from dcap.geometry.shapes import KEYS, GeometryKind, ShapeArray, read_shape
from support.kernel_calls import assert_same_bits

MAX_SIDE = 2**31 - 1
on_the_core = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

BOX = {"desc": "cup", "bbox_2d": [1, 2, 30, 40]}
RING = {"desc": "sandwich", "poly": [0, 0, 5.5, 0, 5, 5], "poly_points": 3}
LINE = {"desc": "road", "line": [0, 0, 5, 5], "line_points": 2, "attributes": {"a": [{"b": 1}, "]"], "c": {}}}
PLAIN: dict[str, Any] = {"images": ["a.png"], "width": 64, "height": 48, "objects": [BOX, RING, LINE]}
WHOLE = json.dumps({**PLAIN, "summary": "a street", "metadata": {"source": {"name": ["coco"]}}}).encode()


def number_line(number: str) -> bytes:
    box = f'{{"desc": "a", "bbox_2d": [0, 0, {number}, 7]}}'
    return f'{{"images": ["a"], "width": {MAX_SIDE}, "height": 9, "objects": [{box}]}}'.encode()


def split(digits: int, places: int) -> str:
    text = str(digits).rjust(places + 1, "0")
    return f"{text[:-places]}.{text[-places:]}"


# Decimals as programs write them, and those just beside what the 53 bits of a double hold or halfway between two.
near_ties = st.builds(split, st.integers(2**53 - 9, 2**53 + 9) | st.integers(2**54, 10**18 - 1), st.integers(9, 18))
halves = st.builds(
    lambda whole, bits: f"{whole + (2 * bits + 1) / 2**32:.18g}", st.integers(0, 9), st.integers(0, 2**31)
)
decimals = st.one_of(st.floats(1e-4, 9999).map(repr), near_ties, halves, st.integers(0, MAX_SIDE).map(str))
odd_numbers = ["", "0", "0.0", "00", "01.5", "1.", ".5", "-0", "-1", "+1", "1e2", "1E-3", "1.5.5", "1 5", "0x1", "NaN"]
odd_numbers += ["2147483648", "9" * 18, "9" * 19, "9" * 40, "0." + "0" * 18, "0." + "0" * 18 + "1", "1." + "1" * 18]


def has_too_many_digits(number: str) -> bool:
    return len(re.sub(r"^0?\.|\.", "", number)) > 18


@given(number=decimals | st.sampled_from(odd_numbers))
@on_the_core
def test_numbers_are_rounded_as_python_does(core: ModuleType, number: str) -> None:
    found = core.read_record(number_line(number), MAX_SIDE)
    legal = re.fullmatch(r"(0|[1-9]\d*)(\.\d+)?", number) is not None
    if legal and not has_too_many_digits(number) and 0 < float(number) <= MAX_SIDE:
        assert found[0].tolist() == [[0, 0], [float(number), 7]]
    else:
        assert found is None


captions = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=9)
captions |= st.sampled_from(['a "b"', "\\", "螺丝,显示完整", "\u3000", "\x85a", "é]}", "😀"])
sides = st.integers(0, 640) | st.integers(0, 64_000).map(lambda v: v / 100)


@st.composite
def records(draw: st.DrawFn) -> dict[str, Any]:
    objects = []
    for key in draw(st.lists(st.sampled_from(list(KEYS)), max_size=4)):
        numbers = draw(st.lists(sides, min_size=4, max_size=4 if key == "bbox_2d" else 12))
        objects.append({"desc": draw(captions), key: numbers, f"{key}_points": len(numbers) // 2})
        if key == "bbox_2d" or draw(st.booleans()):
            del objects[-1][f"{key}_points"]
        if draw(st.booleans()):
            objects[-1] = dict(reversed(objects[-1].items()))
    return {"objects": objects, "images": [draw(captions)], "height": 640, "width": 640}


def is_taken(obj: dict[str, Any]) -> bool:
    """Whether the core reads a shape: a polygon must turn at its first corner by x, then y, and pass it once."""
    try:
        kind, xy = read_shape(obj)
    except GeometryError:
        return False
    if kind is not GeometryKind.POLYGON:
        return True
    ring = [(round(100 * x), round(100 * y)) for x, y in xy.tolist()]
    k = ring.index(min(ring))
    (x, y), (ax, ay), (bx, by) = ring[k], ring[k - 1], ring[(k + 1) % len(ring)]
    return ring.count((x, y)) == 1 and (ax - x) * (by - y) != (ay - y) * (bx - x)


@given(record=records(), dense=st.booleans(), ascii_only=st.booleans())
@on_the_core
def test_shapes_and_texts_are_those_of_the_record(
    core: ModuleType, record: dict[str, Any], dense: bool, ascii_only: bool
) -> None:
    line = json.dumps(record, ensure_ascii=ascii_only, separators=(",", ":") if dense else None).encode()
    found = core.read_record(line, MAX_SIDE)
    assert (found is not None) == all(map(is_taken, record["objects"]))
    if found is None:
        return
    xy, offsets, kinds, texts, values, size = found
    assert ShapeArray(xy, offsets, kinds) == ShapeArray.from_objects(record["objects"])
    assert (values.shape, size) == ((0, 4), (640, 640))
    whole, given = line.decode(), [record["images"][0], "", *(obj["desc"] for obj in record["objects"])]
    written = [whole[a:b] for a, b, _ in texts.tolist()]
    assert [json.loads(f'"{text}"') for text in written] == given
    needed = ["\\" in text or (text != "" and not text.strip()) for text in written]
    assert all(told or not look for told, look in zip(texts[:, 2].tolist(), needed, strict=True))


def test_texts_that_are_seen_to_be_good_need_no_look(core: ModuleType) -> None:
    for text, look in (("cup", 0), ("螺丝,显示完整", 0), ("螺丝", 0), ("😀", 0), (" \u3000", 1), ("\x7f", 0), ('"', 1)):
        line = json.dumps({**PLAIN, "summary": text}, ensure_ascii=False).encode()
        assert core.read_record(line, MAX_SIDE)[3][1, 2] == look


def test_values_are_told_with_their_keys(core: ModuleType) -> None:
    *_, texts, values, size = core.read_record(WHOLE, MAX_SIDE)
    whole = WHOLE.decode()
    assert size == (64, 48)
    assert [whole[a:b] for a, b, _ in texts.tolist()] == ["a.png", "a street", "cup", "sandwich", "road"]
    told = [(owner, json.loads(whole[a:b]), count) for owner, a, b, count in values.tolist()]
    assert told == [(2, LINE["attributes"], 3), (-1, {"source": {"name": ["coco"]}}, 2)]


def test_every_beginning_of_a_line_is_refused(core: ModuleType) -> None:
    assert core.read_record(WHOLE, MAX_SIDE) is not None
    for end in range(len(WHOLE)):
        assert core.read_record(WHOLE[:end], MAX_SIDE) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"images": []}, {"images": ["a", "b"]}, {"images": [""]}, {"images": "a"}, {"width": 0}, {"width": 64.0},
        {"height": 2**31}, {"height": True}, {"summary": ""}, {"metadata": []}, {"metadata": 1}, {"unknown": 1},
        {"objects": None}, {"objects": [BOX, 1]}, {"objects": [{"desc": "a"}]},
        {"objects": [{**BOX, "line": [1, 1, 2, 2]}]},
        {"objects": [{**BOX, "desc": ""}]}, {"objects": [{**BOX, "width": 3}]},
        {"objects": [{**BOX, "poly_points": 2}]},
        {"objects": [{**RING, "poly_points": 4}]}, {"objects": [{**RING, "poly_points": 3.0}]},
        {"objects": [{**LINE, "attributes": "a"}]}, {"objects": [{**BOX, "bbox_2d": [1, 2, 65, 40]}]},
        {"objects": [{**BOX, "bbox_2d": [1, 2, 64, 48.5]}]}, {"objects": [{**BOX, "bbox_2d": [-1, 2, 64, 48]}]},
        {"objects": [{**BOX, "bbox_2d": [1, 2, 3]}]}, {"objects": [{**BOX, "bbox_2d": [3, 2, 1, 4]}]},
        {"objects": [{"desc": "a", "poly": [1, 1, 2, 2, 1, 1]}]}, {"objects": [{"desc": "a", "line": [1, 1, 1, 1]}]},
    ],
    ids=str,
)  # fmt: skip
def test_what_is_not_plain_is_refused(core: ModuleType, changes: dict[str, Any]) -> None:
    assert core.read_record(json.dumps({**PLAIN, **changes}).encode(), MAX_SIDE) is None


def test_results_are_new_and_read_only(core: ModuleType) -> None:
    first, second = (core.read_record(WHOLE, MAX_SIDE) for _ in range(2))
    assert_same_bits(first[:5], second[:5])
    assert [array.dtype for array in first[:5]] == [np.float64, np.int64, np.uint8, np.int64, np.int64]
    for a, b in zip(first[:5], second[:5], strict=True):
        assert not a.flags.writeable
        assert not np.shares_memory(a, b)


def test_a_long_line_and_a_short_one_after_it(core: ModuleType) -> None:
    many = [{"desc": f"thing {i}", "line": [0, 0, 1, i + 1]} for i in range(40_000)]
    xy, offsets, *_ = core.read_record(json.dumps({**PLAIN, "height": 40_000, "objects": many}).encode(), MAX_SIDE)
    assert (len(xy), len(offsets), xy[-1].tolist()) == (80_000, 40_001, [1, 40_000])
    assert len(core.read_record(WHOLE, MAX_SIDE)[0]) == 7


def test_wrong_arguments_are_refused(core: ModuleType) -> None:
    for line in ("a", None, bytearray(WHOLE), np.frombuffer(WHOLE, np.uint8)):
        with pytest.raises(TypeError):
            core.read_record(line, MAX_SIDE)
    for side in (0, -1, 2**31):
        with pytest.raises(GeometryError, match="documents"):
            core.read_record(WHOLE, side)
