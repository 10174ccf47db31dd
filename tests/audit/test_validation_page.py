"""The page of charts: well-formed, escaped, with a bar for every bin that holds something."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from dcap.audit.record_counts import FixedBins
from dcap.audit.validation import validate
from dcap.audit.validation_page import bar_chart, report_page

Make = Callable[..., dict[str, Any]]
Write = Callable[..., Path]


def test_bars_are_as_high_as_their_counts() -> None:
    histogram = FixedBins((0, 1, 2, 4, 8, 16))
    histogram.add([1, 1, 1, 1, 2, 3, 9])
    section = ElementTree.fromstring(bar_chart(histogram, "a < b", "points"))
    bars = section.findall(".//rect")
    assert len(bars) == 4, "empty bins at the ends are left out, one in the middle stays"
    heights = [float(bar.attrib["height"]) for bar in bars]
    assert [round(height / heights[0], 2) for height in heights] == [1, 0.5, 0, 0.25]
    titles = [title.text for title in section.findall(".//g/title")]
    assert titles[0] == "from 1 to below 2 points: 4"
    assert titles[-1] == "from 8 to below 16 points: 1"
    assert "7 values, 1 to 9 points, mean 2.571" in "".join(section.itertext())


def test_the_last_bin_has_no_end() -> None:
    histogram = FixedBins((0, 1))
    histogram.add([5])
    assert "from 1 points: 1" in bar_chart(histogram, "x", "points")


def test_texts_of_records_are_no_markup(write_jsonl: Write, make_record: Make) -> None:
    box = {"desc": "<script>alert(1)</script>", "bbox_2d": [1, 2, 30, 40]}
    records = [make_record(objects=[box, box]), make_record(width="<b>"), make_record(objects=[], summary="s")]
    page = report_page(validate([write_jsonl(records)], images=None), "<title>")
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "1 bad" in page
    for name in ("Problems", "Notes, no problems", "Most frequent captions", "Objects per image", "Summary lengths"):
        assert f"<h3>{name}</h3>" in page
    for section in re.findall(r"<section>.*?</section>", page, re.DOTALL):
        ElementTree.fromstring(section)


def test_a_page_of_nothing(write_jsonl: Write) -> None:
    assert "0 good records" in report_page(validate([write_jsonl([])]), "empty")
