"""Maps of labels: new names, merged and dropped labels, and labels that the map does not name."""

from __future__ import annotations

from pathlib import Path

import pytest

from dcap.convert.label_map import LabelMap
from dcap.core.errors import RecordError


def write(folder: Path, text: str) -> Path:
    path = folder / "labels.yaml"
    path.write_text(text, "utf-8")
    return path


def test_labels_are_text_as_written(tmp_path: Path) -> None:
    labels = LabelMap.read(write(tmp_path, "car: vehicle\nno: yes\n010: '12:30'\nshadow: null\nfog: ~\nbus:\n"))
    names = ["car", "no", "010", "shadow", "fog", "bus"]
    assert [labels.new_name(name) for name in names] == ["vehicle", "yes", "12:30", None, None, None]
    assert labels.unused(labels.take_met()) == []


def test_labels_that_no_object_had_are_known(tmp_path: Path) -> None:
    labels = LabelMap.read(write(tmp_path, "car: vehicle\ntruck: vehicle\n"))
    labels.new_name("truck")
    assert labels.unused(labels.take_met()) == ["car"]
    assert labels.take_met() == ()


def test_a_label_that_is_not_in_the_map_is_an_error_unless_told(tmp_path: Path) -> None:
    path = write(tmp_path, "car: vehicle\ntruck: vehicle\n")
    with pytest.raises(
        RecordError, match=r'^label must be in the map, not "cra"; did you mean car\? Add it .* drop\.$'
    ):
        LabelMap.read(path).new_name("cra")
    with pytest.raises(RecordError, match=r'not "zebra"; known are: car, truck\. Add it to the map'):
        LabelMap.read(path).new_name("zebra")
    assert LabelMap.read(path, "keep").new_name("cra") == "cra"
    assert LabelMap.read(path, "drop").new_name("cra") is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- car\n", "file must map labels to new names"),
        ("", "file must map labels to new names"),
        ("car: [a, b]\n", r'"car" must be mapped to a text, or to null to drop it, not to a list of 2'),
        ("car: '  '\n", 'new name of "car" must '),
        ("car: a\ncar: b\n", "the key car twice"),
        ("car: {\n", "file must be YAML"),
        ("[a]: b\n", "must be "),
    ],
)
def test_broken_maps_are_named(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(RecordError, match=message) as caught:
        LabelMap.read(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_a_missing_map_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"labels\.yaml"):
        LabelMap.read(tmp_path / "labels.yaml")
