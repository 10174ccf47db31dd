from __future__ import annotations

import json
import re
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcap.view.charts import CURVE_COLORS, MOST_BINS, Chart, Curves, Histogram, bar_lines, draw_curves, ranked
from dcap.view.page import TEMPLATES, render_template

EDGES = (0, 1, 2, 5, 10)
SHARES = (0, 0.1, 0.25, 0.5)


@given(st.lists(st.integers(0, 10**7), min_size=1, max_size=60))
def test_every_value_is_in_the_bin_that_holds_it(values: list[int]) -> None:
    found = Histogram.of(np.array(values))
    assert list(found.counts) == np.histogram(values, [*found.edges, np.inf])[0].tolist()
    assert len(set(np.diff(found.edges).tolist())) <= 1
    assert len(found.counts) == len(found.labels) <= MOST_BINS
    assert found.counts[0]
    assert found.counts[-1]
    assert (found.low, found.high, found.mean) == (min(values), max(values), pytest.approx(np.mean(values)))


@given(st.lists(st.integers(0, 30)), st.lists(st.floats(0, 30)))
def test_given_bins_are_those_of_numpy_and_parts_add_up(first: list[int], second: list[float]) -> None:
    values = [*first, *second]
    both = Histogram.in_bins(EDGES, first) + Histogram.in_bins(EDGES, second)
    assert list(both.counts) == np.histogram(values, [*EDGES, np.inf])[0].tolist()
    assert both.counts == Histogram.in_bins(EDGES, values).counts
    assert (both.number, both.low, both.high) == (
        len(values),
        min(values, default=np.inf),
        max(values, default=-np.inf),
    )
    assert both.total == pytest.approx(sum(values))


def test_histograms_of_other_bins_do_not_add_up() -> None:
    with pytest.raises(ValueError, match="edges of both histograms must be equal"):
        Histogram.in_bins(EDGES) + Histogram.in_bins(SHARES)


def test_bounds_are_round() -> None:
    found = Histogram.of(np.array([103, 250, 333]))
    assert found.edges == (100, 200, 300)
    assert found.labels == ("100-199", "200-299", "300-333")
    assert np.diff(Histogram.of(np.arange(1000, 1400)).edges)[0] == 50
    assert Histogram.of(np.array([7, 7])).labels == ("7",)


def test_labels_of_fractions_name_both_bounds() -> None:
    assert Histogram.in_bins(SHARES, [0.2, 0.75]).labels == ("0 to 0.1", "0.1 to 0.25", "0.25 to 0.5", "0.5 to 0.75")


def test_the_summary_names_the_numbers() -> None:
    of_all = Histogram.of(np.array([1, 2, 9])).summary("tokens")
    assert of_all == "3 values, 1 to 9 tokens, mean 4, median 2, 95 % are at most 8.3"
    assert Histogram.in_bins(EDGES, [1, 2000, 9]).summary() == "3 values, 1 to 2,000, mean 670"
    assert Histogram.in_bins(EDGES, [4]).summary() == "1 value, 4"
    assert Histogram.of(np.array([4, 4])).summary("tokens") == "2 values, all 4 tokens"


def test_no_value_is_an_empty_bin() -> None:
    none = Histogram.of(np.empty(0, np.int64))
    assert (none.counts, none.summary(), none.chart("x").bars) == ((0,), "no values", (("0", 0),))
    assert json.loads(json.dumps(Histogram.in_bins(EDGES).to_dict())) == {
        "number": 0,
        "edges": [*EDGES],
        "counts": [0] * 5,
    }


def test_json_has_the_numbers_that_are_known() -> None:
    given, found = Histogram.in_bins(EDGES, [1, 3]).to_dict(), Histogram.of(np.array([1, 3])).to_dict()
    assert given == {"number": 2, "min": 1, "max": 3, "mean": 2, "edges": [*EDGES], "counts": [0, 1, 1, 0, 0]}
    assert (found["median"], found["p95"]) == (2, pytest.approx(2.9))


