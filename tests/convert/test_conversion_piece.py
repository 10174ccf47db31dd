"""Pieces of a conversion as plain data: they come back as they were, and other data is no piece."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from dcap.convert.conversion_piece import Piece, last_item
from dcap.convert.conversion_report import Loss, SourcePlace
from dcap.convert.division import Trait
from dcap.core.errors import CheckpointError
from dcap.records.look_alikes import Looks

PLACE = SourcePlace("a.json", "image 7")
PIECE = Piece(7, PLACE, (Loss("dropped", "why", 2, [{"file": "ä\udc80"}]),), '{"ä": 1}'.encode(), None, ("car", "ä"))


@pytest.mark.parametrize(
    "piece", [PIECE, Piece(0, PLACE), Piece(None, PLACE), Piece(3, PLACE, trait=Trait("a/b.jpg", b"\xff\x00", None))]
)
def test_a_piece_comes_back_as_it_was(piece: Piece) -> None:
    line = json.dumps(piece.to_plain()).encode() + b"\n"
    assert Piece.of_plain(json.loads(line)) == piece
    assert last_item(line) == piece.item


def test_looks_come_back_as_they_were() -> None:
    looks = Looks(np.array([2**63 + 5], np.uint64), np.arange(192, dtype=np.uint8).reshape(1, -1))
    trait = Piece.of_plain(json.loads(json.dumps(Piece(1, PLACE, trait=Trait("a", b"1", looks)).to_plain()))).trait
    assert trait is not None
    assert trait.looks is not None
    assert trait.looks.bits.tolist() == looks.bits.tolist()
    assert (trait.looks.colors == looks.colors).all()


@pytest.mark.parametrize("tree", [None, [], {}, {"item": 1}, {"item": 1, "place": ["a", "b", "c"], "line": 3}])
def test_other_data_is_no_piece(tree: Any) -> None:
    with pytest.raises(CheckpointError, match="must be as dcap wrote it"):
        Piece.of_plain(tree)
    with pytest.raises(CheckpointError, match="must be as dcap wrote it"):
        last_item(b"[1")
