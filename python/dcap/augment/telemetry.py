"""Telemetry of one sample: what was kept, dropped and skipped, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Telemetry:
    """Counts and reasons of one augmented sample.

    Args:
        num_objects: Objects that came in.
        dropped: Reason for each input object that is gone, by its index.
        applied: Names of the ops that acted, in order.
        skipped: Name and reason of each op that was drawn but did not act, in order; an op may stand there twice.
        padding_share: Share of the final canvas that shows no source pixel, 0..1.
        bypassed: Whether the sample was left as it is.
    """

    num_objects: int
    dropped: Mapping[int, str]
    applied: tuple[str, ...]
    skipped: tuple[tuple[str, str], ...]
    padding_share: float
    bypassed: bool

    @property
    def num_kept(self) -> int:
        """Input objects of which something is left."""
        return self.num_objects - len(self.dropped)
