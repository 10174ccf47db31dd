"""The loss of each sample, kept in the run folder; `dcap.data.sample_losses` has the format.

After a resume the files are, byte for byte, those of a run that never stopped: what was written after the checkpoint is
cut, and made again. All is on the disk before a checkpoint is.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from accelerate.utils import gather_object

from dcap.core.files import write_whole, writing
from dcap.data.collate import Batch
from dcap.data.encode import IGNORE_INDEX
from dcap.data.sample_losses import (
    KEPT_EPOCHS,
    LOSS_DECIMALS,
    ObjectLoss,
    SampleLoss,
    TokenLoss,
    end_of_step,
    epoch_file,
    epoch_files,
    validation_file,
)
from dcap.data.tokens import SUPERVISED_KINDS, TokenKind
from dcap.geometry.shapes import KEY_OF_KIND
from dcap.train.loss import LossOutput
from dcap.train.state import RunState
from dcap.train.token_weights import sample_of_token

STEPS_BUFFERED = 64
"""Steps whose losses are written together; ranks exchange them only then."""


class _Line(NamedTuple):
    """A line with its place in the file, which does not depend on how ranks share samples."""

    step: int
    record: int
    draw: int
    data: bytes


class LossLog:
    """Writes the losses of single samples; all ranks call it, and the first one writes.

    Args:
        run: Run folder.
        writes: Whether this is the rank that writes.
        active: ``training.sample_losses``. False: nothing is written.
    """

    def __init__(self, run: Path, *, writes: bool, active: bool) -> None:
        self._run, self._writes, self._active = run, writes, active
        self._epoch = self._steps = 0
        self._lines: list[_Line] = []
        self._validated: list[_Line] = []

    def start(self, state: RunState) -> None:
        """Cut what an interrupted run wrote beyond `state`, even where nothing more is written.

        Where an epoch begins anew, nothing of it stays.
        """
        if not self._writes:
            return
        files = epoch_files(self._run)
        for epoch, path in files.items():
            begins = epoch == state.epoch and not state.step_in_epoch
            self._cut(path, 0 if epoch > state.epoch or begins else state.step)
        if validation_file(self._run).is_file():
            self._cut(validation_file(self._run), state.step)

    def add(self, epoch: int, step: int, batches: Sequence[Batch], outputs: Sequence[LossOutput]) -> None:
        """Take the losses of a step.

        Args:
            epoch: Its epoch.
            step: Its number, from 1.
            batches: This rank's micro-batches.
            outputs: Their losses; empty where nothing was trained.
        """
        if not self._active:
            return
        if epoch != self._epoch or self._steps >= STEPS_BUFFERED:
            self.flush()
        self._epoch = epoch
        self._steps += 1
        for batch, output in zip(batches, outputs, strict=True) if outputs else ():
            self._lines += _lines(batch, output, step)

    def flush(self) -> None:
        """Write what was taken, and wait until it is on the disk.

        Raises:
            OutputError: The disk does not allow it.
        """
        if not self._steps:
            return
        lines = sorted(gather_object(self._lines))
        self._lines, self._steps = [], 0
        if not self._writes:
            return
        path = epoch_file(self._run, self._epoch)
        with writing(path):
            path.parent.mkdir(exist_ok=True)
            with path.open("ab") as file:
                file.write(b"".join(line.data for line in lines))
                file.flush()
                os.fsync(file.fileno())
            for epoch, older in epoch_files(self._run).items():
                if epoch <= self._epoch - KEPT_EPOCHS:
                    older.unlink()

    def add_validated(self, batch: Batch, output: LossOutput, step: int) -> None:
        """Take the losses of a batch of a validation after `step`."""
        if self._active:
            self._validated += _lines(batch, output, step)

    def write_validated(self) -> None:
        """Write the losses of a validation that is over; they replace those of the one before.

        Raises:
            OutputError: The disk does not allow it.
        """
        if not self._active:
            return
        lines = sorted(gather_object(self._validated))
        self._validated = []
        if self._writes:
            write_whole(validation_file(self._run), b"".join(line.data for line in lines))

    def _cut(self, path: Path, step: int) -> None:
        end = end_of_step(path, step)
        with writing(path):
            if end:
                os.truncate(path, end)
            else:
                path.unlink()


def _lines(batch: Batch, output: LossOutput, step: int) -> list[_Line]:
    return [_Line(step, loss.index, loss.draw, loss.to_line()) for loss in sample_losses(batch, output, step)]


def sample_losses(batch: Batch, output: LossOutput, step: int) -> list[SampleLoss]:
    """Return the losses of the samples of a batch that count. Fillers, which weigh nothing, do not.

    Args:
        batch: In the memory of the host.
        output: Its loss, on any device.
        step: Number of the step.
    """
    supervised = batch["labels"][:, 1:] != IGNORE_INDEX
    of_token = sample_of_token(batch)[:, 1:][supervised].numpy()
    kinds = batch["token_kinds"][:, 1:][supervised].numpy().astype(np.int64)
    losses = output.token_loss.cpu().double().numpy()
    infos = batch["samples"]
    of_sample = _by_kind(len(TokenKind) * of_token + kinds, losses, len(infos), SUPERVISED_KINDS)
    # An interval for each object, and for each sample one from the end of its objects to those of the next.
    first = np.searchsorted(of_token, np.arange(len(infos)))
    bounds = np.concatenate([start + info.objects.bounds for start, info in zip(first, infos, strict=True)])
    interval = np.searchsorted(bounds, np.arange(len(of_token)), side="right")
    of_object = _by_kind(len(TokenKind) * interval + kinds, losses, len(bounds) + 1, SUPERVISED_KINDS[:2])
    found, begin = [], 1  # interval 0 is in front of the first object
    for info, (caption, coordinate, structure) in zip(infos, of_sample, strict=True):
        numbers = info.objects.numbers.tolist()
        if info.key is not None and info.weight > 0:
            each = zip(numbers, info.objects.kinds.tolist(), of_object[begin : begin + len(numbers)], strict=True)
            loss = SampleLoss(
                step=step,
                index=info.key.index,
                draw=info.key.draw,
                sample=info.sample_id,
                caption=caption,
                coordinate=coordinate,
                structure=structure,
                objects=tuple([ObjectLoss(number, KEY_OF_KIND[kind], *parts) for number, kind, parts in each]),
            )
            found.append(loss)
        begin += len(numbers) + 1
    return found


def _by_kind(
    bins: npt.NDArray[np.int64], losses: npt.NDArray[np.float64], count: int, kinds: Sequence[TokenKind]
) -> list[list[TokenLoss]]:
    """Return the losses of `count` things by kind of token.

    Args:
        bins: int64 (n,): thing times the number of kinds, plus kind, of each token.
        losses: float64 (n,).
        count: How many things there are.
        kinds: The kinds to return.
    """
    shape = count, len(TokenKind)
    tokens = np.bincount(bins, minlength=count * len(TokenKind)).reshape(shape)[:, kinds].tolist()
    sums = np.bincount(bins, losses, minlength=count * len(TokenKind)).reshape(shape)[:, kinds]
    finite = [[loss if math.isfinite(loss) else None for loss in row] for row in sums.round(LOSS_DECIMALS).tolist()]
    pairs = zip(tokens, finite, strict=True)
    return [[TokenLoss(*part) for part in zip(*pair, strict=True)] for pair in pairs]
