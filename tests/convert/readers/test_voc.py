"""Pascal VOC: pixels from 1, attributes, and XML that must not be parsed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

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
        (OBJECT.replace("8", "nan"), 'object 1: xmax must be a number, not "nan"'),
        (boxed_far := OBJECT.replace("8", "9" * 400), r"object 1: xmax must be a number within 1e\+09, not \"999"),
        (boxed_far.replace("</bndbox>", "<rotation>30</rotation></bndbox>"), "xmax must be a number within"),
        (OBJECT.replace("8", "many"), 'xmax must be a number, not "many"'),
        (SIZE.replace("8", "7"), "must be the image's, 8 x 6, not 7 x 6"),
        (SIZE.replace("8", "-7"), "size must be whole pixels"),
        ("<object><name>a</name><polygon><x1>1</x1><y1>1</y1><x2>3</x2></polygon></object>", "y2 must be given"),
        ("<object>", "line 1 column .*: file must be XML, and has an end tag here of another"),
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


ATTRIBUTE = "<attribute><name>rotation</name><value>30.0</value></attribute>"


def boxed(inside: str = "", after: str = "") -> str:
    corners = "<xmin>21</xmin><ymin>31</ymin><xmax>60</xmax><ymax>40</ymax>"
    return f"<object><name>cup</name><bndbox>{corners}{inside}</bndbox>{after}</object>"


QUAD = [25.179492, 20.669873, 59.820508, 40.669873, 54.820508, 49.330127, 20.179492, 29.330127]


def large(folder: Path, inside: str) -> Path:
    image(folder / "JPEGImages" / "b.png", 100, 80)
    return voc(folder, inside, "b.png")


@pytest.mark.parametrize(
    ("inside", "attributes"),
    [
        (boxed("<rotation>30</rotation>"), None),
        (boxed("<rotation>-330.0</rotation>"), None),
        (boxed(after=f"<attributes>{ATTRIBUTE}</attributes>"), None),
        (
            boxed(
                after=f"<attributes>{ATTRIBUTE}<attribute><name>seen</name><value>no</value></attribute></attributes>"
            ),
            {"attributes": {"attribute": {"name": "seen", "value": "no"}}},
        ),
        (
            "<object><name>cup</name><type>robndbox</type><robndbox><cx>40</cx><cy>35</cy><w>40</w><h>10</h>"
            "<angle>0.5235987755982988</angle></robndbox></object>",
            {"type": "robndbox"},
        ),
        (
            "<object><name>cup</name><robndbox>"
            + "".join(
                f"<{axis}_{corner}>{QUAD[2 * k + i]}</{axis}_{corner}>"
                for k, corner in enumerate(("left_top", "right_top", "right_bottom", "left_bottom"))
                for i, axis in enumerate("xy")
            )
            + "</robndbox></object>",
            None,
        ),
    ],
)
def test_turned_boxes_of_cvat_rolabelimg_and_dior(tmp_path: Path, inside: str, attributes: Any) -> None:
    (record,), report = read("voc", large(tmp_path, inside))
    assert record.shapes.to_objects() == [{"poly": pytest.approx(QUAD, abs=1e-6)}]
    assert record.attributes == (attributes,)
    assert report.total == 0


RING = "<polygon>" + "".join(f"<x{k}>{x}</x{k}><y{k}>{y}</y{k}>" for k, x, y in [(1, 21, 31), (2, 60, 31), (3, 60, 40)])


@pytest.mark.parametrize(
    ("inside", "key", "said"),
    [
        (boxed(after="<bndbox><xmin>1</xmin></bndbox>"), "bbox_2d", {"second bndbox of an object": 1}),
        (boxed("<angle>3</angle><z>2</z>"), "bbox_2d", {"angle in a bndbox": 1, "z in a bndbox": 1}),
        (boxed(after=RING + "<note>x</note></polygon>"), "poly", {"note in a polygon": 1}),
        (boxed(after=RING + "</polygon>"), "poly", {}),
        (
            boxed(after=RING.replace(">60<", ">90<") + "</polygon>"),
            "poly",
            {"box that contradicts the outline of its object: the outline is used": 1},
        ),
        (
            boxed(after=RING.replace("<y3>40<", "<y3>31<") + "</polygon>"),
            "bbox_2d",
            {"outline that encloses nothing: the box of the object is used": 1},
        ),
        (
            boxed().replace("<xmin>21</xmin>", "")[: -len("</object>")] + RING + "</polygon></object>",
            "poly",
            {"broken box beside an outline: the outline is used": 1},
        ),
    ],
)
def test_every_part_of_the_geometry_is_used_or_told(
    tmp_path: Path, inside: str, key: str, said: dict[str, int]
) -> None:
    (record,), report = read("voc", large(tmp_path, inside))
    assert [list(shape) for shape in record.shapes.to_objects()] == [[key]]
    assert counts(report) == said


def test_swapped_corners_are_called_so(tmp_path: Path) -> None:
    _, report = read(
        "voc", voc(tmp_path, SIZE + OBJECT.replace("<xmin>1<", "<xmin>4<").replace("<xmax>8<", "<xmax>2<"))
    )
    assert list(counts(report)) == [
        "box whose corners are swapped, x2 < x1 or y2 < y1; --swapped order puts them in order"
    ]
    (record,), _ = read("voc", tmp_path, swapped="order")
    assert record.shapes.to_objects() == [{"bbox_2d": [1, 1, 4, 5]}]


def test_texts_stay_texts(tmp_path: Path) -> None:
    further = "<code>007</code><size>1e3</size><big>1_0</big><n>0</n><m>12</m><minus>-0</minus><wide>\uff11</wide>"
    (record,), _ = read(
        "voc", voc(tmp_path, SIZE + OBJECT.replace("<bndbox>", further + "<bndbox>").replace("cup", "010"))
    )
    assert record.captions == ("010",)
    texts = {"code": "007", "size": "1e3", "big": "1_0", "n": 0, "m": 12, "minus": "-0", "wide": "\uff11"}
    assert record.attributes == (texts,)
    with pytest.raises(RecordError, match='object 1: xmax must be a number, not "1_0"'):
        read("voc", voc(tmp_path, SIZE + OBJECT.replace("<xmax>8<", "<xmax>1_0<")))


@pytest.mark.parametrize("encoding", ["gb2312", "gb18030", "shift_jis", "big5", "euc-jp"])
def test_names_in_the_encoding_of_the_file(tmp_path: Path, encoding: str) -> None:
    source = voc(tmp_path)
    head = f'<?xml version="1.0" encoding="{encoding}"?>'
    path = source / "Annotations" / "a.xml"
    path.write_bytes(
        (head + path.read_text().replace("cup", "\u676f\u5b50" if encoding != "shift_jis" else "\u732b")).encode(
            encoding
        )
    )
    (record,), _ = read("voc", source)
    assert record.captions == ("\u676f\u5b50" if encoding != "shift_jis" else "\u732b",)


@pytest.mark.parametrize("encoding", ["rot13", "klingon", "punycode"])
def test_an_unknown_encoding_is_an_error_of_its_file(tmp_path: Path, encoding: str) -> None:
    source = voc(tmp_path, head=f'<?xml version="1.0" encoding="{encoding}"?>')
    with pytest.raises(RecordError, match=rf"a\.xml: line 1: .* {encoding}"):
        read("voc", source)
    records, report = read("voc", source, on_bad="skip")
    assert (records, report.skipped) == ([], 1)


def test_sidecars_of_macos_are_passed_over(tmp_path: Path) -> None:
    source = voc(tmp_path)
    (source / "Annotations" / "._a.xml").write_bytes(b"\0\5\x16\7")
    records, report = read("voc", source)
    assert (len(records), report.found) == (1, ())


def test_a_name_of_a_split_that_two_files_have(tmp_path: Path) -> None:
    source = voc(tmp_path)
    (source / "Annotations" / "more").mkdir()
    (source / "Annotations" / "more" / "a.xml").write_text((source / "Annotations" / "a.xml").read_text())
    (source / "list.txt").write_text("a\n")
    with pytest.raises(RecordError, match=r"list\.txt: a must be the name of one annotation file, not of .* and "):
        read("voc", source, split=source / "list.txt")


def test_a_name_too_long_for_the_file_system(tmp_path: Path) -> None:
    source = voc(tmp_path, name="x" * 300 + ".png")
    with pytest.raises(RecordError, match=r"a\.xml: image "):
        read("voc", source)
