from __future__ import annotations

import pytest
from accelerate import Accelerator

from dcap.data.collate import Batch, SampleInfo
from dcap.train.tracking import AugmentTally


def batch(*tallies: dict[str, float]) -> Batch:
    return {"samples": [SampleInfo("d", "s", 1.0, 1, tally) for tally in tallies]}


def test_counts_since_the_last_call() -> None:
    Accelerator(cpu=True)  # knows the ranks
    tally = AugmentTally()
    tally.add([batch({"samples": 1, "objects": 4, "kept": 3}, {})])
    tally.add([batch({"samples": 1, "objects": 4, "kept": 4})])
    assert tally.metrics()["augment/kept_share"] == pytest.approx(7 / 8)
    tally.add([batch({"samples": 1, "objects": 2, "kept": 1})])
    assert tally.metrics()["augment/kept_share"] == pytest.approx(1 / 2)
