"""Lengths: how many tokens the samples of an epoch have, without opening an image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from dcap.augment.schedule import TrainingStep
from dcap.core.errors import RecordError
from dcap.core.log import get_logger, progress
from dcap.core.words import counted

if TYPE_CHECKING:
    from dcap.data.dataset import DenseCaptionDataset

logger = get_logger(__name__)


class EpochLengths:
    """Plans samples of one epoch for their lengths, and remembers what was left out and simplified.

    Args:
        dataset: Whose samples.
        epoch: Epoch, from 0.
    """

    def __init__(self, dataset: DenseCaptionDataset, epoch: int) -> None:
        self.dataset, self.epoch = dataset, epoch
        self._too_long: set[int] = set()
        self._unplanned: dict[int, str] = {}
        self._kept_iou: dict[int, npt.NDArray[np.float64]] = {}

    @property
    def name(self) -> str:
        """Split and epoch, for people."""
        return f"{self.dataset.split} epoch {self.epoch}"

    def of(self, index: int, when: TrainingStep | None = None) -> int:
        """Return the tokens of a sample; 0 leaves it out.

        A sample is left out when it is too long and ``data.overlong`` is ``drop``, or when it cannot be planned and
        ``data.on_bad_record`` is ``skip``.

        Raises:
            RecordError: As `dcap.data.planning.Planner.plan`.
        """
        try:
            planned = self.dataset.plan(self.epoch, index, when)
        except RecordError as error:
            if self.dataset.config.data.on_bad_record == "error":
                raise
            self._unplanned[index] = str(error)
            return 0
        self._kept_iou[index] = planned.kept_iou
        if planned.fits:
            return planned.length
        self._too_long.add(index)
        return 0

    def all(self) -> npt.NDArray[np.int64]:
        """Return the tokens of every sample, int64 (N,).

        Raises:
            RecordError: As `of`.
        """
        return np.array([self.of(i) for i in self.track(range(len(self.dataset)))], np.int64)

    def track(self, indices: Sequence[int]) -> Iterator[int]:
        """Yield `indices` with a progress bar."""
        return progress(indices, f"Planning {self.name}")

    def report(self) -> None:
        """Log what was left out, and in the first epoch what was simplified; the others differ little."""
        if self._too_long:
            logger.warning("%s: %s left out, too long", self.name, counted(len(self._too_long), "sample"))
        if self._unplanned:
            count, example = counted(len(self._unplanned), "sample"), next(iter(self._unplanned.values()))
            logger.warning("%s: %s left out, such as %s", self.name, count, example)
        iou = np.concatenate([np.empty(0), *self._kept_iou.values()])
        if self.epoch == 0 and (iou < 1.0).any():
            shapes, mean, least = counted(int((iou < 1).sum()), "shape"), float(iou.mean()), float(iou.min())
            logger.info("%s: %s simplified; IoU kept: mean %.3f, least %.3f", self.name, shapes, mean, least)
