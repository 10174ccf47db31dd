from __future__ import annotations

import re

import numpy as np
import pytest

from dcap.audit.inspection_report import Time, _bars, size
from dcap.view.histogram import Histogram


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1536, "1.50 KiB"), (5 << 20, "5.00 MiB"), (1 << 40, "1,024.00 GiB")],
)
def test_sizes_have_the_unit_that_suits_them(number: int, text: str) -> None:
    assert size(number) == text


def test_bars_are_as_long_as_counts() -> None:
    lines = str(_bars(Histogram.of("x", np.repeat([1, 2, 3], [8, 4, 1])))).splitlines()
    assert [line.split()[0] for line in lines] == ["1", "2", "3"]
    assert [line.split()[-1] for line in lines] == ["8", "4", "1"]
    lengths = [len(re.findall("[█▉▊▋▌▍▎▏]", line)) for line in lines]
    assert lengths == [lengths[0], lengths[0] // 2, lengths[0] // 8]


def test_hours_need_a_rate() -> None:
    assert Time(steps=1, epochs=1, tokens=7200, tokens_per_s=None).hours is None
    assert Time(steps=1, epochs=1, tokens=7200, tokens_per_s=2.0).hours == pytest.approx(1)
