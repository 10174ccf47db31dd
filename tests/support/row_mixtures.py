"""Lengths of samples as real data sets mix them, for tests and benchmarks of the balance between ranks."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from dcap.data.packing import RowRules, SampleSizes, epoch_rows
from dcap.data.steps import RowCost, share_rows

CAPACITY = 12_000


def _sizes(image: np.ndarray, text: np.ndarray) -> SampleSizes:
    image, text = image.astype(np.int64), np.clip(text, 20, CAPACITY - 4096).astype(np.int64)
    return SampleSizes(image + text, image)


def photos(rng: np.random.Generator, count: int) -> SampleSizes:
    """Photos of up to a megapixel with answers of all lengths."""
    image = np.clip(rng.lognormal(np.log(500), 0.6, count), 64, 1024)
    return _sizes(image, rng.lognormal(np.log(400), 1.0, count))


def two_kinds(rng: np.random.Generator, count: int) -> SampleSizes:
    """Half large documents with short answers, half small pictures with long ones: rows differ most."""
    large = rng.random(count) < 0.5
    image = np.where(large, rng.integers(900, 4096, count), rng.integers(64, 300, count))
    return _sizes(image, np.where(large, rng.integers(20, 300, count), rng.lognormal(np.log(1500), 0.8, count)))


def some_text(rng: np.random.Generator, count: int) -> SampleSizes:
    """A fifth without an image."""
    image = np.where(rng.random(count) < 0.2, 0, rng.integers(64, 1024, count))
    return _sizes(image, rng.lognormal(np.log(500), 1.0, count))


MIXTURES: dict[str, Callable[[np.random.Generator, int], SampleSizes]] = {
    "photos": photos,
    "large and small images": two_kinds,
    "a fifth text alone": some_text,
}


def row_costs(mixture: str, count: int, cost: RowCost) -> np.ndarray:
    """Return the cost of each row of an epoch, in its shuffled order."""
    sizes = MIXTURES[mixture](np.random.default_rng(0), count)
    return cost.of_rows(epoch_rows(sizes.tokens, 0, 0, RowRules(CAPACITY, 8192)), sizes)


def imbalance(costs: np.ndarray, steps: list[list[int]], num_ranks: int, dealt: bool = False) -> list[float]:
    """Return the costliest rank over the mean, less 1, of all steps that have a row for each rank.

    Args:
        costs: Of the rows.
        steps: Rows of each step.
        num_ranks: How many share a step.
        dealt: Deal the rows of a step in turn instead.
    """
    out = []
    for step in steps:
        if len(step) % num_ranks == 0:
            here = costs[step]
            loads = here.reshape(-1, num_ranks).sum(0)
            if not dealt:
                loads = np.array([here[share].sum() for share in share_rows(here, num_ranks)])
            out.append(float(loads.max() / loads.mean()) - 1.0)
    return out
