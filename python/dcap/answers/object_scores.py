"""How sure a model was of each object of its answer, from the log-probabilities of its tokens.

::

    answer     {"object_1": {"bbox_2d": [417, 494, 491, 702], "desc": "cup"}}
    numbers                              ---  ---  ---  ---                      geometric mean of p(token): 0.81
    caption                                                            ---       geometric mean of p(token): 0.96

What the format dictates (keys, punctuation, counts of points) says nothing about an object and does not count.
"""

from __future__ import annotations

import codecs
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dcap.answers.codec import MAX_COORDINATE, Answer, legal_points, write_parts
from dcap.answers.formats import ANSWER_FORMATS, AnswerObject, PartKind
from dcap.answers.prefix import Prefix
from dcap.answers.profile import AnswerProfile
from dcap.answers.reader import Notes
from dcap.answers.reasoning import answer_start
from dcap.geometry.grid import SPANS
from dcap.geometry.shapes import ShapeArray

Span = tuple[int, int]
"""First character, and the one behind the last."""

_DIGITS = re.compile(r"\d+", re.ASCII)
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*+"|[][{}:]|\d+', re.DOTALL | re.ASCII)
_COUNT_KEY = '_points"'


@dataclass(frozen=True, slots=True)
class ObjectScore:
    """How sure a model was of one object, 0..1."""

    numbers: float | None
    """Geometric mean of the probabilities of the tokens that hold a digit of its numbers. `None`: there is no token."""
    caption: float | None
    """The same of its caption. `None`: the caption is empty."""

    @property
    def combined(self) -> float | None:
        """Geometric mean of both: a place and a name weigh the same, however many tokens they take."""
        known = [score for score in (self.numbers, self.caption) if score is not None]
        return math.prod(known) ** (1 / len(known)) if known else None


@dataclass(frozen=True, slots=True)
class ObjectSpans:
    """The characters of one object in an answer text."""

    numbers: tuple[Span, ...]
    """Digits of the numbers, without what is between them."""
    caption: Span
    """The caption without its quotes, with its escapes."""


def score_objects(
    text: str,
    tokens: Sequence[bytes],
    logprobs: Sequence[float],
    profile: AnswerProfile,
    reasoning: bool = False,
) -> list[ObjectScore] | None:
    """Return how sure the model was of each object.

    Args:
        text: The answer as the model wrote it.
        tokens: The bytes of each of its tokens. They may go on behind the text, where that was cut.
        logprobs: Log-probability of each token.
        profile: How answers are written.
        reasoning: Whether the prompt ended inside reasoning, as in `dcap.answers.codec.parse`.

    Returns:
        One score per object that `dcap.answers.codec.parse` reads leniently, in its order. `None`: tokens and
        log-probabilities are not one to one, or the tokens do not spell the text, as when a server hides some.

    Raises:
        ConfigError: The profile's format is not registered.
        PluginError: The format is one of a plugin, and its text does not come in parts.
    """
    places = _token_spans(tokens, text)
    if places is None or len(tokens) != len(logprobs):
        return None
    spans = object_spans(text, profile, reasoning)
    owner = np.full(len(text) + 1, -1)  # object k has 2 k at its numbers, 2 k + 1 in its caption
    for k, each in enumerate(spans):
        for start, end in each.numbers:
            owner[start:end] = 2 * k
        owner[slice(*each.caption)] = 2 * k + 1
    sums, counts = np.zeros(2 * len(spans)), np.zeros(2 * len(spans), np.int64)
    for (start, end), logprob in zip(places, logprobs, strict=True):
        for part in set(owner[start:end].tolist()) - {-1}:
            sums[part] += logprob
            counts[part] += 1
    means = [
        math.exp(min(total / n, 0.0)) if n else None for total, n in zip(sums.tolist(), counts.tolist(), strict=True)
    ]
    return [ObjectScore(means[2 * k], means[2 * k + 1]) for k in range(len(spans))]


def object_spans(text: str, profile: AnswerProfile, reasoning: bool = False) -> list[ObjectSpans]:
    """Return where the numbers and the caption of each object are in an answer; arguments as of `score_objects`.

    An answer that is written as dcap writes it is written again, and its parts say where they are. In any other answer,
    digits and texts are looked for between the brackets of each object.

    Raises:
        ConfigError: As `score_objects`.
        PluginError: As `score_objects`.
    """
    begin = answer_start(text, reasoning)
    if begin is None:
        return []
    start = begin
    if profile.prefix is not None:
        begin = len(text) - len(text[begin:].lstrip())
        start = Prefix(profile.prefix).end_in(text, begin) or start
    notes = Notes(strict=False)
    read = ANSWER_FORMATS.get(profile.format, "data.answer.format").parse_objects(text[start:], notes)
    limit = SPANS.get(profile.emit_norm, MAX_COORDINATE)
    legal = [(obj, legal_points(obj, limit, notes)) for obj in read]
    kept = [(obj, points) for obj, points in legal if points is not None]
    shapes = ShapeArray.from_points([points for _, points in kept], [obj.kind for obj, _ in kept])
    captions = tuple(obj.caption for obj, _ in kept)
    written = write_parts(Answer(shapes, captions, np.arange(len(kept)), np.ones(len(kept))), profile)
    if "".join([part for part, _ in written]) == text[begin:]:
        return _written_spans(written, begin)
    return [_read_spans(text, start + obj.position, obj) for obj, _ in kept]


def _written_spans(parts: Sequence[tuple[str, PartKind]], begin: int) -> list[ObjectSpans]:
    """Return the spans of an answer from its parts; its first character is at `begin`."""
    numbers: list[tuple[Span, ...]] = []
    captions: list[Span] = []
    for part, kind in parts:
        if kind is PartKind.NUMBERS:
            numbers.append(tuple((begin + m.start(), begin + m.end()) for m in _DIGITS.finditer(part)))
        elif kind is PartKind.CAPTION:
            captions.append((begin, begin + len(part)))
        begin += len(part)
    return [ObjectSpans(*each) for each in zip(numbers, captions, strict=True)]


def _read_spans(text: str, position: int, obj: AnswerObject) -> ObjectSpans:
    """Return the spans of one object between the bracket at `position` and the one that closes it."""
    numbers: list[Span] = []
    values: list[re.Match[str]] = []
    depth, before = 0, ""
    for match in _TOKEN.finditer(text, position):
        token = match[0]
        if token in "[{":
            depth += 1
        elif token in "]}":
            depth -= 1
            if depth <= 0:
                break
        elif token == ":":
            values = values[:-1] if before.startswith('"') else values  # it was a key
            token = before + token
        elif token.startswith('"'):
            values.append(match)
        elif not before.endswith(_COUNT_KEY + ":"):
            numbers.append(match.span())
        before = token
    equal = [match for match in values if _text_of(match[0]) == obj.caption] or values
    return ObjectSpans(tuple(numbers), (equal[-1].start() + 1, equal[-1].end() - 1) if equal else (0, 0))


def _text_of(literal: str) -> str | None:
    try:
        value: str = json.loads(literal, strict=False)
    except json.JSONDecodeError:
        return None
    return value


def _token_spans(tokens: Sequence[bytes], text: str) -> list[Span] | None:
    """Return the characters of each token; a part of a character has all of it. `None`: they do not spell the text."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    spans, pieces, start = [], [], 0
    for token in tokens:
        pieces.append(decoder.decode(token))
        end = start + len(pieces[-1])
        spans.append((start, max(end, start + 1)))
        start = end
    return spans if ("".join(pieces) + decoder.decode(b"", True)).startswith(text) else None
