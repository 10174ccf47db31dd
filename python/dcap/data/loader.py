"""Loading: the rows of a planned epoch, shared out over ranks and steps, made by worker processes.

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
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch.utils.data import Dataset

from dcap.core.errors import DcapError, ImageError
from dcap.core.log import get_logger
from dcap.data.collate import Batch, PackingCollator, PaddingCollator, PatchDtype
from dcap.data.dataset import DenseCaptionDataset
from dcap.data.epoch import EpochPlan
from dcap.data.sample import Sample
from dcap.data.steps import Row
from dcap.data.workers import from_workers

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Made:
    """A row that a worker made, and the images that it had to leave out."""

    batch: Batch
    skipped: tuple[str, ...] = ()

    def pin_memory(self) -> _Made:
        """Move the batch to page-locked memory. Torch's loader moves no class without this method."""
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
class EpochLoader:
    """The batches of one rank, as a plan says; ``data.num_workers`` processes make them.

    Iterate over it for all batches of the rank, or over `steps` for those of each optimiser step.

    Args:
        dataset: Training or validation samples.
        plan: A plan of them.
        rank: This process.
        num_ranks: Number of processes.
        pin_memory: Whether batches go through page-locked memory; for CUDA.
        on_skip: Called with the message of each image that could not be decoded, where ``on_bad_record`` is ``skip``.
    """

    dataset: DenseCaptionDataset
    plan: EpochPlan
    rank: int = 0
    num_ranks: int = 1
    pin_memory: bool = False
    on_skip: Callable[[str], None] = log.warning

    @property
    def patch_dtype(self) -> PatchDtype:
        """The format of the patches in batches, by ``data.patch_dtype``."""
        data = self.dataset.data
        if data.patch_dtype == "auto":
            return "uint8" if data.num_workers or self.pin_memory else "float32"
        return data.patch_dtype

    @property
    def collator(self) -> PackingCollator | PaddingCollator:
        """The collator, which makes a batch of the samples of a row."""
        data = self.dataset.data
        if data.packing:
            return PackingCollator(data.global_max_length, self.patch_dtype)
        return PaddingCollator(data.global_max_length, self.dataset.pad_id, self.patch_dtype)

    def __len__(self) -> int:
        """Number of batches of this rank, the same for all ranks."""
        return sum(-(-len(step.rows) // self.num_ranks) for step in self.plan.steps)

    def steps(self, start: int = 0) -> Iterator[list[Batch]]:
        """Yield this rank's micro-batches of each optimiser step of the epoch, from its step `start` on.

        Raises:
            DcapError: What a worker met, with the sample's file and line.
            WorkerError: A worker process died.
        """
        shares = [step.shares(self.num_ranks)[self.rank] for step in self.plan.steps[start:]]
        batches = self._batches([row for share in shares for row in share])
        for share in shares:
            yield [next(batches) for _ in share]

    def __iter__(self) -> Iterator[Batch]:
        for batches in self.steps():
            yield from batches

    def _batches(self, rows: Sequence[Row]) -> Iterator[Batch]:
        made = _Rows(self.dataset, self.collator, rows)
        for each in from_workers(made, self.dataset.data.num_workers, self.pin_memory):
            for message in each.skipped:
                self.on_skip(message)
            yield each.batch
