from __future__ import annotations

import base64
import io
import xml.etree.ElementTree as ET
from typing import Any

import numpy as np
from PIL import Image

from dcap.geometry.shapes import ShapeArray
from dcap.view.overlay import Overlay, css_color, data_uri
from dcap.view.page import TEMPLATES, render_template

SVG = "{http://www.w3.org/2000/svg}"
IMAGE = np.full((60, 100, 3), (200, 100, 50), np.uint8)
SHAPES = ShapeArray.from_objects(
    [{"bbox_2d": [10, 20, 30, 40]}, {"poly": [50, 10, 90, 10, 70, 50]}, {"line": [0, 55, 99, 58.5]}]
)


def svg(*args: Any, **more: Any) -> str:
    return render_template(TEMPLATES / "overlay.svg", overlay=Overlay.of(*args, **more))


def test_data_uri_holds_the_image() -> None:
    head, _, code = data_uri(IMAGE).partition(",")
    assert head == "data:image/jpeg;base64"
    back = np.array(Image.open(io.BytesIO(base64.b64decode(code))))
    np.testing.assert_allclose(back, IMAGE, atol=4)


def test_shapes_stand_where_they_are() -> None:
    root = ET.fromstring(svg(IMAGE, SHAPES, ("cup", "tent", "road")))
    assert root.get("viewBox") == "0 0 100 60"
    points = {group.get("data-i"): group[1].get("points") for group in root.findall(f"{SVG}g") if len(group) > 1
              and group[0].tag == f"{SVG}title"}  # fmt: skip
    assert points["0"] == "10.00,20.00 30.00,20.00 30.00,40.00 10.00,40.00"
    assert points["2"] == "0.00,55.00 99.00,58.50"
    assert [e.tag for e in root.iter() if e.get("points")] == [f"{SVG}polygon", f"{SVG}polygon", f"{SVG}polyline"]


def test_captions_are_text_never_markup() -> None:
    evil = "</title><script>alert(1)</script>\" onload='x'"
    text = svg(IMAGE, SHAPES, (evil, "a & b", "]]>"), dropped={0: "<i>"})
    root = ET.fromstring(text)
    assert "<script" not in text
    titles = [title.text for title in root.iter(f"{SVG}title")]
    assert f"1 {evil} (dropped: <i>)" in titles
    assert "2 a & b" in titles


def test_dropped_shapes_are_crossed_out() -> None:
    root = ET.fromstring(svg(IMAGE, SHAPES, ("a", "b", "c"), dropped={1: "outside"}))
    crosses = [path.get("d") for path in root.iter(f"{SVG}path")]
    assert crosses == ["M50.00 10.00L90.00 50.00M50.00 50.00L90.00 10.00"]
    assert css_color("b", dropped=True) in ET.tostring(root, encoding="unicode")


def test_numbers_may_be_given() -> None:
    root = ET.fromstring(svg(IMAGE, SHAPES, ("a", "b", "c"), numbers=[4, 7, 9]))
    assert sorted(text.text for text in root.iter(f"{SVG}text")) == ["4", "7", "9"]
    assert [title.text for title in root.iter(f"{SVG}title")].count("7 b") == 1
