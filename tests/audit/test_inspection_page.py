from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

import numpy as np

from dcap.audit.inspection_page import Grid, ShownSample, inspect_page
from dcap.audit.token_runs import TokenRun
from dcap.data.token_kinds import TokenKind
from dcap.view.histogram import Histogram

EVIL = '</pre><script>alert(1)</script><img src="x" onerror="y">'


class Page(HTMLParser):
    """Tags with their attributes and the text up to the next tag, in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.inside = False
        self.found: list[tuple[str, dict[str, Any], str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.found.append((tag, dict(attrs), ""))
        self.inside = True
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.found.append((tag, dict(attrs), ""))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        self.inside = False

    def handle_data(self, data: str) -> None:
        if self.inside:
            tag, attrs, text = self.found[-1]
            self.found[-1] = (tag, attrs, text + data)

    def of(self, tag: str, css: str = "") -> list[tuple[dict[str, Any], str]]:
        return [(a, text) for t, a, text in self.found if t == tag and css in (a.get("class") or "")]


def run(text: str, kind: TokenKind, supervised: bool) -> TokenRun:
    return TokenRun((7,), (text.encode(),), kind, supervised)


def page(text: str = "a cup\n") -> Page:
    runs = [
        run("List", TokenKind.PROMPT, False),
        TokenRun((9, 9, 9), (b"<pad>",) * 3, TokenKind.IMAGE, False),
        run(text, TokenKind.CAPTION, True),
    ]
    grid = Grid(text, ("name", text), ((text, "1"),), (text,))
    shown = inspect_page(text, text, [ShownSample(text, runs)], [Histogram.of(text, np.array([1, 1, 3]))], [grid])
    return Page(shown)


def tokens(found: Page) -> list[tuple[dict[str, Any], str]]:
    return [(attrs, text) for attrs, text in found.of("span", "t k") if attrs.get("title")]


def test_the_tokens_say_what_they_are() -> None:
    found = page()
    assert found.open == []
    assert [text for _, text in tokens(found)] == ["List", "⟦<pad> x 3⟧", "a·cup↵\n"]
    assert [attrs["class"] for attrs, _ in tokens(found)] == ["t k0", "t k1", "t k2 s"]
    assert [attrs["title"] for attrs, _ in tokens(found)] == [
        "prompt, id 7",
        "image, id 9",
        "caption, supervised, id 7",
    ]


def test_no_text_becomes_markup() -> None:
    found = page(EVIL)
    assert found.open == []
    assert found.of("script") == found.of("img") == []
    assert tokens(found)[2][1] == EVIL.replace(" ", "·")
    assert found.of("td")[0][1] == found.of("h1")[0][1] == EVIL


def test_the_page_needs_nothing_else() -> None:
    for _, attrs, _ in page().found:
        assert not {"src", "href"} & set(attrs)


def test_bars_are_as_long_as_counts() -> None:
    found = page()
    assert [text for _, text in found.of("text")] == ["1", "2", "2", "0", "3", "1"]
    lengths = [float(attrs["width"]) for attrs, _ in found.of("rect")]
    assert lengths == [lengths[0], 0, lengths[0] / 2]
