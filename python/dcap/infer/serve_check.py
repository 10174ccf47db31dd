"""Whether a server answers as the model itself does: some images, asked of both, and how far the answers are apart.

A server that counts the tokens of prompts as dcap does may still have other weights, such as a part of an adapter, or
another precision.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import islice, takewhile
from pathlib import Path

from dcap.core.errors import ConfigError, ServerError
from dcap.core.log import get_logger
from dcap.core.words import show
from dcap.infer.answers_apart import AnswersApart, ReadAnswers, are_equal
from dcap.infer.asked_record import AskedRecord, ask_record, first_records, questions_of
from dcap.infer.engine import Reply
from dcap.infer.loading import HF, EngineOptions, open_predictor
from dcap.infer.openai_engine import RefusedSettingError
from dcap.infer.predictor import Predictor
from dcap.infer.source import ModelSource
from dcap.model.decoding import Decoding
from dcap.records.record import Record

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
    """Files of records; their images are asked about, and their objects give F1."""
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
        return first_records(self.data, self.num_records)


@dataclass(frozen=True, slots=True)
class AnswerGap:
    """A question that a server answers otherwise."""

    record: str
    """File and line of the record, and its tile."""
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
    written: AnswersApart
    """How far the answers are apart."""
    largest_logprob_gap: float | None
    """Largest difference of the log-probability of an equal token. `None`: the server tells none."""
    gaps: tuple[AnswerGap, ...] = field(default=())
    """Questions whose answers differ."""

    @property
    def passes(self) -> bool:
        """Whether all answers are equal, token by token."""
        return not self.gaps

    def lines(self) -> list[str]:
        """Return the figures in words."""
        scores = "" if self.largest_logprob_gap is None else (
            f"; log-probabilities of equal tokens differ by {self.largest_logprob_gap:.2e} at most"
        )  # fmt: skip
        return [
            f"{self.written}{scores}",
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
    asked = [ask_record(there, record, root=options.root) for record in records]
    theirs = _answers(there, asked)
    here = open_predictor(source, replace(options.engine, engine=HF).resolved(), decoding)
    return compare_answers(asked, _answers(here, asked), theirs)


def compare_answers(asked: Sequence[AskedRecord], here: ReadAnswers, there: ReadAnswers) -> ServeCheck:
    """Compare the answers of two engines.

    Args:
        asked: The questions to both.
        here: Answers of the engine that is trusted.
        there: Answers of the engine in question.
    """
    records, pairs = [each.record for each in asked], list(zip(here.replies, there.replies, strict=True))
    names = [name for each in asked for name in each.names]
    gaps = [_gap(name, *pair) for name, pair in zip(names, pairs, strict=True) if not are_equal(*pair)]
    return ServeCheck(
        records=len(records),
        written=AnswersApart.between(records, here, there),
        largest_logprob_gap=max((gap for pair in pairs for gap in _logprob_gaps(*pair)), default=None),
        gaps=tuple(gaps),
    )


def _answers(predictor: Predictor, asked: Sequence[AskedRecord]) -> ReadAnswers:
    replies = predictor.answers(questions_of(asked))
    for name, reply in zip([name for each in asked for name in each.names], replies, strict=True):
        if reply.finish == "error":
            raise ServerError(f"{name}: {reply.error}")
    return ReadAnswers.of(predictor, asked, replies)


def _gap(name: str, one: Reply, two: Reply) -> AnswerGap:
    begin = number = _equal(one.text, two.text)
    if one.token_ids is not None and two.token_ids is not None:
        number = _equal(one.token_ids, two.token_ids)
    return AnswerGap(name, number, one.text[begin:], two.text[begin:])


def _logprob_gaps(one: Reply, two: Reply) -> list[float]:
    """Return how far the log-probabilities of equal tokens are apart."""
    if None in (one.token_ids, two.token_ids, one.logprobs, two.logprobs):
        return []
    number = _equal(one.token_ids or (), two.token_ids or ())
    return [abs(a - b) for a, b in islice(zip(one.logprobs or (), two.logprobs or (), strict=False), number)]


def _equal(one: Sequence[object], two: Sequence[object]) -> int:
    """Return how many items at the beginning are equal."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, two, strict=False)))
