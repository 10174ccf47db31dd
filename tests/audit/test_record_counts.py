"""Counts over records: bins, frequent texts, and parts that add up to the whole."""

from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest
import shapely

from dcap.audit.record_counts import Frequent, RecordCounts
from dcap.core.errors import GeometryError
from dcap.geometry.measures import area_or_length
from dcap.geometry.shapes import ShapeArray
from dcap.records.record import Origin, Record, parse_record


def record(objects: list[dict[str, object]], summary: str | None = None, size: tuple[int, int] = (64, 48)) -> Record:
    data = {"images": ["a.png"], "width": size[0], "height": size[1], "objects": objects, "summary": summary}
    return parse_record(json.dumps(data).encode(), Origin("a.jsonl", 1))


def test_frequent_texts_outlive_the_rare_ones() -> None:
    found = Frequent(limit=10)
    for i in range(100):
        found.add(["cup", "cat", "cup", f"thing {i}"])
    assert found.most(2) == {"cup": 200, "cat": 100}
    assert len(found.counts) <= 20
    assert not found.whole


def test_ties_come_in_the_order_of_their_appearance() -> None:
    found, later = Frequent(), Frequent()
    found.add(["b", "a"])
    later.add(["c", "a", "b"])
    found.update(later)
    assert list(found.most(3).items()) == [("b", 2), ("a", 2), ("c", 1)]
    assert found.whole


def test_what_is_counted() -> None:
    ring = [0, 0, 40, 0, 40, 30, 10, 40]
    area = shapely.Polygon(np.reshape(ring, (-1, 2))).area
    stats = RecordCounts.of(
        [
            record([{"desc": "cup", "bbox_2d": [0, 0, 32, 24]}, {"desc": "杯子", "poly": ring}], "two cups"),
            record([{"desc": "cup", "line": [0, 0, 5, 5, 9, 0]}]),
            record([], size=(640, 100)),
        ]
    )
    assert (stats.vertices.number, stats.vertices.total) == (2, 4 + 3)
    assert (stats.object_sizes.low, stats.object_sizes.high) == pytest.approx(
        (min(0.5, (area / 3072) ** 0.5), max(0.5, (area / 3072) ** 0.5))
    )
    assert stats.object_sizes.number == 2
    assert stats.objects_per_image.counts[:3] == (1, 1, 1)
    assert (stats.caption_chars.low, stats.caption_chars.high) == (2, 3)
    assert (stats.summary_chars.number, stats.summary_chars.total) == (1, 8)
    assert stats.image_sides.high == 640
    assert stats.captions.most(9) == {"cup": 2, "杯子": 1}
    assert stats.image_sizes.most(1) == {"64 x 48": 2}


def test_parts_of_a_data_set_add_up() -> None:
    records = [record([{"desc": f"{i}", "bbox_2d": [0, 0, 1 + i, 8]}] * i, "x" * (1 + i)) for i in range(6)]
    whole, parts = RecordCounts.of(records), RecordCounts()
    for a, b in pairwise([0, 2, 2, 5, 6]):
        parts.update(RecordCounts.of(records[a:b]))
    found, wanted = parts.to_dict(), whole.to_dict()
    for name in ("object_sizes", "vertices", "caption_chars", "summary_chars"):
        mean, other = found[name].pop("mean", 0), wanted[name].pop("mean", 0)
        assert mean == pytest.approx(other)
    assert found == wanted


def test_a_ring_that_cannot_be_measured_has_no_size() -> None:
    def refusing(shapes: ShapeArray) -> npt.NDArray[np.float64]:
        if (shapes.bounds()[:, 2] == 33).any():
            raise GeometryError("polygon crosses itself millions of times")
        return area_or_length(shapes)

    boxes = [{"desc": "a", "bbox_2d": [1, 0, x, 48]} for x in (33, 49, 33, 64)]
    found = RecordCounts.of([record(boxes)], refusing).object_sizes
    assert (found.number, found.high) == (2, pytest.approx((63 / 64) ** 0.5))
