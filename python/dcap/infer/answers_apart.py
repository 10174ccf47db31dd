"""How far the answers of two models to the same questions are apart: their texts, objects, coordinates and F1."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

import numpy as np
import numpy.typing as npt

from dcap.answers.codec import Parsed
from dcap.answers.prediction import Prediction
from dcap.core.words import counted
from dcap.evaluate.evaluation import score
from dcap.infer.asked_record import AskedRecord, predictions_of
from dcap.infer.engine import Reply
from dcap.infer.predictor import Predictor
from dcap.records.record import Record

MAX_SHIFT = 2.0
"""Largest median shift of coordinates that passes, in grid units."""
MAX_F1_CHANGE = 0.005
"""Largest change of F1 that passes."""


@dataclass(frozen=True, eq=False, slots=True)
class ReadAnswers:
    """The answers of one model to the questions about some records, and what they say."""

    replies: list[Reply]
    """The answer to each question."""
    parsed: list[Parsed]
    """Their objects on the grid; empty for summaries."""
    predictions: list[Prediction]
    """What they say about each record."""

    @classmethod
    def of(cls, predictor: Predictor, asked: Sequence[AskedRecord], replies: list[Reply]) -> ReadAnswers:
        """Read the answers to `questions_of` some records.

        Raises:
            RecordError: The engine could not answer about a record.
        """
        parsed = [predictor.parsed(reply) for reply in replies] if predictor.mode == "dense" else []
        return cls(replies, parsed, predictions_of(predictor, asked, replies))


@dataclass(frozen=True, slots=True)
class AnswersApart:
    """How far the answers of two models to the same questions are apart."""

    answers: int
    """Questions that both were asked."""
    equal: int
    """Answers that are equal, token by token."""
    objects: int
    """Objects with the same text, kind and number of points in both answers, in the same order."""
    objects_apart: int
    """Objects that only one of the answers has."""
    median_shift: float | None
    """Median difference of a coordinate of the same object, in grid units. `None`: there is none."""
    p99_shift: float | None
    """99th percentile of it."""
    largest_shift: float | None
    """Largest of it."""
    f1_change: float | None
    """By how much F1 of all objects at IoU 0.5 changes. `None`: no record has an object."""

    @classmethod
    def between(cls, records: Sequence[Record], one: ReadAnswers, two: ReadAnswers) -> AnswersApart:
        """Compare the answers of two models to the same questions.

        Args:
            records: What they are about; their objects are the truth.
            one: Answers of the model that is trusted.
            two: Those of the other one.
        """
        objects, num_all, shifts = 0, 0, [np.empty(0)]
        for first, second in zip(one.parsed, two.parsed, strict=True):
            count, moved = coordinate_shifts(first, second)
            objects += count
            num_all += len(first.captions) + len(second.captions)
            shifts.append(moved)
        moved = np.concatenate(shifts)
        middle, high, largest = np.percentile(moved, (50, 99, 100)).tolist() if len(moved) else (None,) * 3
        return cls(
            answers=len(one.replies),
            equal=sum(map(are_equal, one.replies, two.replies)),
            objects=objects,
            objects_apart=num_all - 2 * objects,
            median_shift=middle,
            p99_shift=high,
            largest_shift=largest,
            f1_change=_f1_change(records, one, two),
        )

    def failures(self) -> list[str]:
        """Return, in words, each figure that is beyond its limit."""
        found = []
        if self.median_shift is not None and self.median_shift > MAX_SHIFT:
            found.append(f"median shift must be at most {MAX_SHIFT:g} grid units, not {self.median_shift:g}")
        if self.f1_change is not None and abs(self.f1_change) > MAX_F1_CHANGE:
            found.append(f"F1 must change by at most {MAX_F1_CHANGE:g}, not {self.f1_change:+.3g}")
        return found

    def __str__(self) -> str:
        shift = "no object in common"
        if self.median_shift is not None:
            shift = (
                f"coordinates shift by {self.median_shift:g} (median), {self.p99_shift:g} (p99) and "
                f"{self.largest_shift:g} (largest) grid units"
            )
        change = "" if self.f1_change is None else f"; F1 changes by {self.f1_change:+.4f}"
        return (
            f"{self.equal} of {counted(self.answers, 'answer')} equal; {counted(self.objects, 'object')} in both, "
            f"{self.objects_apart} in one; {shift}{change}"
        )


def _f1_change(records: Sequence[Record], one: ReadAnswers, two: ReadAnswers) -> float | None:
    if not one.parsed or not any(record.captions for record in records):
        return None
    before, after = (score(records, answers.predictions).objects.f1 for answers in (one, two))
    return after - before


def are_equal(one: Reply, two: Reply) -> bool:
    """Whether two answers end alike and have the same tokens, or texts where an engine tells no tokens."""
    if one.token_ids is None or two.token_ids is None:
        return (one.text, one.finish) == (two.text, two.finish)
    return (one.token_ids, one.finish) == (two.token_ids, two.finish)


def coordinate_shifts(one: Parsed, two: Parsed) -> tuple[int, npt.NDArray[np.float64]]:
    """Compare the objects of two answers that have the same text, kind and number of points, in the same order.

    Args:
        one: An answer on the grid.
        two: Another one about the same image.

    Returns:
        How many such objects there are, and the differences of all their coordinates, float64 (2 * points,) in grid
        units.
    """
    blocks = SequenceMatcher(None, _keys(one), _keys(two), autojunk=False).get_matching_blocks()
    pairs = [(block.a + k, block.b + k) for block in blocks for k in range(block.size)]
    mine, theirs = one.shapes.take([i for i, _ in pairs]), two.shapes.take([j for _, j in pairs])
    return len(pairs), np.abs(mine.xy - theirs.xy).ravel()


def _keys(parsed: Parsed) -> list[tuple[Any, ...]]:
    counts = np.diff(parsed.shapes.offsets).tolist()
    return list(zip(parsed.captions, parsed.shapes.kinds.tolist(), counts, strict=True))
