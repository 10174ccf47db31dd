"""Plans and loaders of epochs, made in one call."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from dcap.data.dataset import DenseCaptionDataset
from dcap.data.epoch import EpochPlan, EpochRules, plan_epoch
from dcap.data.loader import EpochLoader
from dcap.data.mixture import EpochSamples
from dcap.data.packing import SampleSizes
from dcap.data.sample import SampleKey
from dcap.data.steps import Parts, Step


def loader_of(
    dataset: DenseCaptionDataset,
    epoch: int = 0,
    *,
    rank: int = 0,
    num_ranks: int = 1,
    accumulation: int = 1,
    **more: Any,
) -> EpochLoader:
    """The batches of a rank; `more` are other arguments of `EpochRules`, of `plan_epoch` and of the loader."""
    plan = {name: more.pop(name) for name in ("first_step", "parts") if name in more}
    rules = {name: more.pop(name) for name in ("batch_size", "total_steps") if name in more}
    made = plan_epoch(dataset, epoch, EpochRules(num_ranks * accumulation, **rules), **plan)
    return EpochLoader(dataset, made, rank, num_ranks, **more)


def keys_of(plan: EpochPlan) -> list[SampleKey]:
    """The samples of all rows, in the order of the steps."""
    return [key for step in plan.steps for row in step.rows for key in row]


def bare_plan(epoch: int, rows_of_steps: Sequence[int], parts: Parts = ()) -> EpochPlan:
    """A plan of one sample per row, with so many rows in each step."""
    count = sum(rows_of_steps)
    keys = tuple(SampleKey(epoch, k) for k in range(count))
    ends = np.cumsum([0, *rows_of_steps]).tolist()
    steps = [Step([(key,) for key in keys[a:b]], np.ones(b - a, np.int64)) for a, b in itertools.pairwise(ends)]
    sizes = SampleSizes(np.ones(count, np.int64), np.zeros(count, np.int64))
    rows = tuple((k,) for k in range(count))
    return EpochPlan("train", epoch, EpochSamples.of_all(count), keys, sizes, rows, tuple(steps), 0, parts)
