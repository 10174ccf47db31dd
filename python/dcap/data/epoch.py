"""The plan of an epoch: its samples, rows and steps, all known before an image is opened.

::

    samples   0 1 2 3 4 5 6 7 8          each record once, or as a mixture takes them
    rows      3 8 | 0 5 7 | 1 2 | 4 | 6  packed by their lengths
    steps     rows 1 3 | 0 2 | 4         as many rows each, which cost about the same

With a curriculum, the length of a sample depends on the step that trains on it. Its rows are then made step by step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import numpy.typing as npt

from dcap.augment.schedule import TrainingStep
from dcap.core.errors import ConfigError, TrainingError
from dcap.core.words import counted
from dcap.data.config import DataConfig, Split
from dcap.data.dataset import DenseCaptionDataset
from dcap.data.lengths import EpochLengths, sample_sizes
from dcap.data.mixture import EpochSamples
from dcap.data.packing import RowRules, SampleSizes, epoch_rows, epoch_rows_by_step, ordered_rows
from dcap.data.sample import SampleKey
from dcap.data.steps import Parts, Row, RowCost, Step, balanced_steps, mean_imbalance, ordered_steps, step_of_row


@dataclass(frozen=True, slots=True)
class EpochRules:
    """How samples become rows and rows become steps; the same for all epochs of a run.

    Args:
        rows_per_step: Rows of an optimiser step, over all ranks.
        batch_size: Samples of a row in padded mode. Packing fills rows by length.
        total_steps: Steps of the whole run, which a curriculum goes by. `None`: it stays where it starts.
        cost: The work of a row. It decides how ranks share the rows of a step.
    """

    rows_per_step: int = 1
    batch_size: int = 1
    total_steps: int | None = None
    cost: RowCost = field(default_factory=RowCost)

    def __post_init__(self) -> None:
        for name in ("rows_per_step", "batch_size"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, not {getattr(self, name)}")

    def of_rows(self, data: DataConfig) -> RowRules:
        """Return what a row may hold."""
        return RowRules(data.global_max_length, data.packing_window, None if data.packing else self.batch_size)


@dataclass(frozen=True, eq=False, slots=True)
class EpochPlan:
    """The whole of an epoch before an image is opened: N samples, R rows, S steps.

    Args:
        split: Of which samples.
        epoch: Epoch, from 0.
        samples: The N samples.
        keys: Key of each sample, with its training step under a curriculum.
        sizes: Tokens of each sample, int64 (N,). A sample of 0 tokens is left out.
        rows: For each of the R rows, the positions of its samples in `samples`.
        steps: The S steps in order, each with its rows.
        first_step: Steps that the epochs before took.
        parts: Earlier parts of the epoch that had other numbers of rows per step.
    """

    split: Split
    epoch: int
    samples: EpochSamples
    keys: tuple[SampleKey, ...]
    sizes: SampleSizes
    rows: tuple[tuple[int, ...], ...]
    steps: tuple[Step, ...]
    first_step: int = 0
    parts: Parts = ()

    @property
    def next_step(self) -> int:
        """Steps of the run when the epoch is over."""
        return self.first_step + len(self.steps)

    def key_of(self, index: int, draw: int = 0) -> SampleKey:
        """Return the key by which a run asks for a sample.

        Args:
            index: Its record.
            draw: How many samples of the same record the epoch takes before it.

        Raises:
            ConfigError: The epoch leaves the sample out.
        """
        for step in self.steps:
            for key in (key for row in step.rows for key in row):
                if (key.index, key.draw) == (index, draw):
                    return key
        raise ConfigError(f"sample {index} must be trained on in epoch {self.epoch}, but is left out there")

    def summary(self, num_ranks: int) -> str:
        """Return a line on rows and steps, and on how evenly ranks share them."""
        steps = counted(len(self.steps), "step")
        line = f"{self.split} epoch {self.epoch}: {counted(len(self.rows), 'row')} in {steps}"
        if num_ranks == 1:
            return line
        mean, most = mean_imbalance(self.steps, num_ranks)
        ranks = f"the busiest of {num_ranks} ranks does {mean:.1%} more than their mean"
        return f"{line}; {ranks}, in one step {most:.1%}"


def plan_epoch(
    dataset: DenseCaptionDataset,
    epoch: int,
    rules: EpochRules | None = None,
    *,
    first_step: int | None = None,
    parts: Parts = (),
    samples: EpochSamples | None = None,
    sizes: SampleSizes | None = None,
) -> EpochPlan:
    """Plan an epoch: a pure function of its arguments, the same on every rank.

    Args:
        dataset: Whose samples. Those of ``val`` keep their order.
        epoch: Epoch, from 0.
        rules: How samples become rows and steps. `None`: a step for each row.
        first_step: Steps of the epochs before. `None`: with a curriculum they are planned too; without one they do not
            matter.
        parts: Parts of the epoch that a run made with other numbers of rows per step.
        samples: The samples to plan. `None`: all of the epoch. A curriculum always plans all.
        sizes: Their tokens, where they are known.

    Raises:
        RecordError: As `DenseCaptionDataset.plan`.
        WorkerError: A worker process died.
        TrainingError: No sample is left.
        ConfigError: The data set has no tokenizer.
    """
    dataset.check_tokenizer()
    rules = rules or EpochRules()
    if follows_curriculum(dataset, rules):
        if first_step is None:
            first_step = 0
            for before in range(epoch):
                first_step = plan_epoch(dataset, before, rules, first_step=first_step).next_step
        plan = _planned_by_step(dataset, epoch, rules, first_step, parts)
    else:
        samples = dataset.samples(epoch) if samples is None else samples
        plan = EpochPlan(
            split=dataset.split,
            epoch=epoch,
            samples=samples,
            keys=_keys(samples, epoch),
            sizes=sample_sizes(dataset, epoch) if sizes is None else sizes,
            rows=(),
            steps=(),
            first_step=first_step or 0,
            parts=parts,
        )
        plan = _planned(dataset, plan, rules)
    if not plan.steps:
        raise TrainingError(
            "at least one sample must be left to load; all were dropped, as too long or by preprocessors, or there "
            "are none"
        )
    return plan


def follows_curriculum(dataset: DenseCaptionDataset, rules: EpochRules) -> bool:
    """Whether samples depend on the step that trains on them."""
    return rules.total_steps is not None and bool(dataset.curriculum.phases)


def _planned(dataset: DenseCaptionDataset, plan: EpochPlan, rules: EpochRules) -> EpochPlan:
    """Return a plan with rows and steps of its samples."""
    limits, tokens = rules.of_rows(dataset.data), plan.sizes.tokens
    if plan.split == "val":
        rows = ordered_rows(tokens, limits)
        costs = _costs(dataset, plan.sizes, rows, rules)
        steps = ordered_steps(len(rows), rules.rows_per_step)
    else:
        rows = epoch_rows(tokens, dataset.seed, plan.epoch, limits)
        costs = _costs(dataset, plan.sizes, rows, rules)
        steps = balanced_steps(costs, rules.rows_per_step, dataset.seed, plan.epoch, plan.parts)
    return _with_steps(replace(plan, rows=tuple(map(tuple, rows))), costs, steps)


def _planned_by_step(
    dataset: DenseCaptionDataset, epoch: int, rules: EpochRules, first_step: int, parts: Parts
) -> EpochPlan:
    """Plan the epoch of a curriculum: each row is made for the step that trains on it.

    So the ranks of a step are balanced, but not the steps.
    """
    lengths = EpochLengths(dataset, epoch)
    count = len(lengths.samples)
    sizes = SampleSizes(np.zeros(count, np.int64), np.zeros(count, np.int64))
    where = partial(step_of_row, rows_per_step=rules.rows_per_step, parts=parts)

    def length_at(i: int, step: int) -> int:
        sizes.tokens[i], sizes.image_tokens[i] = lengths.of(i, TrainingStep(step, rules.total_steps))
        return int(sizes.tokens[i])

    rows = epoch_rows_by_step(
        count,
        length_at,
        lambda row: first_step + where(row),
        seed=dataset.seed,
        epoch=epoch,
        rules=rules.of_rows(dataset.data),
        track=lengths.track,
    )
    lengths.report()
    keys = list(_keys(lengths.samples, epoch))
    for k, row in enumerate(rows):
        when = TrainingStep(first_step + where(k), rules.total_steps)
        for i in row:
            keys[i] = replace(keys[i], when=when)
    plan = EpochPlan(
        split=dataset.split,
        epoch=epoch,
        samples=lengths.samples,
        keys=tuple(keys),
        sizes=sizes,
        rows=tuple(map(tuple, rows)),
        steps=(),
        first_step=first_step,
        parts=parts,
    )
    return _with_steps(plan, _costs(dataset, sizes, rows, rules), ordered_steps(len(rows), rules.rows_per_step, parts))


def _keys(samples: EpochSamples, epoch: int) -> tuple[SampleKey, ...]:
    """Return the key of each sample, as it is without a curriculum."""
    pairs = zip(samples.index.tolist(), samples.draw.tolist(), strict=True)
    return tuple(SampleKey(epoch, index, draw=draw) for index, draw in pairs)


def _costs(
    dataset: DenseCaptionDataset, sizes: SampleSizes, rows: Sequence[Sequence[int]], rules: EpochRules
) -> npt.NDArray[np.int64]:
    return rules.cost.of_rows(rows, sizes, padded=not dataset.data.packing)


def _with_steps(plan: EpochPlan, costs: npt.NDArray[np.int64], steps: Sequence[Sequence[int]]) -> EpochPlan:
    """Return a plan with its rows as steps.

    Args:
        plan: A plan that has rows.
        costs: Cost of each row, int64.
        steps: Positions of the rows of each step.
    """
    keys: list[Row] = [tuple(plan.keys[i] for i in row) for row in plan.rows]
    return replace(plan, steps=tuple(Step([keys[i] for i in step], costs[list(step)]) for step in steps))
