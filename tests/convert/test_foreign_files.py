"""JSON files of other tools: what is accepted, and errors that say what was found, where, and a way out."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from dcap.convert.foreign_files import decoded, files_below, load_object, number_of, read_bytes
from dcap.core.errors import RecordError

NINES = "9" * 5000


def written(folder: Path, data: str | bytes, name: str = "in.json") -> Path:
    (folder / name).write_bytes(data.encode() if isinstance(data, str) else data)
    return folder / name


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"PK\x03\x04zip", "must be JSON, not a zip archive. Unpack it"),
        (b"\x1f\x8b\x08", "must be JSON, not a gzip file. Unpack it"),
        ('{"images": [1], "images": [22]}', 'key "images" must be given once in an object, not 2 times'),
        ('{"a": 1, "b": 2, "a": 1}', 'key "a" must be given once'),
        ('{"b": 2, "a": {"\\"": 1}, "b": 2}', 'key "b" must be given once'),
        ('{"a": NaN, "b": {"c": 1, "c": 2}}', 'key "c" must be given once'),
        (f'{{"a": NaN, "b": {NINES}}}', "number must fit float64, not 99999999999999999999... of 5000 digits"),
        ('{"a": 1}\n{"a": 2}\n', "one JSON object, not one in each line. dcap convert jsonl"),
        ('{"a": 1}\n\n]', "one JSON object, not one in each line"),
        ('{"a": 1,\n "b" 2}', "line 2 column 6: file must be JSON, and lacks a colon"),
        ('{"a":\n "\xe9": 2}'.encode("latin-1"), "line 2 column 3: file must be UTF-8, not byte 0xe9.*iconv"),
        ("[1, 2]", "must hold a JSON object, not a list of 2"),
        ("[" * 100_000, "must not be nested deeper"),
    ],
)
def test_files_that_are_no_object(tmp_path: Path, data: str | bytes, said: str) -> None:
    source = written(tmp_path, data)
    with pytest.raises(RecordError, match=said) as caught:
        load_object(source)
    assert str(caught.value).startswith(f"{source}: ")


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        ' {\n"a" : [1, {"b": "}"}] ,\n "c\\u00e9\\"": "x, \\"a\\": 1" }\n',
        '\ufeff{"a": 1}',
        '{"a": NaN, "b": -Infinity}',
    ],
)
def test_files_that_are_one(tmp_path: Path, text: str) -> None:
    assert {key: str(decoded(value)) for key, value in load_object(written(tmp_path, text)).items()}.keys() <= {
        "a",
        "b",
        'cé"',
    }


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b'{"a": 1, "b": {"a": 1, "a": 2}}', 'key "a" must be given once in an object, not 2 times'),
        (f"[{NINES}]".encode(), "number must fit float64"),
        (b"[1e999]", "number must fit float64"),
        (b'["\xe9"]', "value must be UTF-8, not byte 0xe9.*iconv -f latin1"),
        (b"[" * 70 + b"]" * 70, "value must not be nested deeper than 64 levels"),
        (b"[" * 5000 + b"]" * 5000, "value must not be nested deeper than 64 levels"),
        (b'["\\ud800"]', "half of a surrogate pair"),
    ],
)
def test_damage_inside_is_found_when_it_is_read(data: bytes, said: str) -> None:
    with pytest.raises(RecordError, match=said):
        decoded(msgspec.Raw(data))


def test_a_text_that_looks_like_a_key_is_no_repeated_key() -> None:
    assert decoded(msgspec.Raw(b'{"a": "\\"b\\" : \\"b\\":"}')) == {"a": '"b" : "b":'}


def test_folders_and_missing_files_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"file must be a regular file, not a folder\. Name a file in it"):
        read_bytes(tmp_path)
    with pytest.raises(RecordError, match="file must exist"):
        read_bytes(tmp_path / "none.json")
    with pytest.raises(RecordError, match="not one that cannot be opened"):
        read_bytes(tmp_path / ("x" * 300))


def test_files_below_a_folder(tmp_path: Path) -> None:
    for name in ("b.XML", "._a.xml", "c/a.xml", "c/._b.xml", "d.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        written(tmp_path, "", name)
    assert [path.relative_to(tmp_path).as_posix() for path in files_below(tmp_path, ".xml")] == ["b.XML", "c/a.xml"]


@pytest.mark.parametrize("text", ["1_000", "nan", "inf", "0x10", "", "1e", "\uff11", "1 0", "--1", "."])
def test_texts_that_are_no_numbers(text: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        number_of(text)


@pytest.mark.parametrize(("text", "value"), [("007", 7), ("-1.5", -1.5), ("1e3", 1000), (".5", 0.5), ("5.", 5)])
def test_texts_that_are_numbers(text: str, value: float) -> None:
    assert number_of(text) == value
