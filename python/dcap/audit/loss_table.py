"""The losses of samples and objects that a run kept, and how high each is among those like it.

A loss says little by itself: a long text has more of it than a box, a polygon more than a line, and the model gets
better during a run. So each mean loss of a token is ranked among those of one data set, one kind of token and one kind
of shape that were trained on at about the same time.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from dcap.data.sample_losses import TokenLoss, read_losses
from dcap.geometry.shapes import KEYS

SAMPLE_KINDS = ("caption", "coordinate", "structure")
"""Kinds of tokens of a sample."""
OBJECT_KINDS = ("caption", "coordinate")
"""Kinds of tokens of an object."""
COMPARED = 1000
"""Values that a value is ranked among; more where they do not divide so, fewer where there are no more."""

I64 = npt.NDArray[np.int64]
F64 = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False, slots=True)
class Losses:
    """Mean losses of a token, in nats, of S things by K kinds of token, and their ranks among those like them."""

    means: F64
    """float64 (S, K); NaN where there is no such token, infinite where the loss is not finite."""
    ranks: F64
    """float64 (S, K), 0..1: the share of those like it that have a lower loss, and 1 for an infinite loss alone; NaN
    where there is no such token."""

    @classmethod
    def ranked(cls, means: F64, groups: Sequence[I64]) -> Losses:
        """Rank losses.

        Args:
            means: float64 (S, K), in the order of training.
            groups: For each kind, int64 (S,): those of equal numbers are alike.
        """
        columns = [_ranks_in_groups(*each) for each in zip(means.T, groups, strict=True)]
        return cls(means, np.stack(columns, axis=-1))

    @property
    def worst_kind(self) -> I64:
        """int64 (S,): the kind of token with the highest rank."""
        worst: I64 = np.argmax(np.nan_to_num(self.ranks, nan=-1.0), axis=1)
        return worst

    def order(self) -> I64:
        """Return all of them, int64 (S,), those with the highest rank first; of equal ranks, the higher loss first."""
        at = np.arange(len(self.means)), self.worst_kind
        keys = -np.nan_to_num(self.means[at]), -np.nan_to_num(self.ranks[at])
        return np.lexsort(keys).astype(np.int64)


@dataclass(frozen=True, eq=False, slots=True)
class LossTable:
    """The newest losses of S samples and their N objects, in the order of training."""

    epoch: I64
    """int64 (S,): epoch of each, from 0."""
    step: I64
    index: I64
    """int64 (S,): record of each, from 0."""
    draw: I64
    names: tuple[str, ...]
    """File and line of each."""
    means: F64
    """float64 (S, 3): by `SAMPLE_KINDS`."""
    owner: I64
    """int64 (N,): the sample of each object."""
    number: I64
    """int64 (N,): number of each object in the record, from 1."""
    shape: I64
    """int64 (N,): `GeometryKind` of each object in the answer."""
    object_means: F64
    """float64 (N, 2): by `OBJECT_KINDS`."""

    def samples(self, datasets: I64) -> Losses:
        """Return the losses of the samples.

        Args:
            datasets: int64 (S,): data set of each sample.
        """
        return Losses.ranked(self.means, [datasets] * len(SAMPLE_KINDS))

    def objects(self, datasets: I64) -> Losses:
        """Return the losses of the objects; coordinates are ranked by the kind of shape too.

        Args:
            datasets: As of `samples`.
        """
        of_object = datasets[self.owner]
        return Losses.ranked(self.object_means, [of_object, len(KEYS) * of_object + self.shape])


def read_loss_table(files: Sequence[tuple[int, Path]]) -> LossTable:
    """Read the losses of a run. Of a sample that several files have, the last one counts.

    Args:
        files: Epoch and file, oldest first.

    Raises:
        RecordError: A line is damaged.
    """
    places, owners, names = array("q"), array("q"), list[str]()
    sums, object_sums = array("d"), array("d")
    for epoch, path in files:
        for loss in read_losses(path):
            for each in loss.objects:
                owners.extend((len(names), each.number, KEYS[each.shape]))
                object_sums.extend(_numbers(each.caption, each.coordinate))
            places.extend((epoch, loss.step, loss.index, loss.draw))
            sums.extend(_numbers(loss.caption, loss.coordinate, loss.structure))
            names.append(loss.sample)
    place = np.asarray(places).reshape(-1, 4)
    owner, number, shape = np.asarray(owners).reshape(-1, 3).T
    # The last of equal ones is the first one from behind.
    _, newest = np.unique(place[::-1, 2:], axis=0, return_index=True)
    kept = np.sort(len(place) - 1 - newest)
    left = np.isin(owner, kept)
    epochs, steps, indices, draws = place[kept].T
    return LossTable(
        epoch=epochs,
        step=steps,
        index=indices,
        draw=draws,
        names=tuple(names[k] for k in kept.tolist()),
        means=_means(sums, len(SAMPLE_KINDS))[kept],
        owner=np.searchsorted(kept, owner[left]),
        number=number[left],
        shape=shape[left],
        object_means=_means(object_sums, len(OBJECT_KINDS))[left],
    )


def _numbers(*parts: TokenLoss) -> Iterator[float]:
    """Yield number of tokens and sum of losses of each part; what is not finite is infinite."""
    for tokens, loss in parts:
        yield tokens
        yield math.inf if loss is None else loss


def _means(sums: array[float], num_kinds: int) -> F64:
    """Return sums over tokens, as number of tokens and sum of losses of each kind, as means: float64 (S, kinds)."""
    tokens, losses = np.moveaxis(np.asarray(sums).reshape(-1, num_kinds, 2), -1, 0)
    means = np.full(tokens.shape, np.nan)
    np.divide(losses, tokens, out=means, where=tokens > 0)
    return means


def _ranks_in_groups(values: F64, groups: I64) -> F64:
    ranks = np.full(len(values), np.nan)
    for group in np.unique(groups):
        members = np.flatnonzero((groups == group) & ~np.isnan(values))
        for window in np.array_split(members, max(1, len(members) // COMPARED)):
            if len(window):
                ranks[window] = (rankdata(values[window]) - 0.5) / len(window)
    ranks[np.isposinf(values)] = 1.0  # above all others, however many there are
    return ranks
