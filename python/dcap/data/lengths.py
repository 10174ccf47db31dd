"""Lengths: how many tokens the samples of an epoch have, without opening an image.

Where nothing about the samples is drawn, they are the same in every epoch. They are then planned once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from dcap.augment.schedule import TrainingStep
from dcap.core.errors import RecordError
from dcap.core.log import get_logger
from dcap.core.parallel import map_in_order
from dcap.core.progress import progress, progress_of
from dcap.core.words import counted
from dcap.data.dataset import DenseCaptionDataset
from dcap.data.encode import num_image_tokens
from dcap.data.mixture import EpochSamples
from dcap.data.packing import SampleSize, SampleSizes
from dcap.data.planning import Planner
from dcap.data.saved_lengths import SavedLengths

log = get_logger(__name__)

CHUNK = 256
"""Samples that a worker process plans at a time."""

_FIXED: WeakKeyDictionary[DenseCaptionDataset, SampleSizes] = WeakKeyDictionary()
"""Sizes of the data sets in use that are the same in every epoch."""


@dataclass
class PlanningNotes:
    """Results of planning, by the index of the sample: samples left out, and the cost of simplification."""

    too_long: set[int] = field(default_factory=set)
    unplanned: dict[int, str] = field(default_factory=dict)
    kept_iou: dict[int, npt.NDArray[np.float64]] = field(default_factory=dict)
    """Quality of simplified shapes, by sample. Samples without a simplified shape are absent."""
    fitted: dict[int, Mapping[str, int]] = field(default_factory=dict)
    """Changes of ``data.overlong`` that made samples fit, see `dcap.augment.telemetry.Telemetry`."""

    def update(self, more: PlanningNotes) -> None:
        """Add other notes."""
        self.too_long |= more.too_long
        self.unplanned |= more.unplanned
        self.kept_iou |= more.kept_iou
        self.fitted |= more.fitted

    @property
    def may_be_saved(self) -> bool:
        """Whether there is nothing that a run with saved lengths would not say."""
        return not self.fitted and not self.unplanned

    def num_fitted(self, name: str) -> tuple[int, int]:
        """Return the number of samples that were changed to fit, and the number of changes in all."""
        counts = [done[name] for done in self.fitted.values() if name in done]
        return len(counts), sum(counts)


class EpochLengths:
    """Plans samples of one epoch for their lengths, and remembers what was left out and simplified.

    Args:
        dataset: Whose samples.
        epoch: Epoch, from 0.
        samples: Those of the epoch, where they are known.
    """

    def __init__(self, dataset: DenseCaptionDataset, epoch: int, samples: EpochSamples | None = None) -> None:
        self.dataset, self.epoch = dataset, epoch
        self.samples = dataset.samples(epoch) if samples is None else samples
        self.notes = PlanningNotes()

    @property
    def name(self) -> str:
        """Split and epoch, for people."""
        return f"{self.dataset.split} epoch {self.epoch}"

    def of(self, index: int, when: TrainingStep | None = None) -> SampleSize:
        """Return the tokens of a sample, and how many of them are the image; 0 tokens leave it out.

        A sample is left out when it is too long and ``data.overlong`` is ``drop``, or when it cannot be planned and
        ``data.on_bad_record`` is ``skip``.

        Args:
            index: Its position in `samples`.
            when: The step that trains on it, for a curriculum. `None`: the first step.

        Raises:
            RecordError: As `DenseCaptionDataset.plan`.
        """
        try:
            samples = self.samples
            planned = self.dataset.plan(self.epoch, int(samples.index[index]), when, int(samples.draw[index]))
        except RecordError as error:
            if self.dataset.data.on_bad_record == "error":
                raise
            self.notes.unplanned[index] = str(error)
            return SampleSize(0, 0)
        if self.epoch == 0:  # the other epochs differ little
            self._note_simplified(index, planned.kept_iou)
        if planned.fits:
            if planned.result.telemetry.fitted:
                self.notes.fitted[index] = planned.result.telemetry.fitted
            return SampleSize(planned.length, num_image_tokens(planned.result.scene.canvas))
        self.notes.too_long.add(index)
        return SampleSize(0, 0)

    def _note_simplified(self, index: int, kept_iou: npt.NDArray[np.float64]) -> None:
        simplified = kept_iou[kept_iou < 1.0]
        if len(simplified):
            self.notes.kept_iou[index] = simplified
        else:  # a curriculum may plan a sample again
            self.notes.kept_iou.pop(index, None)

    def all(self, chunk: int = CHUNK) -> SampleSizes:
        """Return `of` every sample; ``data.num_workers`` processes share the work.

        Args:
            chunk: Samples that a process plans at a time.

        Raises:
            RecordError: As `of`.
            WorkerError: A worker process died.
        """
        count = len(self.samples)
        planned = chain.from_iterable(self.in_chunks(range(count), chunk))
        pairs = np.dtype((np.int64, 2))
        tokens, image_tokens = np.fromiter(progress_of(planned, count, f"Planning {self.name}"), pairs, count).T.copy()
        return SampleSizes(tokens, image_tokens)

    def in_chunks(self, span: range, chunk: int = CHUNK) -> Iterator[list[SampleSize]]:
        """Yield `of` some neighbouring samples, in lists; ``data.num_workers`` processes share the work.

        Args:
            span: Positions in `samples`.
            chunk: Samples of a list.

        Raises:
            RecordError: As `of`.
            WorkerError: A worker process died.
        """
        runs = [span[i : i + chunk] for i in range(0, len(span), chunk)]
        look = partial(_lengths_of_run, self.dataset, self.epoch, self.samples)
        with closing(map_in_order(look, runs, self.dataset.data.num_workers)) as made:
            for lengths, notes in made:
                self.notes.update(notes)
                yield lengths

    def track(self, indices: Sequence[int]) -> Iterator[int]:
        """Yield `indices` with a progress bar."""
        return progress(indices, f"Planning {self.name}")

    def report(self) -> None:
        """Log what was left out, and in the first epoch what was simplified."""
        found = self.notes
        if found.too_long:
            log.warning("%s: %s left out, too long", self.name, counted(len(found.too_long), "sample"))
        samples, objects = found.num_fitted("dropped_objects")
        if samples:
            left_out = f"{counted(objects, 'object')} left out of {counted(samples, 'sample')}, too long"
            log.warning("%s: %s", self.name, left_out)
        samples, _ = found.num_fitted("shrunk_image")
        if samples:
            log.warning("%s: smaller images in %s, too long", self.name, counted(samples, "sample"))
        if found.unplanned:
            count, example = counted(len(found.unplanned), "sample"), next(iter(found.unplanned.values()))
            log.warning("%s: %s left out, such as %s", self.name, count, example)
        iou = np.concatenate([np.empty(0), *found.kept_iou.values()])
        if len(iou):
            shapes, mean, least = counted(len(iou), "shape"), float(iou.mean()), float(iou.min())
            log.info("%s: %s simplified; IoU kept: mean %.3f, least %.3f", self.name, shapes, mean, least)


def _lengths_of_run(
    dataset: DenseCaptionDataset, epoch: int, samples: EpochSamples, run: range
) -> tuple[list[SampleSize], PlanningNotes]:
    """Return the lengths of some samples, and what was met in planning them."""
    lengths = EpochLengths(dataset, epoch, samples)
    return [lengths.of(k) for k in run], lengths.notes


def sample_sizes(dataset: DenseCaptionDataset, epoch: int) -> SampleSizes:
    """Return the tokens of every sample of an epoch, in the order of `DenseCaptionDataset.samples`.

    With a curriculum they are those at the first step. What was left out is logged, at the latest when it is planned.

    Raises:
        RecordError: As `EpochLengths.of`.
        WorkerError: A worker process died.
    """
    if not are_fixed(dataset):
        return _planned(EpochLengths(dataset, epoch))
    if dataset not in _FIXED:
        _FIXED[dataset] = _fixed_sizes(dataset)
    return _FIXED[dataset]


def are_fixed(dataset: DenseCaptionDataset) -> bool:
    """Whether every epoch takes each record once, and nothing about the samples is drawn."""
    once = dataset.split == "val" or all(part.entry.is_target for part in dataset.mixture.parts)
    return once and not any(map(_draws, dataset.planners))


def _draws(planner: Planner) -> bool:
    augments = bool(planner.pipeline.stages or planner.pipeline.curriculum.phases)
    return augments or planner.config.mode == "mixed" or planner.entry.max_objects is not None


def _fixed_sizes(dataset: DenseCaptionDataset) -> SampleSizes:
    """Return saved sizes. If there are none, plan and save them.

    Sizes are not saved if planning gave warnings other than samples that are too long: loading would hide them.
    """
    lengths, kept = EpochLengths(dataset, 0), SavedLengths(dataset.records, dataset.mixture, dataset.planners)
    saved = kept.load()
    if saved is not None:
        left_out = int((saved.tokens == 0).sum())
        tell = log.warning if left_out else log.info
        tell("%s: lengths as planned before; %s left out, too long", lengths.name, counted(left_out, "sample"))
        return saved
    sizes = _planned(lengths)
    if lengths.notes.may_be_saved:
        kept.save(sizes)
    return sizes


def save_fixed_sizes(dataset: DenseCaptionDataset, sizes: SampleSizes) -> bool:
    """Keep sizes for runs to come, and return whether that is possible: they are the same in every epoch.

    Args:
        dataset: Whose samples.
        sizes: Of all samples, planned without notes other than samples that are too long.
    """
    if not are_fixed(dataset):
        return False
    kept = SavedLengths(dataset.records, dataset.mixture, dataset.planners)
    kept.save(sizes)
    return kept.load() is not None


def _planned(lengths: EpochLengths) -> SampleSizes:
    sizes = lengths.all()
    lengths.report()
    return sizes
