"""Loading: the rows of an epoch, shared out over ranks and steps, made by worker processes.

::

    steps of an epoch   r0 r1 r2 r3 | r4 r5 r6 r7 | r8 r9        2 ranks, 2 micro-batches: 4 rows a step
    rank 0              r0       r3 |    r5 r6    | r8
    rank 1                 r1 r2    | r4       r7 |    r9

`dcap.data.steps` says which rows form a step and which rank takes which, so that ranks wait little for each other. A
row that is missing in the last step is a filler: a real row whose loss weighs nothing, so every rank takes part in
every step and no sample counts twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Dataset

from dcap.augment.schedule import TrainingStep
from dcap.core.errors import ConfigError, DcapError, ImageError, TrainingError
from dcap.core.log import get_logger
from dcap.core.words import counted
from dcap.data.collate import Batch, PackingCollator, PaddingCollator, PatchType
from dcap.data.dataset import DenseCaptionDataset
from dcap.data.lengths import EpochLengths
from dcap.data.mixture import EpochSamples
from dcap.data.packing import RowRules, SampleSizes, epoch_rows, epoch_rows_by_step, ordered_rows
from dcap.data.sample import Sample, SampleKey
from dcap.data.steps import Row, RowCost, Segments, Step, balanced_steps, mean_imbalance, ordered_steps, step_of_row
from dcap.data.workers import from_workers

logger = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Made:
    """What a worker made of a row, and the images that it had to leave out."""

    batch: Batch
    skipped: tuple[str, ...] = ()

    def pin_memory(self) -> _Made:
        """Move the batch to page-locked memory; torch's loader looks into no class that does not say how."""
        pinned = {k: v.pin_memory() if isinstance(v, torch.Tensor) else v for k, v in self.batch.items()}
        return replace(self, batch=cast("Batch", pinned))


class _Rows(Dataset[_Made | DcapError]):
    """Rows by position; an error travels to the trainer as a value, so that its message arrives unwrapped."""

    def __init__(
        self, dataset: DenseCaptionDataset, collator: PackingCollator | PaddingCollator, rows: Sequence[Row]
    ) -> None:
        self.dataset, self.collator, self.rows = dataset, collator, rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: int) -> _Made | DcapError:
        try:
            return self._made(self.rows[i])
        except DcapError as error:
            return error

    def _made(self, row: Row) -> _Made:
        samples: list[Sample] = []
        skipped: list[str] = []
        for key in row:
            try:
                samples.append(self.dataset[key])
            except ImageError as error:
                if self.dataset.data.on_bad_record == "error":
                    raise
                skipped.append(str(error))
        return _Made(self.collator(samples or [self.dataset.filler()]), tuple(skipped))


