"""The page of charts: well-formed and escaped, with all that was counted."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from dcap.audit.validation import validate_files
from dcap.audit.validation_report import validation_page

Make = Callable[..., dict[str, Any]]
Write = Callable[..., Path]


def test_texts_of_records_are_no_markup(write_jsonl: Write, make_record: Make) -> None:
    box = {"desc": "<script>alert(1)</script>", "bbox_2d": [1, 2, 30, 40]}
    records = [make_record(objects=[box, box]), make_record(width="<b>"), make_record(objects=[], summary="s")]
    page = validation_page(validate_files([write_jsonl(records)], images=None), "<title>")
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "1 bad" in page
    for name in ("Problems", "Notes, no problems", "Most frequent captions", "Objects per image", "Summary lengths"):
        assert f"<h3>{name}</h3>" in page
    sections = re.findall(r"<section>.*?</section>", page, re.DOTALL)
    assert len(sections) == 9
    for section in sections:
        ElementTree.fromstring(section)


def test_a_page_of_nothing(write_jsonl: Write) -> None:
    assert "0 good records" in validation_page(validate_files([write_jsonl([])]), "empty")
