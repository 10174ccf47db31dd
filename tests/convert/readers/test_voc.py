"""Pascal VOC: pixels from 1, attributes, and XML that must not be parsed."""

from __future__ import annotations

from pathlib import Path

import pytest

from dcap.core.errors import RecordError
from support.convert_cases import counts, image, read

SIZE = "<size><width>8</width><height>6</height><depth>3</depth></size>"
BOX = "<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>8</xmax><ymax>5</ymax></bndbox>"
OBJECT = f"<object><name>cup</name>{BOX}</object>"


def voc(folder: Path, inside: str = SIZE + OBJECT, name: str = "a.png", head: str = "") -> Path:
    image(folder / "JPEGImages" / "a.png")
    (folder / "Annotations").mkdir(exist_ok=True)
    text = f"{head}<annotation><filename>{name}</filename>{inside}</annotation>"
    (folder / "Annotations" / "a.xml").write_text(text)
    return folder


@pytest.mark.parametrize(("coordinates", "box"), [("pixels", [0, 1, 8, 5]), ("edges", [1, 2, 8, 5])])
def test_the_frame_of_boxes(tmp_path: Path, coordinates: str, box: list[float]) -> None:
    (record,), report = read("voc", voc(tmp_path), coordinates=coordinates)
    assert record.shapes.to_objects() == [{"bbox_2d": box}]
    assert record.captions == ("cup",)
    assert record.image == "JPEGImages/a.png"
    assert report.total == 0


def test_what_is_known_of_an_object_and_of_the_image(tmp_path: Path) -> None:
    part = f"<part><name>handle</name>{BOX}</part>"
    inside = f"<object><name>cup</name><pose>Left</pose><difficult>1</difficult>{part}{BOX}</object>"
    (record,), report = read("voc", voc(tmp_path, SIZE + inside + "<source><database>own</database></source>"))
    assert record.attributes == ({"pose": "Left", "difficult": 1},)
    assert record.metadata == {"source": {"database": "own"}}
    assert counts(report) == {"part of an object": 1}
    assert report.found[0].examples[0]["detail"] == "handle"


def test_tags_that_repeat_are_all_kept(tmp_path: Path) -> None:
    tags = "<attribute><name>color</name></attribute><attribute><name>age</name></attribute>"
    note = "<note>first</note><note>second</note><source><image>a</image><image>b</image></source>"
    (record,), _ = read("voc", voc(tmp_path, f"{SIZE}{note}<object><name>cup</name>{tags}{BOX}</object>"))
    assert record.attributes == ({"attribute": [{"name": "color"}, {"name": "age"}]},)
    assert record.metadata == {"note": ["first", "second"], "source": {"image": ["a", "b"]}}


def test_polygons_go_through_pixel_centres(tmp_path: Path) -> None:
    polygon = "<polygon><x1>1</x1><y1>1</y1><x2>4</x2><y2>1</y2><x3>4</x3><y3>4</y3></polygon>"
    (record,), _ = read("voc", voc(tmp_path, f"<object><name>cup</name>{polygon}</object>"))
    assert record.shapes.to_objects() == [{"poly": [0.5, 0.5, 3.5, 0.5, 3.5, 3.5]}]


def test_a_split_and_a_name_without_its_ending(tmp_path: Path) -> None:
    voc(tmp_path, name="a")
    (tmp_path / "Annotations" / "b.xml").write_text("<broken>")
    (tmp_path / "train.txt").write_text("a  1\n\n")
    records, _ = read("voc", tmp_path, split=tmp_path / "train.txt")
    assert [record.image for record in records] == ["JPEGImages/a.png"]
    assert len(read("voc", tmp_path, split=Path("train.txt"))[0]) == 1
    (tmp_path / "train.txt").write_text("c\n")
    with pytest.raises(RecordError, match=r"there is no c\.xml"):
        read("voc", tmp_path, split=tmp_path / "train.txt")


@pytest.mark.parametrize(
    ("inside", "said"),
    [
        ("<object><name>cup</name></object>", "object 1: bndbox must be given"),
        (f"<object>{BOX}</object>", "object 1: name must be given"),
        (OBJECT.replace("8", "nan"), r"object 1: coordinates\[2\] must be a finite number"),
        (OBJECT.replace("8", "many"), 'xmax must be a number, not "many"'),
        (SIZE.replace("8", "7"), "must be the image's, 8 x 6, not 7 x 6"),
        (SIZE.replace("8", "-7"), "size must be whole pixels"),
        ("<object><name>a</name><polygon><x1>1</x1><y1>1</y1><x2>3</x2></polygon></object>", "y2 must be given"),
        ("<object>", "line 1 column .*: file must be XML, found mismatched tag"),
        ("<x>" * 40 + "</x>" * 40, "must not be nested deeper than 32"),
    ],
)
def test_broken_files_are_named_or_skipped(tmp_path: Path, inside: str, said: str) -> None:
    voc(tmp_path, inside)
    with pytest.raises(RecordError, match=said) as caught:
        read("voc", tmp_path)
    assert "a.xml: " in str(caught.value)
    records, report = read("voc", tmp_path, on_bad="skip")
    assert (records, report.skipped) == ([], 1)


def test_entities_are_refused(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("top")
    head = f'<!DOCTYPE a [<!ENTITY x SYSTEM "file://{tmp_path}/secret">]>'
    with pytest.raises(RecordError, match="file must have no DOCTYPE"):
        read("voc", voc(tmp_path, OBJECT.replace("cup", "&x;"), head=head))


def test_images_stay_in_their_folder(tmp_path: Path) -> None:
    image(tmp_path / "b.png")
    with pytest.raises(RecordError, match="image must lie inside"):
        read("voc", voc(tmp_path, name="../b.png"))


def test_a_folder_without_files(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"must hold Pascal VOC's \.xml files"):
        read("voc", tmp_path)