@dataclass(frozen=True)
class RowLoader:
    """The batches of one rank.

    Args:
        dataset: Training or validation samples.
        rank: This process.
        world_size: Number of processes.
        accumulation: Micro-batches per optimiser step and rank.
        batch_size: Samples per batch in padded mode; packing makes its own rows.
        pin_memory: Whether batches go through page-locked memory; for CUDA.
        total_steps: Steps of the whole run, which a curriculum goes by; without them it stays where it starts.
        on_skip: Called with the message of each image that could not be decoded, where ``on_bad_record`` is ``skip``.
        cost: Measure of the work of a row.
        behind: An epoch, and its parts that were trained on with other numbers of rows per step.
    """

    dataset: DenseCaptionDataset
    rank: int = 0
    world_size: int = 1
    accumulation: int = 1
    batch_size: int = 1
    pin_memory: bool = False
    total_steps: int | None = None
    on_skip: Callable[[str], None] = logger.warning
    cost: RowCost = field(default_factory=RowCost)
    behind: tuple[int, Segments] = (0, ())

    @cached_property
    def _collator(self) -> PackingCollator | PaddingCollator:
        config = self.dataset.data
        if config.packing:
            return PackingCollator(config.global_max_length, self.patch_dtype)
        return PaddingCollator(config.global_max_length, self.dataset.pad_id, self.patch_dtype)

    @property
    def patch_dtype(self) -> PatchType:
        """The format of the patches in batches, by ``data.patch_dtype``."""
        config = self.dataset.data
        if config.patch_dtype == "auto":
            return "uint8" if config.num_workers or self.pin_memory else "float32"
        return config.patch_dtype

    def planned_for(self, total_steps: int) -> RowLoader:
        """Return the loader of a run of so many steps; itself where nothing depends on them."""
        return replace(self, total_steps=total_steps) if self.dataset.curriculum.phases else self

    @cached_property
    def _steps_of_epoch(self) -> dict[tuple[int, int], list[Step]]:
        return {}

    def key(self, epoch: int, index: int, draw: int = 0) -> SampleKey:
        """Return what a run asks for when it trains on a sample in an epoch, with the step that does.

        With a curriculum, all epochs before are planned.

        Raises:
            ConfigError: The sample is left out in that epoch.
        """
        if not self.has_curriculum:
            return SampleKey(epoch, index, draw=draw)
        first_step = 0
        for before in range(epoch):
            first_step += self.steps_per_epoch(before, first_step)
        for row in self.rows(epoch, first_step):
            for key in row:
                if (key.index, key.draw) == (index, draw):
                    return key
        raise ConfigError(f"sample {index} must be trained on in epoch {epoch}, and is left out there")

    def rows(self, epoch: int, first_step: int = 0) -> list[Row]:
        """Return all rows of an epoch, over all ranks, in the order of the steps; arguments as `steps`."""
        return [row for step in self.steps(epoch, first_step) for row in step.rows]

    def steps(self, epoch: int, first_step: int = 0) -> list[Step]:
        """Return the steps of an epoch: a pure function of (seed, epoch, rows per step, first_step) and `behind`.

        Args:
            epoch: Epoch, from 0.
            first_step: Steps that the epochs before took, for a curriculum.
        """
        if (epoch, first_step) not in self._steps_of_epoch:
            steps = self._steps_by_step(epoch, first_step) if self.has_curriculum else self._plain_steps(epoch)
            self._steps_of_epoch.clear()
            self._steps_of_epoch[epoch, first_step] = steps
        return self._steps_of_epoch[epoch, first_step]

    def imbalance(self, epoch: int, step: int, first_step: int = 0) -> float:
        """Return by how much the slowest rank of a step exceeds the mean of all; arguments as `steps`."""
        return self.steps(epoch, first_step)[step].imbalance(self.world_size)

    def summary(self, epoch: int, first_step: int = 0) -> str:
        """Return a line on an epoch's rows and how evenly ranks share them; arguments as `steps`."""
        steps = self.steps(epoch, first_step)
        rows = sum(len(step.rows) for step in steps)
        line = f"{self.dataset.split} epoch {epoch}: {counted(rows, 'row')} in {counted(len(steps), 'step')}"
        if self.world_size == 1:
            return line
        mean, most = mean_imbalance(steps, self.world_size)
        ranks = f"the busiest of {self.world_size} ranks does {mean:.1%} more than their mean"
        return f"{line}; {ranks}, in one step {most:.1%}"

    @property
    def _rows_per_step(self) -> int:
        return self.world_size * self.accumulation

    def _segments(self, epoch: int) -> Segments:
        return self.behind[1] if self.behind[0] == epoch else ()

    @property
    def has_curriculum(self) -> bool:
        """Whether what a sample is depends on the step that trains on it."""
        return self.total_steps is not None and bool(self.dataset.curriculum.phases)

    @property
    def rules(self) -> RowRules:
        """What a row may hold."""
        config = self.dataset.data
        return RowRules(config.global_max_length, config.packing_window, None if config.packing else self.batch_size)

    def _plain_steps(self, epoch: int) -> list[Step]:
        sizes, seed = self.dataset.sizes(epoch), self.dataset.seed
        if self.dataset.split == "val":
            members = ordered_rows(sizes.tokens, self.rules)
            steps = ordered_steps(len(members), self._rows_per_step)
        else:
            members = epoch_rows(sizes.tokens, seed, epoch, self.rules)
            costs = self._costs(members, sizes)
            steps = balanced_steps(costs, self._rows_per_step, seed, epoch, self._segments(epoch))
        keys = _keys(self.dataset.samples(epoch), epoch)
        rows = [tuple(keys(i) for i in row) for row in members]
        return self._made(rows, self._costs(members, sizes), steps)

    def _steps_by_step(self, epoch: int, first_step: int) -> list[Step]:
        """Rows are made for the very step that they stand in, so only its ranks are balanced, not the steps."""
        lengths = EpochLengths(self.dataset, epoch)
        count = len(lengths.samples)
        sizes = SampleSizes(np.zeros(count, np.int64), np.zeros(count, np.int64))
        where = partial(step_of_row, rows_per_step=self._rows_per_step, segments=self._segments(epoch))

        def length_at(i: int, step: int) -> int:
            sizes.tokens[i], sizes.image_tokens[i] = lengths.of(i, TrainingStep(step, self.total_steps))
            return int(sizes.tokens[i])

        members = epoch_rows_by_step(
            count,
            length_at,
            lambda row: first_step + where(row),
            self.dataset.seed,
            epoch,
            self.rules,
            lengths.track,
        )
        lengths.report()
        whens = [TrainingStep(first_step + where(k), self.total_steps) for k in range(len(members))]
        keys = _keys(lengths.samples, epoch)
        rows = [tuple(replace(keys(i), when=when) for i in row) for row, when in zip(members, whens, strict=True)]
        steps = ordered_steps(len(rows), self._rows_per_step, self._segments(epoch))
        return self._made(rows, self._costs(members, sizes), steps)

    def _costs(self, members: list[list[int]], sizes: SampleSizes) -> npt.NDArray[np.int64]:
        return self.cost.of_rows(members, sizes, padded=not self.dataset.data.packing)

    @staticmethod
    def _made(rows: list[Row], costs: npt.NDArray[np.int64], steps: list[list[int]]) -> list[Step]:
        return [Step([rows[i] for i in step], costs[step]) for step in steps]

    def steps_per_epoch(self, epoch: int, first_step: int = 0) -> int:
        """Return the optimiser steps of an epoch; arguments as `rows`.

        Raises:
            TrainingError: No sample is left to train on.
        """
        steps = len(self.steps(epoch, first_step))
        if not steps:
            raise TrainingError(
                "at least one sample must be left to load; all were dropped, as too long or by preprocessors, or there "
                "are none"
            )
        return steps

    def steps_from(self, epoch: int, step: int, first_step: int = 0) -> Iterator[list[Batch]]:
        """Yield this rank's micro-batches of each optimiser step of an epoch, from its step `step` on.

        Raises:
            DcapError: What a worker met, with the sample's file and line.
            WorkerError: A worker process died.
        """
        self.steps_per_epoch(epoch, first_step)
        shares = [each.shares(self.world_size)[self.rank] for each in self.steps(epoch, first_step)[step:]]
        batches = self._batches([row for share in shares for row in share])
        for share in shares:
            yield [next(batches) for _ in share]

    def batches(self) -> Iterator[Batch]:
        """Yield this rank's validation batches, in file order.

        Raises:
            DcapError: As `steps_from`.
        """
        for step in self.steps_from(0, 0):
            yield from step

    def _batches(self, rows: Sequence[Row]) -> Iterator[Batch]:
        made = _Rows(self.dataset, self._collator, rows)
        for each in from_workers(made, self.dataset.data.num_workers, self.pin_memory):
            for message in each.skipped:
                self.on_skip(message)
            yield each.batch


def _keys(samples: EpochSamples, epoch: int) -> Callable[[int], SampleKey]:
    """Return what makes the key of a sample from its position in the epoch."""
    index, draw = samples.index.tolist(), samples.draw.tolist()
    return lambda i: SampleKey(epoch, index[i], draw=draw[i])