def test_a_chart_leaves_out_empty_bins_at_the_ends() -> None:
    chart = Histogram.in_bins((0, 1, 2, 4, 8, 16), [1, 1, 1, 1, 2, 3, 9]).chart("sizes", "points")
    assert chart.bars == (("1", 4), ("2-3", 2), ("4-7", 0), ("8-15", 1))
    assert chart.shares == (1, 0.5, 0, 0.25)
    assert chart.note == "7 values, 1 to 9 points, mean 2.57"


def test_the_most_frequent_come_first() -> None:
    chart = ranked("captions", {"cat": 1, "cup": 3, "dog": 1}, most=2)
    assert chart == Chart("captions", (("cup", 3), ("cat", 1)), "2 of 3 are shown")
    assert ranked("captions", {"cat": 1}).note == ""


def test_printed_bars_are_as_long_as_counts() -> None:
    lines = bar_lines(Chart("x", (("1", 8), ("2", 4), ("3", 1)))).splitlines()
    assert [line.split()[0] for line in lines] == ["1", "2", "3"]
    assert [line.split()[-1] for line in lines] == ["8", "4", "1"]
    lengths = [len(re.findall("[█▉▊▋▌▍▎▏]", line)) for line in lines]
    assert lengths == [lengths[0], lengths[0] // 2, lengths[0] // 8]
    assert bar_lines(ranked("nothing", {})) == ""


def test_bars_of_a_page_are_as_long_as_counts() -> None:
    chart = Chart("a < b", (("<b>cup</b>", 2000), ("cat", 0), ("dog", 500)), "<i>")
    section = ElementTree.fromstring(render_template(TEMPLATES / "chart.html", chart=chart))
    assert ["".join(row.itertext()) for row in section.iter("tr")] == ["<b>cup</b>2,000", "cat0", "dog500"]
    assert [bar.get("style") for bar in section.iter("div")] == ["width: 100.0%", "width: 0.0%", "width: 25.0%"]
    assert [section.findtext(tag) for tag in ("h3", "p")] == ["a < b", "<i>"]


def ink(picture: npt.NDArray[np.uint8], color: str) -> npt.NDArray[np.bool_]:
    """Where a picture has a colour, or nearly."""
    wanted = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)])
    near: npt.NDArray[np.bool_] = abs(picture.astype(int) - wanted).max(axis=-1) < 12
    return near


def test_a_curve_is_drawn_where_its_points_are() -> None:
    rising = tuple((x, x) for x in (0.0, 0.5, 1.0))
    picture = draw_curves(Curves("", "score", (("up", rising), ("flat", ((0.0, 0.25), (1.0, 0.25))))), 700)
    assert picture.shape == (516, 700, 3)
    left, right, bottom, top = 68, 668, 456, 56  # the plot, as the template places it
    plot = picture[top:bottom, left:right]
    rows, columns = np.nonzero(ink(plot, CURVE_COLORS[0]))
    assert abs((399 - rows) / 400 - columns / 600).max() < 0.01
    assert columns.min() < 10
    assert columns.max() > 590
    rows, _ = np.nonzero(ink(plot, CURVE_COLORS[1]))
    assert abs((399 - rows) / 400 - 0.25).max() < 0.01
    assert not ink(picture, CURVE_COLORS[2]).any()
    assert ink(picture[:top], CURVE_COLORS[0]).any(), "its name is above"


def test_colors_are_those_of_the_pages() -> None:
    style = (TEMPLATES / "base.html").read_text()
    assert all(f".c{k} {{ color: {color}; }}" in style for k, color in enumerate(CURVE_COLORS))


def test_one_point_is_a_dot() -> None:
    picture = draw_curves(Curves("", "score", (("dot", ((0.5, 0.5),)),)), 350)
    assert ink(picture[20:], CURVE_COLORS[0]).any()
