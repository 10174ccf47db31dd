from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

import pytest

from dcap.audit.inspection_report import TEMPLATE, Grid, ShownSample, TimeReport, byte_size
from dcap.audit.token_runs import TokenRun
from dcap.data.tokens import TokenKind
from dcap.view.charts import Chart
from dcap.view.page import render_template

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
    charts, kinds = [Chart(text, ((text, 3),), text)], list(TokenKind)
    samples = [ShownSample(text, runs)]
    return Page(
        render_template(TEMPLATE, title=text, intro=text, samples=samples, kinds=kinds, grids=[grid], charts=charts)
    )


def tokens(found: Page) -> list[tuple[dict[str, Any], str]]:
    return [(attrs, text) for attrs, text in found.of("span", "t ") if attrs.get("title")]


def test_the_tokens_say_what_they_are() -> None:
    found = page()
    assert found.open == []
    assert [text for _, text in tokens(found)] == ["List", "⟦<pad> x 3⟧", "a·cup↵\n"]
    assert [attrs["class"] for attrs, _ in tokens(found)] == ["t prompt", "t image", "t caption s"]
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


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1536, "1.50 KiB"), (5 << 20, "5.00 MiB"), (1 << 40, "1,024.00 GiB")],
)
def test_sizes_have_the_unit_that_suits_them(number: int, text: str) -> None:
    assert byte_size(number) == text


def test_hours_need_a_rate() -> None:
    assert TimeReport(steps=1, epochs=1, tokens=7200, tokens_per_s=None).hours is None
    assert TimeReport(steps=1, epochs=1, tokens=7200, tokens_per_s=2.0).hours == pytest.approx(1)
