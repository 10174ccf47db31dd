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
    with pytest.raises(RecordError, match=r"^in\.json: image 3: annotation 7: bbox must be given$"):
        ConversionReport().refuse("bbox must be given", PLACE)
    report = ConversionReport("skip")
    report.refuse(RecordError(f"{PLACE}: bbox must be given"), PLACE)
    assert report.skipped == report.total == 1
    assert report.found[0].examples[0]["detail"] == "bbox must be given"
