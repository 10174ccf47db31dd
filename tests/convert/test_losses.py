"""The report of losses."""

from __future__ import annotations

import json

import pytest

from dcap.convert.losses import EXAMPLES, Losses, Place
from dcap.core.errors import RecordError

PLACE = Place("in.json", "image 3", "annotation 7")


def test_losses_are_counted_by_reason_with_their_first_places() -> None:
    losses = Losses()
    losses.add("note", "licence", Place("in.json"))
    for k in range(EXAMPLES + 2):
        losses.add("changed", "cut", PLACE.of(f"annotation {k}"))
    losses.add("dropped", "line", PLACE, "3 points")
    assert [(loss.action, loss.count) for loss in losses.found] == [("dropped", 1), ("changed", 7), ("note", 1)]
    assert losses.total == 8
    report = json.loads(json.dumps(losses.to_dict()))
    assert report["total"] == 8
    assert report["losses"][0]["examples"] == [
        {"file": "in.json", "image": "image 3", "object": "annotation 7", "detail": "3 points"}
    ]
    assert [example["object"] for example in report["losses"][1]["examples"]] == [f"annotation {k}" for k in range(5)]


def test_bad_input_stops_or_is_counted() -> None:
    with pytest.raises(RecordError, match=r"^in\.json: image 3: annotation 7: bbox must be given$"):
        Losses().refuse("bbox must be given", PLACE)
    losses = Losses("skip")
    losses.refuse(RecordError(f"{PLACE}: bbox must be given"), PLACE)
    assert losses.skipped == losses.total == 1
    assert losses.found[0].examples[0]["detail"] == "bbox must be given"
