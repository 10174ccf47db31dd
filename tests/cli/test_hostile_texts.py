"""Names, captions and answers that would steer a terminal or run in a browser, through the commands."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from dcap.cli.__main__ import main

EVIL = "\x1b[31m\u202e\x9b2J<script>alert(1)</script>"
TEXT = "\u202e<script>alert(1)</script>\u2066"
"""A caption, which may hold no control characters."""


class Scripts(HTMLParser):
    """The scripts of a page, and the handlers of its tags."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [tag] if tag == "script" else [name for name, _ in attrs if name.startswith("on")]


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """Records and predictions, in a folder and files with such names."""
    folder = tmp_path / EVIL.replace("/", "|")
    folder.mkdir()
    Image.new("RGB", (64, 48)).save(folder / "a\x1b[7m.png")
    objects = [{"desc": TEXT, "bbox_2d": [1, 2, 30, 40]}, {"desc": TEXT, "bbox_2d": [1, 2, 30, 40]}]
    record = {"images": ["a\x1b[7m.png"], "width": 64, "height": 48, "objects": objects, TEXT: 1}
    prediction = {**record, "objects": [], "text": EVIL, "problems": [EVIL], "source": {"file": EVIL, "line": 1}}
    truth, pred = folder / f"t{EVIL[:8]}.jsonl", folder / f"p{EVIL[:8]}.jsonl"
    broken = {**record, "objects": [{"desc": EVIL, "bbox_2d": [EVIL]}], EVIL: EVIL}
    truth.write_text(json.dumps(record) + "\n", "utf-8")
    pred.write_text(json.dumps(prediction) + "\n", "utf-8")
    (folder / "broken.jsonl").write_text(json.dumps(broken) + "\n" + EVIL + "\n", "utf-8")
    return truth, pred


@pytest.mark.parametrize(
    "command",
    [
        "validate TRUTH --html PAGE",
        "validate TRUTH --json",
        "validate BROKEN --html PAGE",
        "validate BROKEN --json",
        "validate MISSING",
        "convert to-coco BROKEN -o OUT --on-bad skip --report PAGE.json",
        "convert jsonl BROKEN -o OUT",
        "evaluate --truth TRUTH --pred PRED",
        "evaluate --truth TRUTH --pred BROKEN",
        "evaluate --truth TRUTH --pred MISSING",
        "preview TRUTH --out FOLDER",
        "audit TRUTH",
    ],
)
def test_nothing_that_is_printed_or_shown_does_anything(
    files: tuple[Path, Path], command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truth, pred = map(str, files)
    places = {
        "TRUTH": truth, "PRED": pred, "BROKEN": str(files[0].parent / "broken.jsonl"), "MISSING": f"{truth}{EVIL}",
        "PAGE": str(tmp_path / "page.html"), "PAGE.json": str(tmp_path / "page.json"), "OUT": str(tmp_path / "out"),
        "FOLDER": str(tmp_path / "pages"),
    }  # fmt: skip
    assert main([places.get(word, word) for word in command.split()]) in (0, 1, 2)
    out, err = capsys.readouterr()
    assert out + err
    assert not [c for c in out + err if c not in "\n\t" and not c.isprintable() and c != "\u3000"]
    for page in (*tmp_path.glob("*.html"), *tmp_path.glob("pages/*.html")):
        text = page.read_text("utf-8")
        own = ["script"] if page.parent.name == "pages" else []
        assert Scripts(text).found == own
        assert not [c for c in text if c != "\n" and not c.isprintable()]
