from html.parser import HTMLParser

import numpy as np

from dcap.geometry.shapes import ShapeArray
from dcap.view.page import Drop, Entry, Panel, html_page


class _Tags(HTMLParser):
    """Collects the tags, their attributes and the text of a document."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.words = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


EVIL = "</pre><img src=x onerror=alert(1)>"


def page(caption=EVIL, reason=EVIL, text=EVIL, title=EVIL):
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
    return html_page(title, text, [Entry(title, (panel, panel))])


def test_document_is_well_formed_and_names_every_object():
    tags = _Tags(page("cup", "outside the crop", '{"object_1": {}}', "photo"))
    assert tags.open == []
    items = [attrs for tag, attrs in tags.tags if tag == "li"]
    assert [item.get("data-i") for item in items] == ["0", "1", None, "0", "1", None]
    assert [item.get("class") for item in items[:3]] == [None, "dropped", "dropped"]
    assert "outside the crop" in tags.words
    assert '{"object_1": {}}' in tags.words


def test_texts_of_records_and_models_never_become_markup():
    tags = _Tags(page())
    assert tags.open == []
    assert not [tag for tag, _ in tags.tags if tag == "img"]
    assert not [attrs for _, attrs in tags.tags if "onerror" in attrs]
    assert EVIL in tags.words


def test_page_is_self_contained():
    for _, attrs in _Tags(page("cup", "why", "text", "title")).tags:
        for name in ("src", "href"):
            assert attrs.get(name, "data:").startswith("data:")
