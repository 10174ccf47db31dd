from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dcap.core.errors import GeometryError
from dcap.kernels import plain
from support.kernel_calls import assert_same_bits

I64 = npt.NDArray[np.int64]
LARGEST = 2**63 - 1
with_backend = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def pack(backend: ModuleType, lengths: npt.ArrayLike, capacity: int, window: int | None = None) -> tuple[I64, int]:
    """Rows from an output that holds something else before."""
    sizes = np.asarray(lengths, np.int64)
    row_of = np.full(len(sizes), -7, np.int64)
    num_rows = backend.pack(sizes, capacity, window or max(1, len(sizes)), row_of)
    return row_of, num_rows


def assert_legal(packing: tuple[I64, int], lengths: npt.ArrayLike, capacity: int) -> None:
    """Every sample has a row, every row a sample, and none overflows."""
    row_of, num_rows = packing
    assert len(row_of) == 0 or row_of.min() == 0
    fill = [0] * num_rows
    for row, length in zip(row_of.tolist(), np.asarray(lengths).tolist(), strict=True):
        fill[row] += length
    assert min(fill, default=1) > 0
    assert max(fill, default=0) <= capacity


@st.composite
def tasks(draw: st.DrawFn) -> tuple[list[int], int, int]:
    """Lengths, capacity and window; lengths of any size, of few values, or near each other far from zero."""
    capacity = draw(st.one_of(st.integers(1, 40), st.integers(1, 20_000), st.integers(1, LARGEST)))
    low = draw(st.integers(1, capacity))
    values = draw(st.lists(st.integers(1, capacity), min_size=1, max_size=4))
    length = draw(
        st.sampled_from(
            [
                st.integers(1, capacity),
                st.integers(1, max(1, capacity // 4)),
                st.sampled_from(values),
                st.integers(low, min(low + 50, capacity)),
            ]
        )
    )
    return draw(st.lists(length, max_size=150)), capacity, draw(st.sampled_from([1, 2, 7, 64, 1000]))


@given(tasks())
@with_backend
def test_backends_agree(core: ModuleType, task: tuple[list[int], int, int]) -> None:
    lengths, capacity, window = task
    row_of, num_rows = pack(core, lengths, capacity, window)
    expected = pack(plain, lengths, capacity, window)
    assert num_rows == expected[1]
    assert_same_bits((row_of,), (expected[0],))
    assert_legal((row_of, num_rows), lengths, capacity)


@pytest.mark.parametrize("window", [1, 3, 512, 10_000])
@pytest.mark.parametrize("longest", [12, 2500, 12_000, 2**31 - 1])
def test_thousands_of_lengths_too(core: ModuleType, longest: int, window: int) -> None:
    """Enough for heaps of many rows, for windows of another size at the end, and for a table with a search in it."""
    rng = np.random.default_rng(longest)
    for capacity in (longest, 2**31 - 1):
        lengths = rng.integers(1, longest, 5000, endpoint=True)
        expected = pack(plain, lengths, capacity, window)
        row_of, num_rows = pack(core, lengths, capacity, window)
        assert num_rows == expected[1]
        assert_same_bits((row_of,), (expected[0],))


@given(st.lists(st.lists(st.integers(1, 999), max_size=6), min_size=1, max_size=60), st.randoms())
@with_backend
def test_rows_are_at_most_eleven_ninths_of_the_best(untwinned: ModuleType, cuts: list[list[int]], random: Any) -> None:
    """Full rows cut into samples: as many rows as before are the best that there is."""
    pieces = [np.diff([0, *sorted(set(row)), 1000]).tolist() for row in cuts]
    lengths = [length for row in pieces for length in row]
    random.shuffle(lengths)
    _, num_rows = pack(untwinned, lengths, 1000)
    assert len(cuts) <= num_rows
    assert 9 * num_rows <= 11 * len(cuts) + 9


def test_the_fullest_row_first_and_of_equal_ones_the_oldest(untwinned: ModuleType) -> None:
    assert pack(untwinned, [60, 50, 40, 35, 15], 100)[0].tolist() == [0, 1, 0, 1, 1]
    assert pack(untwinned, [70, 70, 60, 30, 30, 30], 100)[0].tolist() == [0, 1, 2, 0, 1, 2]
    # The room of row 1 falls to 5 before that of row 0 does.
    assert pack(untwinned, [70, 60, 35, 25, 5, 5], 100)[0].tolist() == [0, 1, 1, 0, 0, 1]


def test_no_lengths_make_no_rows(untwinned: ModuleType) -> None:
    assert pack(untwinned, [], 100, 5)[1] == 0


def test_lengths_as_long_as_a_row_lie_alone(untwinned: ModuleType) -> None:
    for capacity in (1, 100, LARGEST):
        row_of, num_rows = pack(untwinned, [capacity] * 300, capacity)
        assert num_rows == 300
        assert row_of.tolist() == list(range(300))


def test_lengths_of_one_fill_rows_in_order(untwinned: ModuleType) -> None:
    row_of, num_rows = pack(untwinned, np.ones(1001), 100)
    assert num_rows == 11
    assert row_of.tolist() == [i // 100 for i in range(1001)]


@pytest.mark.parametrize("capacity", [2**31 - 1, 2**31, LARGEST])
def test_memory_does_not_grow_with_the_capacity(untwinned: ModuleType, capacity: int) -> None:
    half = capacity // 2
    row_of, num_rows = pack(untwinned, [half, 1, capacity, half + 1, half, 1], capacity)
    assert num_rows == 3
    assert row_of.tolist() == [1, 2, 0, 1, 2, 2] if capacity % 2 else [1, 2, 0, 2, 1, 2]


def test_a_window_of_one_and_one_beyond_the_end(untwinned: ModuleType) -> None:
    lengths = [30, 50, 20, 100, 1]
    assert pack(untwinned, lengths, 100, 1)[0].tolist() == [0, 1, 2, 3, 4]
    for window in (5, 6, 10_000, LARGEST):
        assert pack(untwinned, lengths, 100, window)[0].tolist() == pack(untwinned, lengths, 100)[0].tolist()


def test_many_rows_wait_for_one_length(core: ModuleType) -> None:
    """Every long sample has a row of its own; then short ones fill them, the fullest row first."""
    long = np.random.default_rng(3).permutation(np.arange(500_001, 1_000_001))[:150_000]
    num_short = 2_000_000
    row_of, num_rows = pack(core, np.concatenate([long, np.full(num_short, 7)]), 1_000_007)
    assert num_rows == 150_000
    rank = np.argsort(np.argsort(-long))
    assert np.array_equal(row_of[:150_000], rank)
    ends = np.cumsum((1_000_007 - np.sort(long)[::-1]) // 7)
    assert np.array_equal(row_of[150_000:], np.searchsorted(ends, np.arange(num_short), "right"))


def test_backends_agree_on_many_lengths(core: ModuleType) -> None:
    rng = np.random.default_rng(11)
    lengths = np.clip(np.round(rng.lognormal(np.log(900), 1.0, 20_000)), 100, 12_000).astype(np.int64)
    for window in (None, 8192, 100):
        first, second = (pack(backend, lengths, 12_000, window) for backend in (core, plain))
        assert first[1] == second[1]
        assert_same_bits(first[:1], second[:1])


def test_several_threads_at_once(untwinned: ModuleType) -> None:
    tasks = [np.random.default_rng(seed).integers(1, 3000, 4000) for seed in range(8)]
    with ThreadPoolExecutor(4) as pool:
        got = list(pool.map(lambda lengths: pack(untwinned, lengths, 12_000, 1024)[0], tasks))
    assert_same_bits(tuple(got), tuple(pack(untwinned, lengths, 12_000, 1024)[0] for lengths in tasks))


@pytest.mark.parametrize("wrong", [0, -1, 101, LARGEST, -LARGEST - 1])
def test_a_length_out_of_range_is_refused(untwinned: ModuleType, wrong: int) -> None:
    for at in range(3):
        lengths = np.array([5, 100, 1])
        lengths[at] = wrong
        out = np.full(3, -7)
        with pytest.raises(GeometryError, match="numbers the values"):
            untwinned.pack(lengths, 100, 2, out)
        assert out.tolist() == [-7] * 3


def test_a_window_below_one_or_an_output_of_another_length_is_refused(untwinned: ModuleType) -> None:
    for window in (0, -1, -LARGEST):
        with pytest.raises(GeometryError, match="numbers the values"):
            untwinned.pack(np.array([1, 2]), 10, window, np.empty(2, np.int64))
    for size in (0, 1, 3):
        with pytest.raises(GeometryError, match="lengths"):
            untwinned.pack(np.array([1, 2]), 10, 5, np.empty(size, np.int64))


def test_wrong_dtypes_and_strided_arrays_are_type_errors(untwinned: ModuleType) -> None:
    lengths, out = np.arange(1, 9), np.empty(8, np.int64)
    for bad in (lengths.astype(np.int32), lengths.astype(float), np.arange(1, 17)[::2], lengths.tolist(), None):
        with pytest.raises(TypeError):
            untwinned.pack(bad, 10, 8, out)
    for bad in (out.astype(np.int32), out.astype(float), np.empty(16, np.int64)[::2], None):
        with pytest.raises(TypeError):
            untwinned.pack(lengths, 10, 8, bad)


def test_a_read_only_output_is_refused(untwinned: ModuleType) -> None:
    out = np.empty(2, np.int64)
    out.flags.writeable = False
    with pytest.raises(ValueError, match="not writeable"):
        untwinned.pack(np.array([1, 2]), 10, 2, out)
