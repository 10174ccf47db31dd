"""What a line may not be, with the column where it goes wrong."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcap.core.errors import RecordError
from dcap.records.json_line import MAX_DEPTH, MAX_LINE_BYTES, Problem, decode_line


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"", "column 1: line must be JSON, and ends too early"),
        (b"[1, 2]", "column 1: line must be a JSON object, not [1, 2]"),
        (b'"text"', 'column 1: line must be a JSON object, not "text"'),
        (b"null", "column 1: line must be a JSON object, not null"),
        (b'{"a": 1', "column 8: line must be JSON, and ends too early"),
        (b'{"a": 1 2}', "column 9: line must be JSON, and lacks a comma or a closing bracket here"),
        (b'{"a" 1}', "column 6: line must be JSON, and lacks a colon behind the key here"),
        (b'{"a": "b}', "column 7: line must be JSON, and has a text here that no quote ends"),
        (b'{"a": "\\x"}', "column 8: line must be JSON, and has an unknown escape here"),
        (b'{"a": 1,}', "column 8: line must be JSON, and has a comma here with nothing behind it"),
        (b'{"a": 1} {"b": 2}', "column 10: line must be JSON, and goes on behind its end"),
        (b'{"a": tru}', "column 7: line must be JSON, and lacks a value here"),
        (b"{'a': 1}", "column 2: line must be JSON, and lacks a key in double quotes here"),
        (b'{"a": "\x01"}', "column 8: line must be JSON, and has a control character here, which must be escaped"),
        (b'{"a": "NaN", "b": NaN}', "column 19: number must be finite, not NaN"),
        (b'{"a": [1, -Infinity]}', "column 11: number must be finite, not -Infinity"),
        (b'{"a": "1e999", "b": 1e999}', "column 21: number must fit float64, not a larger one"),
        (b'{"a": 1e100, "b": 1e999}', "column 19: number must fit float64, not a larger one"),
        (b'{"a": 1, "b": ' + b"7" * 5000 + b"}", "column 15: number must fit float64, not a larger one"),
        (b'{"a": "\\ud83d\\ude00 \\\\ud800", "b": "\\udc00"}',
         "column 37: string must be Unicode text, not half of a surrogate pair"),
        (b'{"a": "\\ud800"}', "column 8: string must be Unicode text, not half of a surrogate pair"),
        ('{"a": "é", "b": "'.encode() + b'\xff"}',
         "column 18: line must be UTF-8, not byte 0xff. Save the file as UTF-8."),
        (b"[" * 100_000, "column 1: line must not be nested deeper than 64 levels"),
        (b'{"a": ' * 100_000, "column 1: line must not be nested deeper than 64 levels"),
        (b'{"a": ' + b"[" * 500 + b"]" * 500 + b"}", "column 1: line must not be nested deeper than 64 levels"),
        (b"[" * 990 + b"]" * 990, "column 1: line must not be nested deeper than 64 levels"),
        (b'{"a": 1, "b": 2, "a": 3}', 'key "a" must be given once in an object, not 2 times'),
        (b'{"o": [{"desc": 1, "\\u0064esc": 2}]}', 'key "desc" must be given once in an object, not 2 times'),
        (b'{"m": {"x" : 1, "x"\t: 1}}', 'key "x" must be given once in an object, not 2 times'),
    ],
)  # fmt: skip
def test_a_line_that_is_no_object_names_the_column(line: bytes, message: str) -> None:
    with pytest.raises(RecordError) as caught:
        decode_line(line)
    expected = message
    if "nothing behind it" in message:  # Python before 3.13 says it in other words
        assert str(caught.value).startswith("column ")
        assert "line must be JSON, and " in str(caught.value)
        return
    assert str(caught.value) == expected


def test_a_line_that_breaks_off_at_any_depth_is_refused() -> None:
    """Two decoders read a broken line, and do not give up at the same depth."""
    for depth in range(800, 1010):
        with pytest.raises(RecordError, match=r"line must be JSON|must not be nested deeper"):
            decode_line(b"[" * depth + b"x")


def test_a_line_as_long_as_a_file_is_refused_without_reading_on() -> None:
    with pytest.raises(RecordError, match=f"line must be at most {MAX_LINE_BYTES} bytes"):
        decode_line(b'{"a": "' + b"x" * MAX_LINE_BYTES + b'"}')


@pytest.mark.parametrize("text", ['say "x": 5', '":', '\\":', "{'a': ", '": ": ":'])
def test_a_caption_that_looks_like_keys_is_no_repeated_key(text: str) -> None:
    assert decode_line(json.dumps({"a": text, "b": [text, {"c": text}]}).encode())["a"] == text


finite = st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**63), finite, st.text()),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=5), inner, max_size=4)),
    max_leaves=12,
)  # fmt: skip


@given(st.dictionaries(st.text(max_size=5), values, max_size=5), st.booleans())
def test_every_object_is_decoded_as_python_s_json_does(data: dict[str, object], ascii_only: bool) -> None:
    line = json.dumps(data, ensure_ascii=ascii_only).encode()
    assert decode_line(line) == json.loads(line)


@pytest.mark.parametrize(
    "line",
    [
        b'{"objects": [], "objects": []}',
        b'{"objects": [{"a": 1, "a": 2}]}',
        b'{"objects": [{"a": {"a": 1}, "a": 2}]}',
        b'{"objects": [{"a": [1], "b": 2, "a": "["}]}',
        b'{"objects": [], "metadata": {"a": 1, "a": 1}}',
        b'{"objects": [], "metadata": {"a": {}, "b": [{"c": 1 , "c" : 1}]}}',
    ],
)
def test_a_repeated_key_is_found_at_any_depth(line: bytes) -> None:
    with pytest.raises(RecordError, match=r'key "(objects|a|c)" must be given once in an object, not 2 times'):
        decode_line(line)


@pytest.mark.parametrize(
    ("outer", "used"),
    [('{"objects": [%s]}', 2), ('{"objects": [{"a": %s}]}', 3), ('{"objects": [], "metadata": %s}', 1)],
)
@pytest.mark.parametrize(("left", "right"), [("[", "]"), ('{"a":', "}")])
def test_depth_is_bounded_in_every_place(outer: str, used: int, left: str, right: str) -> None:
    depth = MAX_DEPTH - used
    assert decode_line((outer % (left * depth + "1" + right * depth)).encode())
    with pytest.raises(RecordError, match="must not be nested deeper than 64 levels"):
        decode_line((outer % (left * (depth + 1) + "1" + right * (depth + 1))).encode())


@given(st.binary(max_size=60))
def test_any_bytes_give_an_object_or_a_record_error(line: bytes) -> None:
    with contextlib.suppress(RecordError):
        assert isinstance(decode_line(line), dict)


def test_a_message_splits_into_field_and_text() -> None:
    problem = Problem.of("column 3: line must be JSON")
    assert problem == Problem("column 3: line", "must be JSON")
    assert str(problem) == "column 3: line must be JSON"
    assert Problem.of("torn") == Problem("record", "torn")
