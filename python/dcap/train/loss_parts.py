"""The loss in parts: by kind of token and by data set.

Owns the names of these metrics. A part is the mean over its own tokens with the weights of the whole, so the mean of
the parts, weighted by their sums of weights, is the whole. Parts are without label smoothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from accelerate.utils import gather_object

from dcap.data.collate import Batch
from dcap.data.encode import IGNORE_INDEX
from dcap.data.tokens import TokenKind
from dcap.train.loss import LossOutput
from dcap.train.token_weights import sample_of_token


class Part(NamedTuple):
    """Sums over some supervised tokens."""

    weight: float = 0.0
    """Of the tokens' weights."""
    loss_sum: float = 0.0
    """Of weight x cross-entropy."""
    counted: float = 0.0
    """Tokens of positive weight."""
    correct: float = 0.0
    """Tokens of positive weight that the model would have written."""

    @property
    def loss(self) -> float:
        """Weighted mean of the cross-entropy."""
        return self.loss_sum / self.weight

    @property
    def token_accuracy(self) -> float:
        """Share of `correct`."""
        return self.correct / self.counted


@dataclass(frozen=True)
class LossParts:
    """Sums by kind of token and by data set: a few plain numbers, only of tokens with a positive weight."""

    kinds: dict[str, Part] = field(default_factory=dict)
    """By name of the `TokenKind`, in lower case."""
    datasets: dict[str, Part] = field(default_factory=dict)
    """By name of the data set."""

    def add(self, batch: Batch, output: LossOutput) -> None:
        """Add the tokens of a batch; waits for the device.

        Args:
            batch: In the memory of the host.
            output: Its loss, on any device.
        """
        sums = _by_sample_and_kind(batch, output)
        _add(self.kinds, {kind.name.lower(): Part(*sums[:, :, kind].sum(axis=1).tolist()) for kind in TokenKind})
        for info, part in zip(batch["samples"], sums.sum(axis=2).T.tolist(), strict=True):
            _add(self.datasets, {info.dataset: Part(*part)})

    @classmethod
    def of(cls, batches: Iterable[Batch], outputs: Sequence[LossOutput]) -> LossParts:
        """Return the parts of a step. A step that trained on nothing has no parts."""
        parts = cls()
        for batch, output in zip(batches, outputs, strict=True) if outputs else ():
            parts.add(batch, output)
        return parts

    def over_ranks(self) -> LossParts:
        """Return the sum over all ranks, which must all call it."""
        total = LossParts()
        for kinds, datasets in gather_object([(self.kinds, self.datasets)]):
            _add(total.kinds, kinds)
            _add(total.datasets, datasets)
        return total

    @property
    def whole(self) -> Part:
        """The sum of the parts."""
        return Part(*(sum(values) for values in zip(Part(), *self.kinds.values(), strict=True)))

    def training_metrics(self) -> dict[str, float]:
        """Return ``loss_kind/KIND``, ``token_accuracy_kind/KIND`` and ``loss_dataset/NAME``."""
        return self._of_kinds() | {f"loss_dataset/{name}": part.loss for name, part in sorted(self.datasets.items())}

    def validation_metrics(self) -> dict[str, float]:
        """Return the same as ``eval/...``, but ``eval/NAME/loss``, and that only where there are several data sets."""
        out = {f"eval/{name}": value for name, value in self._of_kinds().items()}
        if len(self.datasets) > 1:
            out |= {f"eval/{name}/loss": part.loss for name, part in sorted(self.datasets.items())}
        return out

    def _of_kinds(self) -> dict[str, float]:
        losses = {f"loss_kind/{name}": part.loss for name, part in self.kinds.items()}
        return losses | {f"token_accuracy_kind/{name}": part.token_accuracy for name, part in self.kinds.items()}


def _add(sums: dict[str, Part], more: Mapping[str, Part]) -> None:
    for name, part in more.items():
        if part.counted:
            sums[name] = Part(*(a + b for a, b in zip(sums.get(name, Part()), part, strict=True)))


def _by_sample_and_kind(batch: Batch, output: LossOutput) -> np.ndarray[tuple[int, int, int], np.dtype[np.float64]]:
    """Return the four sums of `Part`, for each sample and kind: float64 (4, samples, kinds)."""
    supervised = batch["labels"][:, 1:] != IGNORE_INDEX
    bins = len(TokenKind) * sample_of_token(batch)[:, 1:][supervised] + batch["token_kinds"][:, 1:][supervised]
    weights = batch["loss_weights"][:, 1:][supervised].double()
    # A token without weight may have any loss, even an infinite one.
    losses = torch.where(weights > 0, weights * output.token_loss.cpu(), 0.0)
    correct = output.correct.cpu() & (weights > 0)
    shape = len(batch["samples"]), len(TokenKind)
    counts = [
        torch.bincount(bins, values.double(), minlength=shape[0] * shape[1])
        for values in (weights, losses, weights > 0, correct)
    ]
    return torch.stack(counts).reshape(4, *shape).numpy()
