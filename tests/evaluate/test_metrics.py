"""The choices of the measures, and scores that follow from counts."""

from __future__ import annotations

from typing import Any

import pytest

from dcap.core.errors import ConfigError
from dcap.evaluate.metrics import THRESHOLDS, PrecisionRecall, ScoreOptions, at_thresholds
from support.score_cases import box, count


@pytest.mark.parametrize(
    "options",
    [
        {"line_tolerance_px": 0.0},
        {"line_tolerance_px": float("nan")},
        {"duplicate_iou": 0.0},
        {"duplicate_iou": 2.0},
        {"line_tolerance_share": 0.0},
    ],
)
def test_options_out_of_range(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="must be"):
        ScoreOptions(**options)


def test_regions_are_asked_for_by_their_iou() -> None:
    counts = count([box(0, 0, 100, 40)], [box(10, 0, 110, 40, "mug")])  # IoU 0.818
    assert [counts.regions(iou).f1 for iou in (0.5, 0.8, 0.85)] == [1.0, 1.0, 0.0]
    assert counts.regions(0.5, captioned=True).f1 == 0.0
    with pytest.raises(ConfigError, match=r"iou must be one of 0\.5, 0\.55, .* not 0\.3"):
        counts.regions(0.3)


def test_thresholds_are_told_one_by_one_and_as_their_mean() -> None:
    each = [PrecisionRecall(10, 10, k, k) for k in range(10, 0, -1)]
    told = at_thresholds(each)
    assert list(told) == ["0.50", "0.75", "0.95", "0.50:0.95"]
    assert [told[name]["f1"] for name in told] == pytest.approx([1.0, 0.5, 0.1, 0.55])
    assert len(each) == len(THRESHOLDS)
