"""The proof of an export: two models asked about the same images, and how far apart their answers are.

::

    forced    the answer of the first model, token by token, shown to both: their next tokens are compared
    greedy    the answer of each model by itself: objects and coordinates are compared

Both models run in float32, so that what differs is the weights and no rounding on the way. One model is in memory at a
time; of the first one its last hidden states are kept, and its head.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from dcap.answers.profile import ResolvedProfile
from dcap.core.errors import ConfigError
from dcap.core.log import get_logger
from dcap.core.words import counted
from dcap.infer.answers_apart import AnswersApart, ReadAnswers
from dcap.infer.asked_record import ask_record, first_records, questions_of
from dcap.infer.hf_engine import HfEngine, choose_device
from dcap.infer.predictor import Predictor, Question
from dcap.infer.source import ModelSource, warn_of_untrained
from dcap.model.decoding import Decoding
from dcap.model.generation import Prompt
from dcap.records.record import Record

log = get_logger(__name__)

_BATCH = 4
"""Images that are answered at a time."""
_CHUNK = 64
"""Tokens whose logits are in memory at a time."""


@dataclass(frozen=True, slots=True)
class ProofOptions:
    """What two models are compared on."""

    data: tuple[Path, ...]
    """Files of records."""
    num_records: int = 8
    """Only the first records are taken."""
    max_kl: float = 1e-3
    """Largest mean divergence of the next token that passes, in nats."""
    max_new_tokens: int = 4096
    """Stop an answer after this many tokens."""
    device: str | None = None
    """``cuda``, ``cuda:1`` or ``cpu``. `None`: CUDA if there is one, else the CPU."""
    root: Path | None = None
    """Folder that image paths must stay in. `None`: any path."""
    dataset: str | None = None
    """Data set of a mixture; its prompts and answer format are used. `None`: those of ``data.answer``."""

    def __post_init__(self) -> None:
        for name, option in (("num_records", "check"), ("max_new_tokens", "max-new-tokens")):
            if getattr(self, name) < 1:
                raise ConfigError(f"--{option} must be at least 1, not {getattr(self, name)}")
        if not self.max_kl >= 0:
            raise ConfigError(f"--max-kl must be at least 0, not {self.max_kl}")

    def records(self) -> list[Record]:
        """Return the records.

        Raises:
            ConfigError: There is none.
            RecordError: A file cannot be read, or a record breaks the contract.
        """
        return first_records(self.data, self.num_records)

    def asked(self, profile: ResolvedProfile) -> ResolvedProfile:
        """Return the profile by which both models are asked.

        Args:
            profile: The profile that was saved with the weights.

        Raises:
            ConfigError: The mixture had no such data set.
        """
        return profile if self.dataset is None else profile.of_dataset(self.dataset)


@dataclass(frozen=True, slots=True)
class Proof:
    """How far apart two models are."""

    records: int
    """Images that both were asked about."""
    tokens: int
    """Tokens of the forced answers, their ends included."""
    max_logit_difference: float
    """Largest difference of a logit."""
    mean_kl: float
    """Mean divergence (Kullback-Leibler) of the second model's next token from the first one's, in nats."""
    equal_top1: float
    """Share of the tokens for which both find the same one the most probable."""
    written: AnswersApart
    """How far the answers are apart that each writes by itself."""

    def failures(self, max_kl: float) -> list[str]:
        """Return, in words, each figure that is beyond its limit."""
        found = []
        if not self.mean_kl <= max_kl:
            found.append(f"mean KL must be at most {max_kl:g}, not {self.mean_kl:.3g}")
        return found + self.written.failures()

    def lines(self) -> list[str]:
        """Return the figures in words."""
        return [
            f"forced on both, {self.tokens} tokens: logits differ by at most {self.max_logit_difference:.3g}, mean KL "
            f"{self.mean_kl:.2e}, {self.equal_top1:.2%} have the same most probable token",
            f"written by each: {self.written}",
        ]


def prove(
    first: ModelSource,
    second: ModelSource,
    options: ProofOptions,
    revision: str | None = None,
    second_revision: str | None = None,
) -> Proof:
    """Compare two models on some records.

    Args:
        first: The model that is trusted, such as base and adapter; its answer profile asks both.
        second: The model in question.
        options: The records.
        revision: Hub revision of the first model. `None`: the newest.
        second_revision: That of the second one.

    Raises:
        ConfigError: A model cannot be loaded or gives logits that are not finite, or there is no record or no such data
            set.
        RecordError: A record or image is bad.
    """
    records, profile = options.records(), options.asked(first.profile)
    warn_of_untrained(profile)
    first, second = replace(first, profile=profile), replace(second, profile=profile)
    one = _Trace.of(first, records, options, revision, None)
    two = _Trace.of(second, records, options, second_revision, one.forced)
    difference, kl, top1 = _logits_apart(one, two)
    return Proof(
        records=len(records),
        tokens=sum(map(len, one.hidden)),
        max_logit_difference=difference,
        mean_kl=kl,
        equal_top1=top1,
        written=AnswersApart.between(records, one.answers, two.answers),
    )


@dataclass(frozen=True, eq=False, slots=True)
class _Trace:
    """What one model does with the records."""

    name: str
    """Folder or hub id of the model, or folder of its adapter."""
    forced: list[list[int]]
    """For each question, the tokens of the answer that is forced, with the end token."""
    hidden: list[torch.Tensor]
    """float32 (T, H): last hidden states before each forced token."""
    head: torch.nn.Module
    """Makes logits of them."""
    answers: ReadAnswers
    """What the model writes by itself."""

    @classmethod
    def of(
        cls,
        source: ModelSource,
        records: Sequence[Record],
        options: ProofOptions,
        revision: str | None,
        forced: list[list[int]] | None,
    ) -> _Trace:
        """Ask a model; `forced` is None for the first one, whose own answers are forced."""
        device, _ = choose_device(options.device, "float32")
        log.info("asking %s about %s", source.adapter or source.model, counted(len(records), "image"))
        engine = HfEngine.load(source, device=device, dtype="float32", revision=revision, batch_size=_BATCH)
        decoding = Decoding(max_new_tokens=options.max_new_tokens)
        predictor = Predictor(engine, engine.encoder, source.profile, source.mode, decoding)
        asked = [ask_record(predictor, record, root=options.root) for record in records]
        questions = questions_of(asked)
        answers = predictor.answers(questions)
        if forced is None:
            forced = [[*(answer.token_ids or ()), engine.encoder.end_id] for answer in answers]
        hidden = [_hidden(engine, question, each) for question, each in zip(questions, forced, strict=True)]
        return cls(
            name=str(source.adapter or source.model),
            forced=forced,
            hidden=hidden,
            head=engine.generator.model.lm_head,
            answers=ReadAnswers.of(predictor, asked, answers),
        )


@torch.inference_mode()
def _hidden(engine: HfEngine, question: Question, answer: Sequence[int]) -> torch.Tensor:
    """Return the last hidden states from which each token of an answer would be chosen."""
    asked, model = engine.prompt(question.request), engine.generator.model
    ids = np.concatenate([asked.input_ids, np.array(answer[:-1], np.int64)])
    batch = engine.generator.batch([Prompt(ids, asked.pixel_values, asked.grid_thw)])
    hidden: torch.Tensor = model.model(**batch, use_cache=False).last_hidden_state
    return hidden[0, len(asked.input_ids) - 1 :].cpu()


@torch.inference_mode()
def _logits_apart(one: _Trace, two: _Trace) -> tuple[float, float, float]:
    """Return the largest difference of a logit, the mean KL, and the share of equal most probable tokens."""
    largest, kl, equal, total = 0.0, 0.0, 0, 0
    for first, second in _chunks(one, two):
        largest = max(largest, float((first - second).abs().max()))
        p, q = first.log_softmax(-1), second.log_softmax(-1)
        kl += float((p.exp() * (p - q)).sum(-1).double().sum())
        equal += int((first.argmax(-1) == second.argmax(-1)).sum())
        total += len(first)
    return largest, max(kl / total, 0.0), equal / total


def _chunks(one: _Trace, two: _Trace) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    device = next(one.head.parameters()).device
    for first, second in zip(one.hidden, two.hidden, strict=True):
        for start in range(0, len(first), _CHUNK):
            a, b = (hidden[start : start + _CHUNK].to(device) for hidden in (first, second))
            logits = one.head(a).float(), two.head(b).float()
            for trace, values in zip((one, two), logits, strict=True):
                if not torch.isfinite(values).all():
                    raise ConfigError(f"{trace.name} must give finite logits, and does not. Its weights are damaged")
            yield logits
