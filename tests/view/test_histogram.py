from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dcap.view.histogram import MOST_BINS, Histogram


@given(st.lists(st.integers(0, 10**7), min_size=1, max_size=60))
def test_every_value_is_in_the_bin_that_holds_it(values: list[int]) -> None:
    found = Histogram.of("x", np.array(values))
    edges = found.start + found.width * np.arange(len(found.counts) + 1)
    assert list(found.counts) == np.histogram(values, np.append(edges[:-1], edges[-1] - 0.5))[0].tolist()
    assert len(found.counts) == len(found.labels) <= MOST_BINS
    assert found.counts[0]
    assert found.counts[-1]
    assert (found.least, found.most) == (min(values), max(values))


def test_bounds_are_round() -> None:
    found = Histogram.of("x", np.array([103, 250, 333]))
    assert (found.start, found.width) == (100, 100)
    assert found.labels == ["100-199", "200-299", "300-399"]
    assert Histogram.of("x", np.arange(1000, 1400)).width == 50
    assert Histogram.of("x", np.array([7, 7])).labels == ["7"]


def test_the_summary_names_the_numbers() -> None:
    assert Histogram.of("x", np.array([1, 2, 9])).summary == "mean 4.0, median 2, 95 % 8, 1..9"


def test_no_value_is_an_empty_bin() -> None:
    assert Histogram.of("x", np.empty(0, np.int64)).counts == (0,)
