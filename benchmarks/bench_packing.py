"""Best-fit-decreasing packing against plain Python and TRL, and the balance of ranks; ratios only: machines differ.

Run with ``pytest benchmarks/bench_packing.py --benchmark-only``. Every result is checked before it is timed, and
methods take turns. TRL has no function that only says which sample goes where: its `pack_dataset` sorts, assigns and
moves the tokens. So it is timed twice: its assignment alone, with TRL's own segment tree, and the whole as users call
it.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable
from functools import cache, partial
from importlib.util import find_spec
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from dcap import kernels
from dcap.data.packing import pack_lengths
from dcap.data.steps import RowCost, balanced_steps, ordered_steps
from dcap.kernels import plain
from support.row_mixtures import MIXTURES, imbalance, row_costs
from timing import interleaved, missed

I64 = npt.NDArray[np.int64]
Calls = dict[str, Callable[[], Any]]

CAPACITY = 12_000
PLAIN, TRL = "plain Python, dcap's fallback", "TRL, assignment alone"
TRL_WHOLE = "TRL pack_dataset, which moves tokens too"
WORKLOADS = {"100 000 samples at once": (100_000, 100_000), "100 000 samples in windows of 8192": (100_000, 8192)}
# What fails the benchmark: about half of what an idle machine shows.
FLOORS = {(PLAIN, "dcap"): 35, (TRL, "dcap"): 170}


@cache
def lengths_of(num_samples: int) -> I64:
    """Lognormal, mean about 1460."""
    draws = np.random.default_rng(0).lognormal(np.log(900), 1.0, num_samples)
    return np.clip(np.round(draws), 100, CAPACITY).astype(np.int64)


def packed_plainly(lengths: I64, window: int) -> tuple[I64, int]:
    row_of = np.empty(len(lengths), np.int64)
    return row_of, plain.pack(lengths, CAPACITY, window, row_of)


def packed_by_trl(lengths: I64, window: int) -> tuple[I64, int]:
    """What `trl.data_utils._pack_bfd` does before it moves tokens, written once more around TRL's segment tree."""
    from trl.data_utils import _SegmentTree

    row_of = np.empty(len(lengths), np.int64)
    num_rows = 0
    for start in range(0, len(lengths), window):
        sizes = lengths[start : start + window]
        tree = _SegmentTree(CAPACITY)
        tree.add(CAPACITY)
        rows_with: dict[int, deque[int]] = defaultdict(deque)
        for i in np.argsort(-sizes, kind="stable").tolist():
            size = int(sizes[i])
            room = tree.search(size)
            if room < CAPACITY:
                row = rows_with[room].popleft()
                if not rows_with[room]:
                    tree.remove(room)
            else:
                row, num_rows = num_rows, num_rows + 1
            row_of[start + i] = row
            rows_with[room - size].append(row)
            if room > size:
                tree.add(room - size)
    return row_of, num_rows


def packed_by_trl_dataset(dataset: Any) -> list[list[int]]:
    """The lengths in each row of `pack_dataset` as it is called by default: in batches of 1000."""
    from trl import pack_dataset

    # Without the option, TRL would do the work once and read its cache from then on.
    packed = pack_dataset(dataset, CAPACITY, "bfd", {"load_from_cache_file": False})
    return packed.with_format("numpy")["seq_lengths"]


def lengths_in_rows(packing: tuple[I64, int], lengths: I64) -> list[list[int]]:
    """Longest first in every row, rows in order; every sample is in one and no row overflows."""
    row_of, num_rows = packing
    rows: list[list[int]] = [[] for _ in range(num_rows)]
    for i in np.argsort(-lengths, kind="stable"):
        rows[row_of[i]].append(int(lengths[i]))
    assert sum(map(len, rows)) == len(lengths)
    assert all(0 < sum(row) <= CAPACITY for row in rows)
    return rows


def report(title: str, seconds: dict[str, float], num_samples: int, fill: float) -> str:
    lines = [f"\n{title}: dcap ({kernels.BACKEND}) {seconds['dcap'] * 1e3:.2f} ms, "]
    lines[0] += f"{seconds['dcap'] / num_samples * 1e9:.0f} ns per sample, rows {fill:.4%} full"
    lines += [f"  {name:42s} {value * 1e3:9.2f} ms {value / seconds['dcap']:8.1f}x" for name, value in seconds.items()]
    if find_spec("trl") is None:
        lines.append("  TRL: left out, it is not installed")
    return "\n".join(lines)


