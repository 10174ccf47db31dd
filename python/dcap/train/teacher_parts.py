"""The distance from a teacher over many batches: sums, and the metrics made of them.

Owns the names of these metrics. All but the ratio of gradients are means over the tokens that take part, by their
weights in the term, at its temperature.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import torch
from accelerate.utils import gather_object

from dcap.data.collate import Batch
from dcap.data.encode import IGNORE_INDEX
from dcap.data.tokens import TokenKind
from dcap.train.chunked_loss import Compared
from dcap.train.distill_config import DistillConfig
from dcap.train.loss import LossOutput
from dcap.train.token_weights import visual_weights
from dcap.train.vision_distance import rows_of

_VALUES = ("loss", "agreement", "student_entropy", "teacher_entropy")


@dataclass
class TeacherParts:
    """Sums of plain numbers, only of tokens with a positive weight in the term."""

    weight: float = 0.0
    """Of the tokens' weights."""
    sums: dict[str, float] = field(default_factory=dict)
    """Of weight x value."""
    kinds: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Weight, and sum of weight x divergence, by name of the `TokenKind` in lower case."""
    vision: dict[str, float] = field(default_factory=dict)
    """Sum of each distance of visual features."""
    visual_tokens: float = 0.0
    """Number of visual tokens that were added up."""
    squares: tuple[float, float] = (0.0, 0.0)
    """Of the gradients at the hidden states: of the cross-entropy sum, and of the divergence sum."""

    def add(self, batch: Batch, output: LossOutput, config: DistillConfig) -> None:
        """Add the tokens of a batch; waits for the device.

        Args:
            batch: In the memory of the host.
            output: Its loss, on any device.
            config: Says what takes part.
        """
        if output.compared is None:
            return
        self.vision = _sums(self.vision, {name: float(each) for name, each in output.vision_apart.items()})
        self.visual_tokens += float(visual_weights(batch, config).sum())
        compared = Compared(*(each.detach().cpu().double() for each in output.compared))
        weights = compared.weights
        values = (compared.divergence, compared.agrees, compared.entropy, compared.reference_entropy)
        # A token without weight may be infinitely far away.
        weighted = [torch.where(weights > 0, weights * value, 0.0) for value in values]
        kinds = batch["token_kinds"][:, 1:][batch["labels"][:, 1:] != IGNORE_INDEX].long()
        by_kind = [torch.bincount(kinds, each, minlength=len(TokenKind)).tolist() for each in (weights, weighted[0])]
        self._include(
            TeacherParts(
                float(weights.sum()),
                {name: float(each.sum()) for name, each in zip(_VALUES, weighted, strict=True)},
                {kind.name.lower(): (by_kind[0][kind], by_kind[1][kind]) for kind in TokenKind if by_kind[0][kind]},
                squares=(float(compared.gradient_squares[0]), float(compared.gradient_squares[1])),
            )
        )

    @classmethod
    def of(cls, batches: Iterable[Batch], outputs: Sequence[LossOutput], config: DistillConfig) -> TeacherParts:
        """Return the parts of a step. A step that trained on nothing has none."""
        parts = cls()
        for batch, output in zip(batches, outputs, strict=True) if outputs else ():
            parts.add(batch, output, config)
        return parts

    def over_ranks(self) -> TeacherParts:
        """Return the sum over all ranks, which must all call it."""
        total = TeacherParts()
        for each in gather_object([self]):
            total._include(each)
        return total

    def metrics(self, config: DistillConfig, loss_weight: float | None = None) -> dict[str, float]:
        """Return ``kd/...``; nothing where no token took part.

        Args:
            config: Gives the term its weight.
            loss_weight: Denominator of the cross-entropy, for the ratio of gradients. `None`: there was no gradient.
        """
        seen = {
            f"kd/vision_{k}": v / rows_of(k, self.visual_tokens) for k, v in self.vision.items() if self.visual_tokens
        }
        if not self.weight:
            return seen
        found = seen | {f"kd/{name}": self.sums[name] / self.weight for name in _VALUES}
        scale = config.weight * config.temperature**2
        found["kd/weighted"] = scale * found["kd/loss"]
        found |= {f"kd/loss_kind/{name}": total / weight for name, (weight, total) in self.kinds.items()}
        of_labels, of_teacher = self.squares
        if loss_weight and of_labels > 0:
            # The squares of the divergence hold the temperature already.
            ratio = (of_teacher / of_labels) ** 0.5
            found["kd/grad_ratio"] = config.weight * ratio * loss_weight / self.weight
        return found

    def _include(self, more: TeacherParts) -> None:
        self.weight += more.weight
        self.sums, self.vision = _sums(self.sums, more.sums), _sums(self.vision, more.vision)
        self.visual_tokens += more.visual_tokens
        for name, (weight, total) in more.kinds.items():
            before = self.kinds.get(name, (0.0, 0.0))
            self.kinds[name] = (before[0] + weight, before[1] + total)
        self.squares = (self.squares[0] + more.squares[0], self.squares[1] + more.squares[1])


def _sums(one: dict[str, float], other: dict[str, float]) -> dict[str, float]:
    return {name: one.get(name, 0.0) + other.get(name, 0.0) for name in {**one, **other}}
