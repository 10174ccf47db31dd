"""The cost of each answer format: how many tokens it takes for the objects of a run's own samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from dcap.answers.codec import Answer, write_answer, write_parts
from dcap.answers.formats import OWN_FORMATS
from dcap.data.dataset import DenseCaptionDataset
from dcap.data.planning import Planner
from dcap.data.sample import SampleKey
from dcap.data.tokens import SUPERVISED_KINDS, TokenKind
from dcap.geometry.shapes import GeometryKind

MOST_SAMPLES = 64
"""Samples whose answers are written in each format; more would hardly change the means."""


@dataclass(frozen=True, slots=True)
class FormatCost:
    """Tokens per object in one format."""

    name: str
    is_used: bool
    """Whether the config, or a data set of its mixture, has this format."""
    num_objects: int
    by_token: dict[TokenKind, float]
    """Tokens of each supervised kind. A prefix, outer brackets and the end of the answer are shared out."""
    by_shape: dict[GeometryKind, float]
    """Tokens of a box, a polygon and a line, each from answers with this kind alone; only kinds that there are."""

    @property
    def tokens(self) -> float:
        """Tokens of all kinds."""
        return sum(self.by_token.values())


def format_costs(dataset: DenseCaptionDataset, keys: Sequence[SampleKey]) -> tuple[FormatCost, ...]:
    """Return what dcap's formats, and those of the config, cost on some samples. Empty: they have no objects.

    Args:
        dataset: Whose samples.
        keys: Samples that can be planned.

    Raises:
        RecordError: As `DenseCaptionDataset.plan`.
        ConfigError: A format of the config is not registered.
        PluginError: As `dcap.answers.codec.write_parts`.
    """
    planned = [(dataset.planner_of(key.index), dataset.plan(key.epoch, key.index, key.when, key.draw)) for key in keys]
    answers = [
        (planner, each.answer) for planner, each in planned if each.answer is not None and len(each.answer.shapes)
    ]
    if not answers:
        return ()
    used = {planner.profile.answer.format for planner in dataset.planners}
    return tuple(_cost(name, name in used, answers) for name in dict.fromkeys([*OWN_FORMATS, *sorted(used)]))


def _cost(name: str, is_used: bool, answers: Sequence[tuple[Planner, Answer]]) -> FormatCost:
    tokens = np.zeros(len(TokenKind), np.int64)
    counts = dict.fromkeys(GeometryKind, 0)
    of_shapes = dict.fromkeys(GeometryKind, 0)
    for planner, answer in answers:
        encoder, profile = planner.encoder, replace(planner.profile.answer, format=name)
        parts = write_parts(answer, profile)
        ids = encoder.answer_ids("".join([text for text, _ in parts]))
        tokens += np.bincount(encoder.answer_kinds(parts, ids), minlength=len(TokenKind))
        for kind in GeometryKind:
            alone = _only(answer, kind)
            if len(alone.shapes):
                counts[kind] += len(alone.shapes)
                of_shapes[kind] += encoder.num_answer_tokens(write_answer(alone, profile))
    total = sum(counts.values())
    return FormatCost(
        name=name,
        is_used=is_used,
        num_objects=total,
        by_token={kind: int(tokens[kind]) / total for kind in SUPERVISED_KINDS},
        by_shape={kind: of_shapes[kind] / count for kind, count in counts.items() if count},
    )


def _only(answer: Answer, kind: GeometryKind) -> Answer:
    """Return the answer with the shapes of one kind."""
    places = np.flatnonzero(answer.shapes.kinds == kind)
    captions = tuple([answer.captions[i] for i in places.tolist()])
    return Answer(answer.shapes.take(places), captions, answer.index[places], answer.kept_iou[places])
