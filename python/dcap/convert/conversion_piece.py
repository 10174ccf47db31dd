"""One item of a conversion after its work is done: its record, and what it lost. A shard keeps these pieces."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np

from dcap.convert.conversion_report import Loss, SourcePlace
from dcap.convert.division import Trait
from dcap.core.errors import CheckpointError
from dcap.records.look_alikes import Looks


@dataclass(frozen=True, slots=True)
class Piece:
    """What one item of a data set has become, or what was lost before the first item or after the last."""

    item: int | None
    """Number of the item, from 1. 0: before the first. `None`: after the last."""
    place: SourcePlace
    losses: tuple[Loss, ...] = ()
    """What was lost, in order."""
    line: bytes | None = None
    """The record as JSON. `None`: there is none."""
    trait: Trait | None = None
    """What its file depends on, where records are divided."""
    labels: tuple[str, ...] = ()
    """Labels of the map of labels that the item has."""

    def to_plain(self) -> dict[str, Any]:
        """Return the piece as plain JSON data."""
        place, trait = self.place, self.trait
        tree: dict[str, Any] = {
            "item": self.item,
            "place": [place.file, place.image, place.object],
            "losses": [[loss.action, loss.reason, loss.count, loss.examples] for loss in self.losses],
            "line": None if self.line is None else self.line.decode("utf-8"),
            "labels": list(self.labels),
        }
        if trait is not None:
            tree["trait"] = [trait.name, trait.content.hex(), _plain_looks(trait.looks)]
        return {name: value for name, value in tree.items() if value or name == "item"}

    @classmethod
    def of_plain(cls, tree: Any) -> Piece:
        """Return the piece that `to_plain` has made plain.

        Raises:
            CheckpointError: The data is that of something else.
        """
        try:
            trait = tree.get("trait")
            return cls(
                item=tree["item"],
                place=SourcePlace(*tree["place"]),
                losses=tuple(Loss(*each) for each in tree.get("losses", ())),
                line=tree["line"].encode("utf-8") if "line" in tree else None,
                trait=None if trait is None else Trait(trait[0], bytes.fromhex(trait[1]), _looks(trait[2])),
                labels=tuple(tree.get("labels", ())),
            )
        except (AttributeError, LookupError, TypeError, ValueError, OverflowError):
            raise CheckpointError(
                "piece of a shard must be as dcap wrote it, and is not. Make the shard anew"
            ) from None


def last_item(line: bytes) -> int | None:
    """Return the number of the item of a piece as it is kept, and 0 for no piece.

    Raises:
        CheckpointError: The line is no piece.
    """
    if not line:
        return 0
    try:
        tree = json.loads(line)
    except ValueError:
        tree = None
    return Piece.of_plain(tree).item


def _plain_looks(looks: Looks | None) -> list[Any] | None:
    return None if looks is None else [int(looks.bits[0]), looks.colors.tobytes().hex()]


def _looks(tree: Any) -> Looks | None:
    if tree is None:
        return None
    colors = np.frombuffer(bytes.fromhex(tree[1]), np.uint8)
    return Looks(np.array([tree[0]], np.uint64), colors.reshape(1, -1))
