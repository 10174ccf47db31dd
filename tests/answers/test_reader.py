"""The tolerant JSON reader against Python's own on what is valid, and its recovery on what is not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcap.answers.reader import Node, Notes, Row, Scan, Unreadable
from dcap.core.errors import AnswerError

finite = st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(10**20), 10**20), finite, st.text()),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=5), inner, max_size=4)),
    max_leaves=15,
)  # fmt: skip
roots = st.one_of(st.lists(values, max_size=4), st.dictionaries(st.text(max_size=5), values, max_size=4))


def plain(value: Any) -> Any:
    if isinstance(value, Node):
        return {key: plain(item) for key, item, _ in value.members}
    return [plain(item) for item in value] if isinstance(value, list) else value


@given(roots, st.sampled_from([None, 1]), st.booleans())
def test_valid_json_is_read_as_python_reads_it(root: Any, indent: int | None, ascii_only: bool) -> None:
    text = json.dumps(root, indent=indent, ensure_ascii=ascii_only)
    assert plain(Scan(text, Notes(strict=True)).root) == json.loads(text)


@given(st.text(alphabet='{}[],:"\\ \n-0123456789.eEtruefalsn/u', max_size=25))
def test_strict_reading_accepts_only_what_python_accepts(text: str) -> None:
    try:
        root = Scan(text, Notes(strict=True)).root
    except AnswerError:
        return
    if not _has_unreadable(root):
        assert plain(root) == json.loads(text)


def _has_unreadable(value: Any) -> bool:
    if isinstance(value, Node):
        return any(_has_unreadable(item) for _, item, _ in value.members)
    return any(map(_has_unreadable, value)) if isinstance(value, list) else isinstance(value, Unreadable)


@pytest.mark.parametrize("word", ["NaN", "-Infinity", "True", "01", "+1", ".5", "1.", "1e999", "9" * 40, "0x10", "１"])
def test_words_that_are_no_values_stay_in_their_place(word: str) -> None:
    assert Scan(f"[1, {word}, 2]", Notes(strict=True)).root == [1, Unreadable(word[:32]), 2]


def test_members_keep_order_repeats_and_places() -> None:
    root = Scan('{"a": 1, "a": [2]}', Notes(strict=True)).root
    assert root.members == [("a", 1, 1), ("a", [2], 9)]


def nodes_of(scan: Scan) -> list[Node]:
    return [value for value in scan.closed if isinstance(value, Node)]


def test_nodes_come_out_when_they_close() -> None:
    scan = Scan('{"x": {"a": 1}, "y": {"b": {"c": 2}}, "z": {"d"', Notes(strict=False))
    assert [node.members[0][0] for node in nodes_of(scan)] == ["a", "c", "b"]
    assert scan.root is None


def test_reading_goes_on_at_the_bracket_that_did_not_fit() -> None:
    notes = Notes(strict=False)
    scan = Scan('{"a" {"b": 1} "c": {"d": 2}', notes)
    assert [node.members[0][0] for node in nodes_of(scan)] == ["b", "d"]
    assert notes.problems == [
        "character 5: '{' must not be here, expected colon",
        "character 19: answer must be one JSON value, found another one",
    ]


def test_rows_are_lists_that_end_with_a_text_outside_of_objects() -> None:
    text = ' [[1, "a"], [2, 3], {"x": [4, "b"]}, [["c"], "d"], ["e", 5], [6, "f'
    rows = [value for value in Scan(text, Notes(strict=False)).closed if isinstance(value, Row)]
    assert rows == [Row(2, [1, "a"]), Row(38, ["c"]), Row(37, [["c"], "d"])]


def test_the_places_of_a_part_are_those_of_the_whole() -> None:
    notes = Notes(strict=False, offset=100)
    Scan("x", notes)
    assert notes.problems == ["character 100: answer must be nothing but JSON, found 'x'"]
