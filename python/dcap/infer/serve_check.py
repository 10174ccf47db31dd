"""Whether a server answers as the model itself does: some images, asked of both, and how far the answers are apart.

A server that counts the tokens of prompts as dcap does may still have other weights, such as a part of an adapter, or
another precision.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import islice, takewhile
from pathlib import Path

from dcap.answers.codec import Parsed, parse
from dcap.core.errors import ConfigError, ServerError
from dcap.core.log import get_logger
from dcap.core.words import counted, show
from dcap.infer.engine import Reply
from dcap.infer.export_proof import coordinate_shifts
from dcap.infer.loading import HF, EngineOptions, open_predictor
from dcap.infer.openai_engine import RefusedSettingError
from dcap.infer.predictor import Predictor
from dcap.infer.source import ModelSource
from dcap.model.decoding import Decoding
from dcap.records.files.opening import open_source
from dcap.records.images import decode_image
from dcap.records.record import Record, image_source

log = get_logger(__name__)

_SHOWN = 60


@dataclass(frozen=True, slots=True)
class ServeCheckOptions:
    """What a server is compared on.

    Raises:
        ConfigError: The engine is no server, or a number is out of its range.
    """

    engine: EngineOptions
    """The server; and device, precision and batch size of the model in this process."""
    data: tuple[Path, ...]
    """Files of records; only their images are used."""
    num_records: int = 20
    """Only the first records are taken."""
    max_new_tokens: int = 4096
    """Stop an answer after this many tokens."""
    root: Path | None = None
    """Folder that image paths must stay in. `None`: any path."""

    def __post_init__(self) -> None:
        if not self.engine.is_server:
            raise ConfigError("server to check must be given by its address, and is not")
        for name, option in (("num_records", "--limit"), ("max_new_tokens", "--max-new-tokens")):
            if getattr(self, name) < 1:
                raise ConfigError(f"{option} must be at least 1, not {getattr(self, name)}")

    def records(self) -> list[Record]:
        """Return the records.

        Raises:
            ConfigError: There is none.
            RecordError: A file cannot be read, or a record breaks the contract.
        """
        files = map(open_source, self.data)
        found = list(islice((file[i] for file in files for i in range(len(file))), self.num_records))
        if not found:
            raise ConfigError("--data must hold at least one record, not none")
        return found


@dataclass(frozen=True, slots=True)
class AnswerGap:
    """An image about which a server answers otherwise."""

    record: str
    """File and line of the record."""
    equal_tokens: int
    """Tokens, or characters where the server tells no tokens, before the answers part."""
    here: str
    """How the answer of the model in this process goes on."""
    there: str
    """How that of the server goes on."""


@dataclass(frozen=True, slots=True)
class ServeCheck:
    """How far the answers of a server are from those of the model in this process."""

    records: int
    """Images that both were asked about."""
    objects: int
    """Objects with the same text, kind and number of points in both answers, in the same order."""
    objects_apart: int
    """Objects that only one of the answers has."""
    largest_shift: float | None
    """Largest difference of a coordinate of the same object, in grid units. `None`: there is none."""
    largest_logprob_gap: float | None
    """Largest difference of the log-probability of an equal token. `None`: the server tells none."""
    gaps: tuple[AnswerGap, ...] = field(default=())
    """Images whose answers differ."""

    @property
    def passes(self) -> bool:
        """Whether all answers are equal, token by token."""
        return not self.gaps

    def lines(self) -> list[str]:
        """Return the figures in words."""
        equal = self.records - len(self.gaps)
        shift = "no object in common"
        if self.largest_shift is not None:
            shift = f"coordinates shift by {self.largest_shift:g} grid units at most"
        scores = "" if self.largest_logprob_gap is None else (
            f"; log-probabilities of equal tokens differ by {self.largest_logprob_gap:.2e} at most"
        )  # fmt: skip
        return [
            f"{equal} of {counted(self.records, 'answer')} equal; {counted(self.objects, 'object')} in both, "
            f"{self.objects_apart} in one; {shift}{scores}",
            *(f"{gap.record}: equal up to {gap.equal_tokens}, then here {show(gap.here, _SHOWN)} and on the server "
              f"{show(gap.there, _SHOWN)}" for gap in self.gaps),
        ]  # fmt: skip


def check_server(source: ModelSource, options: ServeCheckOptions) -> ServeCheck:
    """Ask a server and the model itself about some images, greedily, and compare the answers.

    Args:
        source: The model itself, with its weights; its answer profile asks both.
        options: The server and the records.

    Raises:
        ConfigError: The model cannot be loaded, or there is no record.
        RecordError: A record or image is bad.
        ServerError: The server does not answer, or not as agreed.
    """
    records = options.records()
    decoding = Decoding(max_new_tokens=options.max_new_tokens, logprobs=True)
    # The server comes first: what is wrong there shows before a model is loaded.
    engine = options.engine.resolved()
    try:
        there = open_predictor(source, engine, decoding)
    except RefusedSettingError as error:
        if error.name != "logprobs":
            raise
        log.warning("log-probabilities are not compared: %s refuses logprobs", engine.server())
        decoding = replace(decoding, logprobs=False)
        there = open_predictor(source, engine, decoding)
    theirs = _answers(there, records, options)
    here = open_predictor(source, replace(options.engine, engine=HF).resolved(), decoding)
    return compare_replies(here, records, _answers(here, records, options), theirs)


def compare_replies(
    predictor: Predictor, records: Sequence[Record], here: Sequence[Reply], there: Sequence[Reply]
) -> ServeCheck:
    """Compare the answers of two engines to the same questions.

    Args:
        predictor: Reads the answers.
        records: The records behind the questions.
        here: Answers of the engine that is trusted.
        there: Answers of the engine in question.
    """
    gaps: list[AnswerGap] = []
    shifts: list[float] = []
    scores: list[float] = []
    common = apart = 0
    for record, one, two in zip(records, here, there, strict=True):
        if (gap := _gap(record, one, two)) is not None:
            gaps.append(gap)
        scores += _logprob_gaps(one, two)
        if predictor.mode == "dense":
            a, b = _parsed(predictor, one), _parsed(predictor, two)
            number, moved = coordinate_shifts(a, b)
            common += number
            apart += len(a.captions) + len(b.captions) - 2 * number
            shifts += moved.tolist()
    return ServeCheck(
        records=len(records),
        objects=common,
        objects_apart=apart,
        largest_shift=max(shifts, default=None),
        largest_logprob_gap=max(scores, default=None),
        gaps=tuple(gaps),
    )


def _answers(predictor: Predictor, records: Sequence[Record], options: ServeCheckOptions) -> list[Reply]:
    rule = predictor.profile.sixteen_bit
    images = (
        decode_image(image_source(record, options.root), record.canvas, origin=record.origin, sixteen_bit=rule)
        for record in records
    )
    questions = [predictor.question(image, record.origin) for image, record in zip(images, records, strict=True)]
    replies = predictor.answers(questions)
    for record, reply in zip(records, replies, strict=True):
        if reply.finish == "error":
            raise ServerError(f"{record.origin}: {reply.error}")
    return replies


def _parsed(predictor: Predictor, reply: Reply) -> Parsed:
    reasons = predictor.encoder.opens_reasoning
    return parse(reply.text, predictor.profile.answer, strict=False, reasoning=reasons)


def _gap(record: Record, one: Reply, two: Reply) -> AnswerGap | None:
    if one.token_ids is None or two.token_ids is None:
        number = _equal(one.text, two.text)
        same = one.text == two.text
    else:
        number = _equal(one.token_ids, two.token_ids)
        same = one.token_ids == two.token_ids
    if same and one.finish == two.finish:
        return None
    begin = _equal(one.text, two.text)
    return AnswerGap(str(record.origin), number, one.text[begin:], two.text[begin:])


def _logprob_gaps(one: Reply, two: Reply) -> list[float]:
    """Return how far the log-probabilities of equal tokens are apart."""
    if None in (one.token_ids, two.token_ids, one.logprobs, two.logprobs):
        return []
    number = _equal(one.token_ids or (), two.token_ids or ())
    return [abs(a - b) for a, b in islice(zip(one.logprobs or (), two.logprobs or (), strict=False), number)]


def _equal(one: Sequence[object], two: Sequence[object]) -> int:
    """Return how many items at the beginning are equal."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, two, strict=False)))
