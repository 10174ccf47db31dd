"""Loading: the rows of an epoch, shared out over ranks and steps, made by worker processes.

::

    rows of an epoch   r0 r1 r2 r3 | r4 r5 r6 r7 | r8 r9        2 ranks, 2 micro-batches: 4 rows a step
    rank 0             r0    r2    | r4    r6    | r8
    rank 1                r1    r3 |    r5    r7 |    r9

A row that is missing in the last step is a filler: a real row whose loss weighs nothing, so every rank takes part in
every step and no sample counts twice.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import cast

import torch
from torch.utils.data import Dataset

from dcap.augment.schedule import TrainingStep
from dcap.core.errors import ConfigError, DcapError, ImageError, TrainingError
from dcap.core.log import get_logger
from dcap.data.collate import Batch, PackingCollator, PaddingCollator, PatchType
from dcap.data.dataset import DenseCaptionDataset, SampleKey
from dcap.data.lengths import EpochLengths
from dcap.data.mixture import EpochSamples
from dcap.data.packing import RowRules, epoch_rows, epoch_rows_by_step, ordered_rows
from dcap.data.sample import Sample
from dcap.data.workers import from_workers

logger = get_logger(__name__)

Row = tuple[SampleKey, ...]


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
                if self.dataset.config.data.on_bad_record == "error":
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
    """

    dataset: DenseCaptionDataset
    rank: int = 0
    world_size: int = 1
    accumulation: int = 1
    batch_size: int = 1
    pin_memory: bool = False
    total_steps: int | None = None
    on_skip: Callable[[str], None] = logger.warning

    @cached_property
    def _collator(self) -> PackingCollator | PaddingCollator:
        config = self.dataset.config.data
        if config.packing:
            return PackingCollator(config.global_max_length, self.patch_dtype)
        return PaddingCollator(self.dataset.pad_id, config.global_max_length, self.patch_dtype)

    @property
    def patch_dtype(self) -> PatchType:
        """The format of the patches in batches, by ``data.patch_dtype``."""
        config = self.dataset.config.data
        if config.patch_dtype == "auto":
            return "uint8" if config.num_workers or self.pin_memory else "float32"
        return config.patch_dtype

    def planned_for(self, total_steps: int) -> RowLoader:
        """Return the loader of a run of so many steps; itself where nothing depends on them."""
        return replace(self, total_steps=total_steps) if self.dataset.curriculum.phases else self

    @cached_property
    def _rows_of_epoch(self) -> dict[tuple[int, int], list[Row]]:
        return {}

    def key(self, epoch: int, index: int, draw: int = 0) -> SampleKey:
        """Return what a run asks for when it trains on a sample in an epoch, with the step that does.

        With a curriculum, all epochs before are planned.

        Raises:
            ConfigError: The sample is left out in that epoch.
        """
        if not self._has_curriculum:
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
        """Return all rows of an epoch, over all ranks, in order: a pure function of (seed, epoch, first_step).

        Args:
            epoch: Epoch, from 0.
            first_step: Steps that the epochs before took, for a curriculum.
        """
        if (epoch, first_step) not in self._rows_of_epoch:
            rows = self._rows_by_step(epoch, first_step) if self._has_curriculum else self._plain_rows(epoch)
            self._rows_of_epoch.clear()
            self._rows_of_epoch[epoch, first_step] = rows
        return self._rows_of_epoch[epoch, first_step]

    @property
    def _has_curriculum(self) -> bool:
        return self.total_steps is not None and bool(self.dataset.curriculum.phases)

    @property
    def _rules(self) -> RowRules:
        config = self.dataset.config.data
        return RowRules(config.global_max_length, config.packing_window, None if config.packing else self.batch_size)

    def _plain_rows(self, epoch: int) -> list[Row]:
        lengths = self.dataset.lengths(epoch)
        if self.dataset.split == "val":
            members = ordered_rows(lengths, self._rules)
        else:
            members = epoch_rows(lengths, self.dataset.config.seed, epoch, self._rules)
        keys = _keys(self.dataset.samples(epoch), epoch)
        return [tuple(keys(i) for i in row) for row in members]

    def _rows_by_step(self, epoch: int, first_step: int) -> list[Row]:
        rows_per_step = self.world_size * self.accumulation
        lengths = EpochLengths(self.dataset, epoch)
        members = epoch_rows_by_step(
            len(lengths.samples),
            lambda i, step: lengths.of(i, TrainingStep(step, self.total_steps)),
            lambda row: first_step + row // rows_per_step,
            self.dataset.config.seed,
            epoch,
            self._rules,
            lengths.track,
        )
        lengths.report()
        steps = [TrainingStep(first_step + k // rows_per_step, self.total_steps) for k in range(len(members))]
        keys = _keys(lengths.samples, epoch)
        return [tuple(replace(keys(i), when=when) for i in row) for row, when in zip(members, steps, strict=True)]

    def steps_per_epoch(self, epoch: int, first_step: int = 0) -> int:
        """Return the optimiser steps of an epoch; arguments as `rows`.

        Raises:
            TrainingError: No sample is left to train on.
        """
        rows = len(self.rows(epoch, first_step))
        if not rows:
            raise TrainingError("at least one sample must be left to load; all were dropped or there are none")
        return math.ceil(rows / (self.world_size * self.accumulation))

    def steps_from(self, epoch: int, step: int, first_step: int = 0) -> Iterator[list[Batch]]:
        """Yield this rank's micro-batches of each optimiser step of an epoch, from its step `step` on.

        Raises:
            DcapError: What a worker met, with the sample's file and line.
            TrainingError: A worker process died.
        """
        count = self.steps_per_epoch(epoch, first_step)
        shares = [self._share(self.rows(epoch, first_step), s) for s in range(step, count)]
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

    def _share(self, all_rows: list[Row], step: int) -> list[Row]:
        per_step = self.world_size * self.accumulation
        rows = all_rows[step * per_step : (step + 1) * per_step]
        filler = tuple(replace(key, filler=True) for key in min(rows, key=len))
        micro_batches = math.ceil(len(rows) / self.world_size)
        rows = rows + [filler] * (micro_batches * self.world_size - len(rows))
        return rows[self.rank :: self.world_size]

    def _batches(self, rows: Sequence[Row]) -> Iterator[Batch]:
        made = _Rows(self.dataset, self._collator, rows)
        for each in from_workers(made, self.dataset.config.data.num_workers, self.pin_memory):
            for message in each.skipped:
                self.on_skip(message)
            yield each.batch


def _keys(samples: EpochSamples, epoch: int) -> Callable[[int], SampleKey]:
    """Return what makes the key of a sample from its position in the epoch."""
    index, draw = samples.index.tolist(), samples.draw.tolist()
    return lambda i: SampleKey(epoch, index[i], draw=draw[i])
