from __future__ import annotations

from collections import Counter

import pytest

from dcap.augment.telemetry import Telemetry, averages


def test_sums_of_samples_become_shares() -> None:
    one = Telemetry(4, {2: "gone"}, ("rotate", "rotate"), (("random_crop", "no"),), 0.25, bypassed=False, num_pasted=3)
    two = Telemetry(2, {}, (), (), 0.0, bypassed=True, fitted={"dropped_objects": 3})
    sums: Counter[str] = Counter()
    for telemetry in (one, two):
        sums.update(telemetry.tally(500_000))
    assert averages(sums) == {
        "kept_share": pytest.approx(5 / 6),
        "objects": 3.0,
        "pasted": 1.5,
        "bypassed_share": 0.5,
        "padding_share": 0.125,
        "megapixels": 0.5,
        "applied/rotate": 1.0,
        "fitted/dropped_objects": 1.5,
        "skipped/random_crop": 0.5,
    }


def test_no_samples() -> None:
    assert set(averages({}).values()) == {0.0}


def test_the_curriculum_is_that_of_the_samples_that_follow_it() -> None:
    follows = Telemetry(1, {}, (), (), 0.0, bypassed=False, curriculum={"rotate.max_deg": 20.0})
    sums: Counter[str] = Counter()
    for telemetry in (follows, Telemetry(1, {}, (), (), 0.0, bypassed=False), follows):
        sums.update(telemetry.tally(1))
    assert averages(sums)["curriculum/rotate.max_deg"] == 20.0
