from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pytest

from dcap.geometry.shapes import ShapeArray
from dcap.view.page import TEMPLATES, Drop, Entry, Panel, render_template, samples_page


class Tags(HTMLParser):
    """Collects the tags, their attributes and the text of a document."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, Any]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


EVIL = "</pre><img src=x onerror=alert(1)>"


def page(caption: str = EVIL, reason: str = EVIL, text: str = EVIL, title: str = EVIL) -> str:
    shapes = ShapeArray.from_objects([{"bbox_2d": [1, 1, 9, 9]}, {"line": [0, 0, 9, 9]}])
    panel = Panel(
        title,
        np.zeros((10, 20, 3), np.uint8),
        shapes,
        (caption, "road"),
        {1: reason},
        text,
        gone=(Drop(7, caption, reason),),
    )
    return samples_page(title, text, [Entry(title, (panel, panel))])


def test_document_is_well_formed_and_names_every_object() -> None:
    tags = Tags(page("cup", "outside the crop", '{"object_1": {}}', "photo"))
    assert tags.open == []
    items = [attrs for tag, attrs in tags.tags if tag == "li"]
    assert [item.get("data-i") for item in items] == ["0", "1", None, "0", "1", None]
    assert [item.get("class") for item in items[:3]] == [None, "dropped", "dropped"]
    assert "outside the crop" in tags.words
    assert '{"object_1": {}}' in tags.words


def test_texts_of_records_and_models_never_become_markup() -> None:
    tags = Tags(page())
    assert tags.open == []
    assert not [tag for tag, _ in tags.tags if tag == "img"]
    assert not [attrs for _, attrs in tags.tags if "onerror" in attrs]
    assert EVIL in tags.words


def test_page_is_self_contained() -> None:
    for _, attrs in Tags(page("cup", "why", "text", "title")).tags:
        for name in ("src", "href"):
            assert attrs.get(name, "data:").startswith("data:")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<b>&\"'", "&lt;b&gt;&amp;&#34;&#39;"),
        ("a\x00b\x1b", r"a\x00b\x1b"),
        ("\ud800", r"\ud800"),
        ("a\u202eb\x9b", r"a\u202eb\x9b"),
        ("杯\n\t", "杯\n\t"),
    ],
)
def test_what_no_document_may_hold_is_replaced(text: str, expected: str, tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text("<p title='{{ text }}'>{{ text }}</p>", "utf-8")
    assert render_template(tmp_path / "a.html", text=text) == f"<p title='{expected}'>{expected}</p>"


def test_a_template_of_another_folder_may_extend_the_common_look(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text('{% extends "base.html" %}{% block body %}<b>{{ x }}</b>{% endblock %}', "utf-8")
    text = render_template(tmp_path / "a.html", title="t", intro="i", x="<x>")
    assert text.startswith("<!doctype html>")
    assert "<b>&lt;x&gt;</b>" in text


def test_a_forgotten_value_is_an_error() -> None:
    with pytest.raises(jinja2.UndefinedError, match="title"):
        render_template(TEMPLATES / "base.html", intro="i")


def test_marked_words_are_marked_and_escaped() -> None:
    shapes = ShapeArray.from_objects([{"bbox_2d": [1, 1, 9, 9]}, {"line": [0, 0, 9, 9]}])
    captions = ("the right <eye>", "<b>left</b>")
    panel = Panel("", np.zeros((10, 20, 3), np.uint8), shapes, captions, marks=([(4, 9)], [(0, 3), (3, 7)]))
    assert [item.pieces for item in panel.listed] == [
        [("the ", False), ("right", True), (" <eye>", False)],
        [("<b>", True), ("left", True), ("</b>", False)],
    ]
    text = samples_page("", "", [Entry("", (panel,))])
    assert "the <mark>right</mark> &lt;eye&gt;" in text
    assert "<mark>&lt;b&gt;</mark><mark>left</mark>&lt;/b&gt;" in text
    assert Tags(text).open == []
