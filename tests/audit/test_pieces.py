"""Pieces as plain data: they come back as they were, and other data is no piece."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import numpy as np
import pytest

from dcap.audit.auditing import AuditPiece
from dcap.audit.duplicates import Fingerprints, RecordLooks
from dcap.audit.findings import Finding
from dcap.audit.pieces import from_plain, to_plain
from dcap.audit.split_checks import CheckResult
from dcap.audit.validation import Tally
from dcap.core.errors import CheckpointError
from dcap.records.look_alikes import Looks

PRINTS = Fingerprints(
    np.array([[0, 3], [1, 2**40]]), np.array([0, 2**64 - 1], np.uint64), np.array([1, 2], np.uint64), np.array([-1, 7])
)


def through_json(value: Any) -> Any:
    return from_plain(json.loads(json.dumps(to_plain(value))), type(value))


def test_a_tally_comes_back_as_it_was() -> None:
    tally = Tally(Counter({"records": 3}), misspelt={"a.jsonl\0sumary\0summary": Finding("ä\udc80.jsonl", 1, "x", "y")})
    tally.problems.add(Finding("a.jsonl", 2, "width", "must be at least 1, not 0"))
    tally.problems.add(Finding("a.jsonl", 3, "width", "must be at least 1, not -3"))
    tally.notes.add(Finding("a.jsonl", 2, "width", "is 7"))
    tally.statistics.captions.add(["a", "b", "a"])
    tally.prints += [PRINTS, Fingerprints.of((), with_images=True)]
    again, other = through_json(tally), Tally()
    assert to_plain(again) == to_plain(tally)
    for _ in range(2):
        other.update(again)
    assert list(other.problems.shown().values()) == [4]
    assert other.statistics.captions.most(1) == {"a": 4}
    prints = Fingerprints.concatenate(other.prints)
    assert prints.record.tolist() == [0, 2**64 - 1] * 2
    assert prints.place.dtype == np.int64


def test_a_piece_of_an_audit_comes_back_as_it_was() -> None:
    looks = Looks(np.array([2**63 + 1], np.uint64), np.arange(192, dtype=np.uint8).reshape(1, -1))
    piece = AuditPiece(1, [CheckResult("val", "words", "about", 3, 1, 0, ["x"], {"b": 2, "a": 2})], PRINTS,
                       RecordLooks(looks, np.array([-1, 0])))  # fmt: skip
    again = through_json(piece)
    assert again.results == piece.results
    assert list(again.results[0].counts) == ["b", "a"]
    assert again.looks.looks.colors.dtype == np.uint8
    assert (again.looks.looks.colors == looks.colors).all()
    assert through_json(AuditPiece(0, [], PRINTS, None)).looks is None


@pytest.mark.parametrize("tree", [None, [], {"counts": 1}, {"prints": [{"place": {"values": [1], "shape": [2]}}]}])
def test_other_data_is_no_piece(tree: Any) -> None:
    with pytest.raises(CheckpointError, match="must be as dcap wrote it"):
        from_plain(tree, Tally)
