"""What data.yaml and lists of classes say: text stays text, numbers are places."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from dcap.convert.yolo_data import YoloData, class_number, read_classes, read_data
from dcap.core.errors import RecordError


def data(folder: Path, text: str, name: str = "data.yaml") -> YoloData:
    (folder / name).write_text(text, "utf-8")
    return read_data(folder / name, "train")


@pytest.mark.parametrize(
    "word", ["no", "yes", "Off", "010", "0x1F", "12:30", "1e3", "null", "2020-01-01", "1_000", ".5"]
)
def test_names_are_text_as_written(tmp_path: Path, word: str) -> None:
    for names in (f"[{word}, cup]", f"{{0: {word}, 1: cup}}", f"\n  - {word}\n  - cup", f"\n  '0': {word}\n  1.0: cup"):
        assert data(tmp_path, f"train: a\nnames: {names}\n").names == {0: word, 1: "cup"}


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Zl", "Zp"]), min_size=1), min_size=1))
def test_names_that_a_library_writes(tmp_path_factory: pytest.TempPathFactory, names: list[str]) -> None:
    folder = tmp_path_factory.getbasetemp()
    text = yaml.safe_dump({"train": "a", "names": dict(enumerate(names))}, allow_unicode=True)
    assert data(folder, text).names == {k: name.strip() for k, name in enumerate(names)}


def test_all_that_is_read(tmp_path: Path) -> None:
    found = data(tmp_path, "path: ../x\ntrain: [a, b.txt]\nval:\ntest: null\nkpt_shape: [17, 3]\nnc: 1\nnames: [cup]\n")
    assert found == YoloData("../x", ["a", "b.txt"], {0: "cup"}, (17, 3))
    (tmp_path / "v.yaml").write_text("valid: c\nnames: [cup]\n")
    assert read_data(tmp_path / "v.yaml", "val").entries == ["c"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("train: a\n", "names must be a list or map numbers to names, not nothing"),
        ("train: a\nnames: cup\n", 'names must be a list or map numbers to names, not "cup"'),
        ("train: a\nnames: {a: cup}\n", 'names must map numbers of classes to names, not "a"'),
        ("train: a\nnames: {0: [cup]}\n", "names must be texts, not a list of 1 for 0"),
        ("a: &a [x, x]\ntrain: a\nnames: [[*a, *a]]\n", "names must be texts, not a list of 2 for 0"),
        ("train: a\nnames: {0: cup, 0: dog}\n", "file must be YAML .*found the key 0 twice"),
        ("train: a\nnames: {0: cup, '0': dog}\n", "found the key 0 twice"),
        ("train: a\nnames: {0: cup, 0.0: dog}\n", "names must give each number once"),
        ("train: a\nnames: [cup]\nnc: 2\n", "nc must be the number of names, 1, not 2"),
        ("train: [\n", "file must be YAML"),
        ("train: a\nnames: !!python/object/apply:os.system [ls]\n", "file must be YAML"),
        ("train: a\nnames: !!timestamp 2020-01-01\n", "file must be YAML"),
        ("- 1\n", "file must hold names, train and val, not a list of 1"),
        ("", "file must hold names, train and val, not nothing"),
        ("? [a]\n: b\n", "file must be YAML"),
        ('train: "a\\0b"\nnames: [cup]\n', "images must be given by a path"),
        ("train: [[a]]\nnames: [cup]\n", "images must be given by a path, not a list of 1"),
        ("path: [a]\ntrain: a\nnames: [cup]\n", "path must be a path, not a list of 1"),
        ("train: a\nkpt_shape: 17\nnames: [cup]\n", "kpt_shape must be two whole numbers"),
        ("train: a\nkpt_shape: [17, 4]\nnames: [cup]\n", "kpt_shape must be two whole numbers"),
        ("val: a\ntest: b\nnames: [cup]\n", "train must be given; the file has val, test. Choose another --split"),
    ],
)
def test_data_that_is_none(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(RecordError, match=said) as caught:
        data(tmp_path, text)
    assert str(caught.value).startswith(f"{tmp_path / 'data.yaml'}: ")


def test_a_file_that_cannot_be_read_is_named_once(tmp_path: Path) -> None:
    path = tmp_path / "data.yaml"
    with pytest.raises(RecordError, match=r"data\.yaml: file must exist") as caught:
        read_data(path, "train")
    assert str(caught.value).count("data.yaml") == 1
    path.write_bytes(b"a: b\n\x89PNG")
    with pytest.raises(RecordError, match=r"file must be UTF-8 text, and line 2 has the byte 0x89$") as caught:
        read_data(path, "train")
    assert str(caught.value).count("data.yaml") == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("train: a\nnames: b\n", "line 1: line must be a key, = and a value"),
        ("train = a\n", "names must be the file that holds the names"),
        ("train = a\nnames = b\n", "names must be a file in .*, not 'b'"),
        ("names = b\n", "train must be given. Choose another --split"),
    ],
)
def test_obj_data_that_is_none(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(RecordError, match=said):
        data(tmp_path, text, "obj.data")


def test_a_blank_line_keeps_its_number(tmp_path: Path) -> None:
    path = tmp_path / "classes.txt"
    path.write_bytes(b"\xef\xbb\xbfcup\r\n\r\n dog \r\n\n\n")
    assert read_classes(path) == {0: "cup", 1: "", 2: "dog"}
    path.write_text("\n\n")
    with pytest.raises(RecordError, match="must hold the names of the classes, one a line, and is empty"):
        read_classes(path)


def test_classes_in_other_files(tmp_path: Path) -> None:
    (tmp_path / "data.yaml").write_text("path: .\ntrain: a\nnames:\n  0: cup\n  1: dog\n")
    assert read_classes(tmp_path / "data.yaml") == {0: "cup", 1: "dog"}
    (tmp_path / "notes.json").write_text('{"categories": []}')
    with pytest.raises(RecordError, match=r"notes\.json: file must be text with the name of a class on each line"):
        read_classes(tmp_path / "notes.json")


@pytest.mark.parametrize(
    ("word", "number"),
    [("0", 0), ("007", 7), ("3.0", 3), ("3.", 3), ("3.000000", 3), ('"3"', 3), ("'3.0'", 3), ("1.5", None),
     ("-1", None), ("1e0", None), ("", None), ("1_0", None), ("\u0661", None), ("nan", None), ("9" * 5000, None)],
)  # fmt: skip
def test_numbers_of_classes(word: str, number: int | None) -> None:
    assert class_number(word) == number
