"""Steps: the rows of each optimiser step, and how its ranks share them.

::

    rows, shuffled      7 2 9 4 1 8 3 6 | 5          cost of each row; 2 rows a step, a window of 4 steps
    sorted              1 2 | 3 4 | 6 7 | 8 9 | 5    rows of one step cost about the same
    steps, shuffled     6 7 | 1 2 | 8 9 | 3 4 | 5    the last, smaller step stays the last

The rows of a step depend on the seed, the epoch and the rows per step. The number of ranks decides only which rank
takes which row, so it does not change the loss of a step. A row moves within its window of `WINDOW_STEPS` steps, so
each window holds the rows that the plain shuffle gives it.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from dcap.core.random import generator
from dcap.data.packing import SampleSizes
from dcap.data.sample import SampleKey

Row = tuple[SampleKey, ...]
Parts = tuple[tuple[int, int], ...]
"""Parts of an epoch that a run made with other numbers of rows per step: rows per step and number of steps of each."""

WINDOW_STEPS = 16
"""A larger number balances the ranks better; a smaller one keeps the order closer to the shuffle."""
_STEP_PURPOSE = 4


# Multiply-adds of one forward pass of Qwen3-VL-4B, from its config.json.
# Language model: 36 layers of 2560; 32 query and 8 key-value heads of 128; gated MLP of 9728.
_TOKEN = 36 * (2 * 2560 * 32 * 128 + 2 * 2560 * 8 * 128 + 3 * 2560 * 9728)
_TOKEN_SQUARED = 36 * (2 * 32 * 128) / 2  # scores and weighted sum; half of the pairs are masked
# Vision tower: 24 blocks of 1024, MLP of 4096; 4 patches become one image token.
_PATCH = 24 * (4 * 1024 * 1024 + 2 * 1024 * 4096)
_PATCH_SQUARED = 24 * 2 * 1024
_MERGE = (1 + 3) * (4096 * 4096 + 4096 * 2560)  # the merger and three deepstack mergers
_FORWARD_SHARE = 1 / 3


@dataclass(frozen=True, slots=True)
class RowCost:
    """Cost of samples, in tokens: 1 is one token's way through the linear layers of the language model.

    ::

        tokens + token_squared * tokens^2 + image_token * image_tokens + image_token_squared * image_tokens^2

    The squares are attention, which a packed row computes within each sample, and the vision tower within each image.
    The defaults are ratios of multiply-adds in Qwen3-VL-4B with all towers training; for another size of the model
    they differ a little, and only the balance depends on them, never a result.
    """

    token_squared: float = _TOKEN_SQUARED / _TOKEN
    """4.1e-5: attention doubles the cost of a sample of 25 000 tokens."""
    image_token: float = (4 * _PATCH + _MERGE) / _TOKEN
    """0.36, with all four patches and the mergers."""
    image_token_squared: float = 16 * _PATCH_SQUARED / _TOKEN
    """2.2e-4: no image token is masked for another."""

    def frozen_vision(self) -> RowCost:
        """Return the cost where the vision tower has no backward pass, which is two thirds of the work."""
        return replace(
            self,
            image_token=self.image_token * _FORWARD_SHARE,
            image_token_squared=self.image_token_squared * _FORWARD_SHARE,
        )

    def of_samples(self, tokens: npt.NDArray[np.int64], image_tokens: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return the cost of each sample, int64 (N,): sums of whole numbers are the same on every rank's processor."""
        language = tokens + self.token_squared * np.square(tokens, dtype=np.float64)
        vision = self.image_token * image_tokens
        whole = language + (vision + self.image_token_squared * np.square(image_tokens, dtype=np.float64))
        return np.rint(whole).astype(np.int64)

    def of_rows(self, rows: Sequence[Sequence[int]], sizes: SampleSizes, padded: bool = False) -> npt.NDArray[np.int64]:
        """Return the cost of each row, int64.

        Args:
            rows: Samples of each row; none is empty.
            sizes: Of all samples.
            padded: Whether a row is a batch in which every sample is as long as the longest.
        """
        if not rows:
            return np.empty(0, np.int64)
        members = np.concatenate([np.asarray(row, np.int64) for row in rows])
        counts = np.array([len(row) for row in rows])
        starts = np.cumsum(counts) - counts
        tokens = sizes.tokens[members]
        if padded:
            tokens = np.repeat(np.maximum.reduceat(tokens, starts), counts)
        summed: npt.NDArray[np.int64] = np.add.reduceat(self.of_samples(tokens, sizes.image_tokens[members]), starts)
        return summed


