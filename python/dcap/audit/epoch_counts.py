"""The size of an epoch: tokens, rows and data sets, counted from plans without opening an image."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import numpy.typing as npt

from dcap.augment.patches import PATCH
from dcap.core.errors import ConfigError, RecordError
from dcap.core.parallel import map_in_order
from dcap.core.progress import progress_of
from dcap.core.random import generator
from dcap.data.dataset import DenseCaptionDataset
from dcap.data.encode import num_image_tokens
from dcap.data.epoch import EpochRules, follows_curriculum, plan_epoch
from dcap.data.mixture import EpochSamples
from dcap.data.packing import SampleSizes
from dcap.data.planning import PlannedSample, Planner
from dcap.data.sample import SampleKey
from dcap.data.tokens import SUPERVISED_KINDS, TokenKind
from dcap.view.charts import Histogram

I64 = npt.NDArray[np.int64]

_CHUNK = 128
"""Samples that a worker process plans at a time."""
_DRAW_PURPOSE = 10
_OBJECTS, _PATCHES = len(TokenKind), len(TokenKind) + 1
"""Columns of the numbers of a sample, after the tokens of each kind."""


@dataclass(frozen=True, eq=False, slots=True)
class EpochCounts:
    """The numbers of an epoch's samples and rows; N samples were planned, R rows made of them.

    Args:
        keys: Keys of the planned samples.
        kinds: int64 (N, 5): tokens of each `TokenKind`; zeros for a sample that is left out.
        objects: int64 (N,).
        patches: int64 (N,): vision patches.
        part: int64 (N,): position of the data set in the mixture.
        rows: Samples of each row; steps take the rows in another order.
        population: Samples of the epoch; more than N where only a drawn part was planned.
        capacity: Most tokens of a row.
        padded: Whether rows are padded to their longest sample, rather than packed.
    """

    keys: tuple[SampleKey, ...]
    kinds: I64
    objects: I64
    patches: I64
    part: I64
    rows: tuple[I64, ...]
    population: int
    capacity: int
    padded: bool

    @property
    def tokens(self) -> I64:
        """Tokens of each sample, int64 (N,); 0 where it is left out."""
        return np.asarray(self.kinds.sum(axis=1), np.int64)

    @property
    def supervised(self) -> I64:
        """Supervised tokens of each sample, int64 (N,)."""
        return np.asarray(self.kinds[:, list(SUPERVISED_KINDS)].sum(axis=1), np.int64)

    @property
    def scale(self) -> float:
        """Samples of the epoch per planned sample, at least 1. Sums times this are sums of the whole epoch."""
        return self.population / max(len(self.kinds), 1)

    @property
    def num_left_out(self) -> int:
        """Planned samples that are too long or could not be planned."""
        return int((self.tokens == 0).sum())

    def row_sums(self, values: I64) -> I64:
        """Return the sums of int64 (N,) over the samples of each row, int64 (R,)."""
        return np.array([values[row].sum() for row in self.rows], np.int64)

    @property
    def row_tokens(self) -> I64:
        """Tokens of each row that the model computes, padding included, int64 (R,)."""
        if not self.padded:
            return self.row_sums(self.tokens)
        tokens = self.tokens
        return np.array([len(row) * tokens[row].max() for row in self.rows], np.int64)

    @property
    def num_rows(self) -> int:
        """Rows of the epoch."""
        return round(len(self.rows) * self.scale)

    @property
    def num_tokens(self) -> int:
        """Tokens of the epoch, without padding."""
        return round(int(self.tokens.sum()) * self.scale)

    @property
    def fill(self) -> float:
        """Share of the capacity of packed rows that holds tokens, 0..1."""
        return float(self.tokens.sum()) / max(len(self.rows) * self.capacity, 1)

    @property
    def padding_share(self) -> float:
        """Share of padding in the tokens that the model computes, 0..1. Packed rows have no padding."""
        return 1.0 - float(self.tokens.sum()) / max(int(self.row_tokens.sum()), 1)

    def choose(self, count: int) -> list[SampleKey]:
        """Return `count` samples that are not left out, spread evenly; all when there are fewer."""
        kept = np.flatnonzero(self.tokens)
        return [self.keys[kept[k * len(kept) // min(count, len(kept))]] for k in range(min(count, len(kept)))]

    def num_steps(self, rows_per_step: int) -> int:
        """Return the optimiser steps of the epoch."""
        return math.ceil(self.num_rows / rows_per_step)

    def histograms(self) -> dict[str, Histogram]:
        """Return histograms of samples and rows, by title. Samples that are left out do not count."""
        here = self.tokens > 0
        titles = {kind: f"{kind.name.lower()} tokens per sample" for kind in TokenKind}
        titles[TokenKind.IMAGE] = "vision tokens per image"
        of_samples = {
            "tokens per sample": self.tokens,
            **{titles[kind]: self.kinds[:, kind] for kind in TokenKind},
            "objects per sample": self.objects,
        }
        of_rows = {
            "tokens per row": self.row_tokens,
            "samples per row": np.array([len(row) for row in self.rows], np.int64),
            "vision patches per row": self.row_sums(self.patches),
        }
        shown = {title: Histogram.of(values[here]) for title, values in of_samples.items() if values.any()}
        return shown | {title: Histogram.of(values) for title, values in of_rows.items()}


@dataclass(frozen=True, slots=True)
class DatasetShare:
    """The share of one data set in an epoch."""

    name: str
    samples: int
    tokens: int
    supervised: int
    loss_weight: float
    share: float
    """Share of the loss, 0..1: its supervised tokens times their weight, divided by that of all data sets."""


def dataset_shares(plans: EpochCounts, dataset: DenseCaptionDataset) -> list[DatasetShare]:
    """Return the share of each data set in the epoch. Sums are scaled to the whole epoch."""
    entries = [part.entry for part in dataset.mixture.parts]
    members = [(plans.part == k) & (plans.tokens > 0) for k in range(len(entries))]
    weights = [e.loss_weight * float(plans.supervised[m].sum()) for e, m in zip(entries, members, strict=True)]
    scale, whole = plans.scale, sum(weights) or 1.0
    return [
        DatasetShare(
            name=entry.name,
            samples=round(int(member.sum()) * scale),
            tokens=round(int(plans.tokens[member].sum()) * scale),
            supervised=round(int(plans.supervised[member].sum()) * scale),
            loss_weight=entry.loss_weight,
            share=weight / whole,
        )
        for entry, member, weight in zip(entries, members, weights, strict=True)
    ]


def count_epoch(
    dataset: DenseCaptionDataset, epoch: int, rules: EpochRules, max_plans: int | None = None
) -> EpochCounts:
    """Count the samples of an epoch, and the rows that training makes of them.

    Args:
        dataset: Whose samples.
        epoch: Epoch, from 0.
        rules: How a run makes rows and steps. A curriculum needs its ``total_steps``.
        max_plans: Plan at most this many samples, drawn by chance. A curriculum then stays at its start.

    Raises:
        RecordError: As `DenseCaptionDataset.plan`.
        TrainingError: No sample is left.
        WorkerError: A worker process died.
        ConfigError: `max_plans` is below 1.
    """
    if max_plans is not None and max_plans < 1:
        raise ConfigError(f"max_plans must be at least 1, not {max_plans}")
    samples = dataset.samples(epoch)
    population, drawn = len(samples), max_plans is not None and max_plans < len(samples)
    if follows_curriculum(dataset, rules) and not drawn:
        plan = plan_epoch(dataset, epoch, rules)
        kept = np.concatenate(plan.rows)
        gone = np.setdiff1d(np.arange(population), kept)
        # Samples that are left out are in no row, and are not planned again.
        counts = _numbers(dataset, [plan.keys[i] for i in kept])
        numbers = np.concatenate([counts, np.zeros((len(gone), _PATCHES + 1), np.int64)])
        bounds = np.cumsum([0, *map(len, plan.rows)]).tolist()
        rows = tuple(np.arange(*pair) for pair in itertools.pairwise(bounds))
        return _counts(dataset, [plan.keys[i] for i in [*kept, *gone]], numbers, rows, population)
    if drawn:
        rng = generator(dataset.seed, epoch, _DRAW_PURPOSE)
        chosen = np.sort(rng.permutation(population)[:max_plans])
        samples = EpochSamples(samples.index[chosen], samples.draw[chosen])
    pairs = zip(samples.index.tolist(), samples.draw.tolist(), strict=True)
    keys = [SampleKey(epoch, index, draw=draw) for index, draw in pairs]
    numbers = _numbers(dataset, keys)
    sizes = SampleSizes(np.ascontiguousarray(numbers[:, :_OBJECTS].sum(axis=1)), numbers[:, TokenKind.IMAGE])
    plan = plan_epoch(dataset, epoch, replace(rules, total_steps=None), samples=samples, sizes=sizes)
    return _counts(dataset, keys, numbers, tuple(np.array(row, np.int64) for row in plan.rows), population)


def _counts(
    dataset: DenseCaptionDataset, keys: list[SampleKey], numbers: I64, rows: tuple[I64, ...], population: int
) -> EpochCounts:
    stops = [part.stop for part in dataset.mixture.parts]
    return EpochCounts(
        keys=tuple(keys),
        kinds=numbers[:, :_OBJECTS],
        objects=numbers[:, _OBJECTS],
        patches=numbers[:, _PATCHES],
        part=np.searchsorted(stops, [key.index for key in keys], side="right"),
        rows=rows,
        population=population,
        capacity=dataset.data.global_max_length,
        padded=not dataset.data.packing,
    )


def _numbers(dataset: DenseCaptionDataset, keys: list[SampleKey]) -> I64:
    """Return the numbers of each sample, int64 (N, 7); ``data.num_workers`` processes share the work."""
    runs = [keys[i : i + _CHUNK] for i in range(0, len(keys), _CHUNK)]
    made = map_in_order(partial(_numbers_of_run, dataset), runs, dataset.data.num_workers)
    found = list(progress_of(itertools.chain.from_iterable(made), len(keys), "Planning samples"))
    return np.array(found, np.int64).reshape(len(keys), _PATCHES + 1)


def _numbers_of_run(dataset: DenseCaptionDataset, keys: list[SampleKey]) -> I64:
    return np.array([_numbers_of(dataset, key) for key in keys], np.int64)


def _numbers_of(dataset: DenseCaptionDataset, key: SampleKey) -> I64:
    try:
        planned = dataset.plan(key.epoch, key.index, key.when, key.draw)
    except RecordError:
        if dataset.data.on_bad_record == "error":
            raise
        return np.zeros(_PATCHES + 1, np.int64)
    if not planned.fits:
        return np.zeros(_PATCHES + 1, np.int64)
    return _counted(dataset.planner_of(key.index), planned)


def _counted(planner: Planner, planned: PlannedSample) -> I64:
    canvas = planned.result.scene.canvas
    images = num_image_tokens(canvas)
    kinds = np.zeros(len(TokenKind), np.int64)
    kinds[TokenKind.PROMPT], kinds[TokenKind.IMAGE] = planned.num_prompt_tokens - images, images
    if planned.mode == "dense":
        parts = planner.answer_parts(planned)
        ids = planner.encoder.answer_ids("".join([text for text, _ in parts]))
        kinds += np.bincount(planner.encoder.answer_kinds(parts, ids), minlength=len(TokenKind))
    else:  # a summary is a caption as a whole
        others = planner.encoder.num_answer_tokens("")
        kinds[TokenKind.CAPTION], kinds[TokenKind.STRUCTURE] = planned.num_answer_tokens - others, others
    return np.array([*kinds.tolist(), len(planned.result.scene.shapes), canvas.num_pixels // PATCH**2], np.int64)
