"""The quick ways to a record against the one that knows all rules: same records, same words for what is wrong."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dcap import kernels
from dcap.records import record as records
from dcap.records.files.opening import resolve_data
from dcap.records.json_line import MAX_DEPTH
from dcap.records.objects import COORDINATE_LIMIT
from dcap.records.plain import read_plain
from dcap.records.record import MAX_SIDE, Origin, read_or_explain
from support.kernel_calls import arrays_of, assert_same_bits

ORIGIN = Origin("train.jsonl", 3)
BOX = {"desc": "cup", "bbox_2d": [1, 2, 30, 40]}
RING = {"desc": "sandwich", "poly": [0, 0, 5.5, 0, 5, 5], "poly_points": 3}
LINE = {"desc": "road", "line": [0, 0, 5, 5], "line_points": 2, "attributes": {"a": [{"b": 1}]}}
PLAIN: dict[str, Any] = {"images": ["a.png"], "width": 64, "height": 48, "objects": [BOX, RING, LINE]}

VALUES = [None, True, 0, -1, 2, 3, 4, 64.0, 2**31, 2**70, 1e300, "", " ", "a", "a\0b", '": ', {}, {"a": {"b": [1]}}]
LISTS = [
    *([], ["a"], ["a", "b"], [""], [[1, 2], [3, 4]], [1, 2, True, 4], [1, 2, "3", 4], [1, 2, None, 4]),
    *(
        [1, 2],
        [1, 2, 3],
        [1, 2, 3, 4, 5],
        [1, 2, 3, 4, 5, 6, 7],
        [1, 1, 5, 5, 9, 9],
        [3, 2, 1, 40],
        [0, 0, 65, 40],
        [0.0, -0.0, 64, 48],
        [70, 70, 80, 80],
        [1, 1, 1, 1],
    ),
    *([1, 1, 1, 1, 5, 5, 5, 9, 1, 1], [-5, 0, 9, 9, 9, 0], [1, 1, 5, 5, 1, 1], [1, 1, 2, 2, 2, 3, 4]),
]
odd = st.sampled_from([*VALUES, *LISTS])
TOP_KEYS = [*PLAIN, "summary", "metadata", "unknown"]
KEYS = ["desc", "bbox_2d", "poly", "line", "poly_points", "line_points", "attributes", "box"]
top = st.dictionaries(st.sampled_from(TOP_KEYS), odd, max_size=1)
inner = st.dictionaries(st.sampled_from(KEYS), odd, max_size=2)
items = st.tuples(st.sampled_from([BOX, RING, LINE, {}]), inner, st.sampled_from(["", *BOX, *LINE])).map(
    lambda parts: {key: value for key, value in {**parts[0], **parts[1]}.items() if key != parts[2] or key in parts[1]}
)


WHOLE = json.dumps({**PLAIN, "summary": "a street", "metadata": {"source": {"name": ["coco"]}}}).encode()
SPLICES = [bytes([sign]) for sign in b'"\\,:[]{} \t\r\n0129.-+eE\x00\x1f\x7f\x80\xbf\xc2\xe3\xff']
SPLICES += [b"", b"null", b"007", b"3.0", b"-0", b"true", b"1e3", b'"poly": [1, 2, 3, 4, 5, 6], ']
SPLICES += [b', "line_points": 2', b', "desc": "x"', "\u3000".encode()]
edits = st.lists(st.tuples(st.integers(0, len(WHOLE)), st.integers(0, 9), st.sampled_from(SPLICES)), max_size=3)


@pytest.fixture(params=["cpp", "msgspec"], autouse=True, scope="module")
def lane(request: pytest.FixtureRequest) -> Iterator[str]:
    """Every test reads by the kernel, then without it."""
    if request.param == "cpp" and kernels.read_record is None:
        pytest.skip("installed without a compiler")
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "msgspec":
            patch.setattr(kernels, "read_record", None)
        yield request.param


def as_slow(line: bytes) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(records, "read_plain", lambda *_: None)
        return read_or_explain(line, ORIGIN)


def test_both_ways_read_the_same_after_any_one_change() -> None:
    changed = [{**PLAIN, key: value} for key in TOP_KEYS for value in (*VALUES, *LISTS)]
    bare = [{k: v for k, v in item.items() if not k.endswith("_points")} for item in (RING, LINE)]
    for item in (BOX, RING, LINE, *bare):
        changed += [{**PLAIN, "objects": [{**item, key: value}]} for key in KEYS for value in (*VALUES, *LISTS)]
        changed += [{**PLAIN, "objects": [{k: item[k] for k in item if k != left_out}]} for left_out in item]
    for data in changed:
        line = json.dumps(data).encode()
        assert read_or_explain(line, ORIGIN) == as_slow(line), line


@settings(max_examples=300)
@given(top, st.lists(items, max_size=3), st.sampled_from(["", '"width": 3, ', '"images": [], ']))
def test_both_ways_read_the_same(changes: dict[str, Any], objects: list[Any], repeated: str) -> None:
    text = json.dumps({**PLAIN, "objects": objects, **changes})
    line = ("{" + repeated + text[1:]).encode()
    assert read_or_explain(line, ORIGIN) == as_slow(line)


@settings(max_examples=400, deadline=None)
@given(edits)
def test_both_ways_read_broken_lines_alike(edits: list[tuple[int, int, bytes]]) -> None:
    line = WHOLE
    for at, cut, token in edits:
        line = line[:at] + token + line[at + cut :]
    fast, slow = read_or_explain(line, ORIGIN), as_slow(line)
    assert fast == slow
    if fast[0] is not None:
        assert_same_bits(arrays_of(fast[0].shapes), arrays_of(slow[0].shapes))


@given(st.binary(max_size=30), st.integers(0, 200), st.integers(0, 30))
def test_both_ways_refuse_broken_lines_alike(noise: bytes, at: int, cut: int) -> None:
    line = json.dumps(PLAIN).encode()
    broken = line[:at] + noise + line[at + cut :]
    assert read_or_explain(broken, ORIGIN) == as_slow(broken)


def plain(**changes: Any) -> bool:
    line = json.dumps({**PLAIN, **changes}).encode()
    found = read_plain(line, MAX_SIDE)
    record, problems = as_slow(line)
    if found is not None:
        assert problems == ()
        assert found.shapes == record.shapes
    return found is not None


def test_what_most_records_hold_is_plain(lane: str) -> None:
    assert plain()
    assert plain(objects=[])
    assert plain(objects=[BOX, LINE], summary="a street", metadata={"source": {"name": ["coco"]}})
    assert plain(objects=[BOX, LINE], summary=None, metadata=None)
    assert plain(objects=[{"desc": "closed", "poly": [0, 0, 5, 0, 5, 0, 5, 5, 0, 0]}])
    assert plain(summary='say "hello"', metadata={'a" {': '" 1}'}, images=["C:\\a.png"])
    # What looks like the end of a key must be looked at, where msgspec has read the keys.
    assert plain(summary='say "hello": twice') == (lane == "cpp")


def test_what_is_unusual_is_left_to_the_other_way(lane: str) -> None:
    assert not plain(objects=[BOX], extra=1)
    assert not plain(objects=[{**BOX, "bbox_2d": [1, 2, 65, 40]}])
    assert plain(objects=[{**BOX, "bbox_2d": [1e-5, 2, 6, 40]}]) == (lane == "msgspec")
    assert not plain(summary="\u3000")
    assert not plain(images=["a\0b"])


@pytest.mark.parametrize("value", ['{"a": 1, "a": 2}', '{"a": {"b": 1, "b": 2}}', '{"a": [}]}', '{"a": 1e999}', "[1}"])
def test_values_with_something_wrong_are_left_to_the_other_way(value: str) -> None:
    whole = json.dumps(PLAIN)
    assert read_plain(whole.encode(), MAX_SIDE) is not None
    for line in (f'{whole[:-1]}, "metadata": {value}}}', whole.replace('{"a": [{"b": 1}]}', value)):
        assert line != whole
        assert read_plain(line.encode(), MAX_SIDE) is None
        assert read_or_explain(line.encode(), ORIGIN) == as_slow(line.encode())


@pytest.mark.parametrize(
    "where", ['"metadata": {"a": @}', '"objects": [{"desc": "a", "line": [0, 0, 1, 1], "attributes": @}]']
)
def test_depth_is_counted_from_the_record(where: str) -> None:
    for depth in range(MAX_DEPTH - 8, MAX_DEPTH + 2):
        line = f'{{"images": ["a"], "width": 9, "height": 9, {where.replace("@", "[" * depth + "]" * depth)}}}'
        if "objects" not in where:
            line = line[:-1] + ', "objects": []}'
        assert read_or_explain(line.encode(), ORIGIN) == as_slow(line.encode())


@pytest.mark.parametrize(
    "text", ["\u3000", " ", "\x85 ", "\\u0000", "\\ud800", "\\n", "\\x", "\\", "a\\u00e9", "\u20ac", "\x7f"]
)
def test_texts_that_need_a_look_are_read_the_same(text: str) -> None:
    for key in ('"a.png"', '"cup"'):
        line = json.dumps(PLAIN).replace(key, f'"{text}"').encode()
        assert read_or_explain(line, ORIGIN) == as_slow(line)


@given(
    st.sampled_from([1, 2, 3]), st.sampled_from([b"\xc3", b"\xa9", b"\xed\xa0\x80", b"\xc0\xaf", b"\xf5", b"\xc3\xa9"])
)
def test_bytes_that_are_no_text_are_refused_alike(where: int, noise: bytes) -> None:
    marks = (b"a.png", b"sandwich", b'"b"')
    line = json.dumps(PLAIN).encode().replace(marks[where - 1], marks[where - 1][:2] + noise + marks[where - 1][2:])
    assert read_or_explain(line, ORIGIN) == as_slow(line)


@pytest.mark.parametrize("side", [int(COORDINATE_LIMIT), int(COORDINATE_LIMIT) + 1, MAX_SIDE])
def test_coordinates_far_out_are_refused_in_large_images_too(side: int) -> None:
    data = {**PLAIN, "width": side, "height": side, "objects": [{"desc": "wire", "line": [0, 0, side, 5]}]}
    line = json.dumps(data).encode()
    assert read_or_explain(line, ORIGIN) == as_slow(line)
    assert (read_or_explain(line, ORIGIN)[0] is None) == (side > COORDINATE_LIMIT)


def test_bundled_annotations_are_plain() -> None:
    lines = Path(resolve_data("builtin:photos/train.jsonl")).read_bytes().splitlines()
    assert lines
    assert all(read_plain(line, MAX_SIDE) is not None for line in lines)