@dataclass(frozen=True, eq=False, slots=True)
class Step:
    """The rows of one optimiser step.

    Args:
        rows: At least one.
        costs: Of each row, int64.
    """

    rows: list[Row]
    costs: npt.NDArray[np.int64]

    def filled(self, num_ranks: int) -> Step:
        """Return the step with as many rows for each rank: a filler is a real row whose loss weighs nothing."""
        missing = -len(self.rows) % num_ranks
        shortest = min(range(len(self.rows)), key=lambda i: len(self.rows[i]))
        filler = tuple(replace(key, filler=True) for key in self.rows[shortest])
        costs = np.append(self.costs, np.full(missing, self.costs[shortest]))
        return Step(self.rows + [filler] * missing, costs)

    def shares(self, num_ranks: int) -> list[list[Row]]:
        """Return the rows of each rank, equally many, in the order of the step."""
        filled = self.filled(num_ranks)
        return [[filled.rows[i] for i in share] for share in share_rows(filled.costs, num_ranks)]

    def imbalance(self, num_ranks: int) -> float:
        """Return the largest cost of a rank divided by the mean, minus 1: the share of time that the others wait."""
        costs = self.filled(num_ranks).costs
        loads = np.array([costs[share].sum() for share in share_rows(costs, num_ranks)])
        return float(loads.max() / loads.mean()) - 1.0


def share_rows(costs: npt.NDArray[np.int64], num_ranks: int) -> list[list[int]]:
    """Return the rows of each rank, ascending. The costliest go first, each to the cheapest rank with room.

    Args:
        costs: Of each row, int64 (n,); n is a multiple of `num_ranks`.
        num_ranks: Each takes n / num_ranks rows.

    Source: longest processing time first, Graham 1969, with a bound on the number of jobs of a machine.
    """
    room = len(costs) // num_ranks
    shares: list[list[int]] = [[] for _ in range(num_ranks)]
    ranks = [(0, rank) for rank in range(num_ranks)]
    for row in np.argsort(-costs, kind="stable").tolist():
        load, rank = heapq.heappop(ranks)
        shares[rank].append(row)
        if len(shares[rank]) < room:
            heapq.heappush(ranks, (load + int(costs[row]), rank))
    return [sorted(share) for share in shares]


def step_of_row(row: int, rows_per_step: int, parts: Parts = ()) -> int:
    """Return the step, within its epoch, of the row at a position, where rows keep their order."""
    steps = 0
    for size, count in parts:
        if row < size * count:
            return steps + row // size
        row, steps = row - size * count, steps + count
    return steps + row // rows_per_step


def ordered_steps(num_rows: int, rows_per_step: int, parts: Parts = ()) -> list[list[int]]:
    """Return the rows of each step of an epoch whose rows keep their order."""
    steps: list[list[int]] = []
    for row in range(num_rows):
        if step_of_row(row, rows_per_step, parts) == len(steps):
            steps.append([])
        steps[-1].append(row)
    return steps


def balanced_steps(
    costs: npt.NDArray[np.int64], rows_per_step: int, seed: int, epoch: int, parts: Parts = ()
) -> list[list[int]]:
    """Return the rows of each step of an epoch, each row once: a pure function of the arguments.

    Where the rows per step changed in the middle of the epoch, the steps made before come first, and the rows that are
    left are grouped anew.

    Args:
        costs: Of each row, int64, in the shuffled order.
        rows_per_step: Of all steps but the last, which may have fewer.
        seed: Run seed.
        epoch: Epoch, from 0.
        parts: Parts of the epoch that were made before.
    """
    left = np.arange(len(costs))
    steps: list[list[int]] = []
    whole = [*parts, (rows_per_step, math.ceil(len(costs) / rows_per_step))]
    for part, (size, count) in enumerate(whole):
        made = _grouped(costs[left], size, generator(seed, epoch, part, _STEP_PURPOSE))[:count]
        steps += [left[step].tolist() for step in made]
        left = np.delete(left, np.concatenate([np.empty(0, np.int64), *made]))
    return steps


def _grouped(costs: npt.NDArray[np.int64], size: int, rng: np.random.Generator) -> list[npt.NDArray[np.int64]]:
    whole = len(costs) // size * size
    steps: list[npt.NDArray[np.int64]] = []
    for begin in range(0, whole, WINDOW_STEPS * size):
        window = np.arange(begin, min(begin + WINDOW_STEPS * size, whole))
        if size > 1:
            window = window[np.argsort(costs[window], kind="stable")]
        steps += list(rng.permutation(window.reshape(-1, size)))
    return [*steps, np.arange(whole, len(costs))] if whole < len(costs) else steps


def mean_imbalance(steps: Sequence[Step], num_ranks: int) -> tuple[float, float]:
    """Return the mean and the largest imbalance of the ranks over steps."""
    values = [step.imbalance(num_ranks) for step in steps]
    return float(np.mean(values)), max(values)
