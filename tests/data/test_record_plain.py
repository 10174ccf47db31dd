"""The quick way to a record against the one that knows all rules: same records, same words for what is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dcap.data import records
from dcap.data.record_plain import read_plain
from dcap.data.records import MAX_SIDE, Origin, read_or_explain

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


def test_what_most_records_hold_is_plain() -> None:
    assert plain(objects=[])
    assert plain(objects=[BOX])
    assert plain(objects=[BOX, LINE], summary="a street", metadata={"source": {"name": ["coco"]}})
    assert plain(objects=[BOX, LINE], summary=None, metadata=None)
    assert plain(objects=[{"desc": "closed", "poly": [0, 0, 5, 0, 5, 0, 5, 5, 0, 0]}])


def test_what_is_unusual_is_left_to_the_other_way() -> None:
    assert plain()
    assert not plain(summary='say "hello": twice')
    assert not plain(objects=[BOX], extra=1)
    assert not plain(objects=[{**BOX, "bbox_2d": [1, 2, 65, 40]}])


def test_real_annotations_are_plain(real45: Path) -> None:
    lines = [line for path in sorted(real45.glob("*.jsonl")) for line in path.read_bytes().splitlines()]
    results = [read_plain(line, MAX_SIDE) for line in lines]
    assert sum(result is not None for result in results) > 0.9 * len(lines)
    for line in lines:
        assert read_or_explain(line, ORIGIN) == as_slow(line)
