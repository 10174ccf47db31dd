"""The report of report."""

from __future__ import annotations

import json

import pytest

from dcap.convert.conversion_report import EXAMPLES, ConversionReport, SourcePlace
from dcap.core.errors import RecordError

PLACE = SourcePlace("in.json", "image 3", "annotation 7")


def test_losses_are_counted_by_reason_with_their_first_places() -> None:
    report = ConversionReport()
    report.add("note", "licence", SourcePlace("in.json"))
    for k in range(EXAMPLES + 2):
        report.add("changed", "cut", PLACE.of(f"annotation {k}"))
    report.add("dropped", "line", PLACE, "3 points")
    assert [(loss.action, loss.count) for loss in report.found] == [("dropped", 1), ("changed", 7), ("note", 1)]
    assert report.total == 8
    tree = json.loads(json.dumps(report.to_dict()))
    assert tree["total"] == 8
    assert tree["losses"][0]["examples"] == [
        {"file": "in.json", "image": "image 3", "object": "annotation 7", "detail": "3 points"}
    ]
    assert [example["object"] for example in tree["losses"][1]["examples"]] == [f"annotation {k}" for k in range(5)]


def test_bad_input_stops_or_is_counted() -> None:
    with pytest.raises(
        RecordError, match=r"^in\.json: image 3: annotation 7: bbox must be given\. Correct it, or .*--on-bad skip"
    ):
        ConversionReport().refuse("bbox must be given", PLACE)
    report = ConversionReport("skip")
    report.refuse(RecordError(f"{PLACE}: bbox must be given"), PLACE)
    assert report.skipped == report.total == 1
    assert report.found[0].examples[0]["detail"] == "bbox must be given"


def test_each_cause_of_broken_input_is_counted_by_itself() -> None:
    report = ConversionReport("skip")
    for text in ("bbox must be 4 numbers, not 3", "bbox must be 4 numbers, not 5", 'file must be JSON, not "x"'):
        report.refuse(text, PLACE)
    assert {loss.reason: loss.count for loss in report.found} == {
        "broken input: bbox must be # numbers, not #": 2,
        "broken input: file must be JSON, not …": 1,
    }


def test_losses_that_are_taken_piece_by_piece_add_up() -> None:
    whole, inner, joined = ConversionReport("skip"), ConversionReport("skip"), ConversionReport("skip")
    for k in range(20):
        for report in (whole, inner):
            report.add("dropped" if k % 3 else "note", f"reason {k % 4}", SourcePlace("a.json", f"image {k}"), f"{k}")
        if k % 5 == 2:
            joined.update(inner.take())
    assert inner.total < whole.total
    joined.update(inner.take())
    assert joined.found == whole.found
    assert inner.found == ()