@pytest.mark.parametrize("workload", WORKLOADS)
def test_packing(workload: str, benchmark: Callable[..., object], capsys: pytest.CaptureFixture[str]) -> None:
    num_samples, window = WORKLOADS[workload]
    lengths = lengths_of(num_samples)
    packing = pack_lengths(lengths, CAPACITY, window)
    lengths_in_rows((packing.row_of_sample, packing.num_rows), lengths)
    fill = lengths.sum() / CAPACITY / packing.num_rows
    assert fill >= 0.998
    calls: Calls = {
        "dcap": partial(pack_lengths, lengths, CAPACITY, window),
        PLAIN: partial(packed_plainly, lengths, window),
    }
    row_of, num_rows = calls[PLAIN]()
    assert num_rows == packing.num_rows
    assert np.array_equal(row_of, packing.row_of_sample)
    if find_spec("trl") is not None:
        calls[TRL] = partial(packed_by_trl, lengths, window)
        assert packing.num_rows <= len(lengths_in_rows(calls[TRL](), lengths))
    floors = FLOORS if kernels.BACKEND == "cpp" else {}
    seconds = interleaved(calls, floors)
    benchmark(calls["dcap"])
    with capsys.disabled():
        print(report(workload, seconds, num_samples, fill))
    assert missed(seconds, floors) == {}


def test_packing_of_a_whole_dataset(benchmark: Callable[..., object], capsys: pytest.CaptureFixture[str]) -> None:
    """10 000 samples in TRL's batches. What dcap leaves to its loader, tokens, TRL moves here: no ratio is required."""
    pytest.importorskip("trl", reason="installed without the rival")
    from datasets import Dataset, disable_progress_bars

    disable_progress_bars()
    lengths, batch = lengths_of(10_000), 1000
    dataset = Dataset.from_dict({"input_ids": [np.zeros(n, np.int32) for n in lengths.tolist()]})
    packing = pack_lengths(lengths, CAPACITY, batch)
    calls: Calls = {
        "dcap": partial(pack_lengths, lengths, CAPACITY, batch),
        TRL: partial(packed_by_trl, lengths, batch),
        TRL_WHOLE: partial(packed_by_trl_dataset, dataset),
    }
    # The assignment that is timed alone is the one of the whole.
    rows = [row.tolist() for row in calls[TRL_WHOLE]()]
    assert rows == lengths_in_rows(calls[TRL](), lengths)
    assert packing.num_rows <= len(rows)
    seconds = interleaved(calls)
    benchmark(calls["dcap"])
    with capsys.disabled():
        print(report("10 000 samples in windows of 1000", seconds, len(lengths), lengths.sum() / CAPACITY / len(rows)))


@pytest.mark.parametrize("frozen", [False, True], ids=["all towers train", "frozen vision tower"])
def test_balance_of_ranks(frozen: bool, benchmark: Callable[..., object], capsys: pytest.CaptureFixture[str]) -> None:
    """100 000 samples in rows of 12 000 tokens: how much more the busiest rank of a step does than the mean."""
    lines = [f"\nimbalance of ranks, mean over the steps (largest); {'frozen' if frozen else 'trained'} vision tower"]
    lines.append(f"  {'samples':24s} {'ranks':>5s} {'rows each':>9s} {'dealt in turn':>18s} {'dcap':>18s}")
    cost = RowCost().frozen_vision() if frozen else RowCost()
    for mixture in MIXTURES:
        costs = row_costs(mixture, 100_000, cost)
        for ranks, rows_each in product((2, 8, 64), (1, 4)):
            size = ranks * rows_each
            dealt = imbalance(costs, ordered_steps(len(costs), size), ranks, dealt=True)
            even = imbalance(costs, balanced_steps(costs, size, 0, 0), ranks)
            texts = [f"{np.mean(values):8.2%} ({max(values):7.1%})" for values in (dealt, even)]
            lines.append(f"  {mixture:24s} {ranks:5d} {rows_each:9d} " + " ".join(texts))
            assert np.mean(even) < 0.05
    costs = row_costs("photos", 100_000, cost)
    benchmark(partial(balanced_steps, costs, 8, 0, 0))
    with capsys.disabled():
        print("\n".join(lines))
