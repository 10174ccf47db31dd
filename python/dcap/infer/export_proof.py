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
from difflib import SequenceMatcher
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from dcap.answers.codec import Parsed, parse
from dcap.answers.prediction import Prediction
from dcap.answers.profile import ResolvedProfile
from dcap.core.errors import ConfigError
from dcap.core.log import get_logger
from dcap.core.words import counted
from dcap.evaluate.evaluation import score
from dcap.infer.hf_engine import HfEngine, choose_device
from dcap.infer.predictor import Predictor, Question
from dcap.infer.source import ModelSource, warn_of_untrained
from dcap.model.decoding import Decoding
from dcap.model.generation import Prompt
from dcap.records.files.opening import open_source
from dcap.records.images import decode_image
from dcap.records.record import Record, image_source

log = get_logger(__name__)

MAX_SHIFT = 2.0
"""Largest median shift of coordinates that passes, in grid units."""
MAX_F1_CHANGE = 0.005
"""Largest change of F1 that passes."""
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
        if self.max_kl < 0:
            raise ConfigError(f"--max-kl must be at least 0, not {self.max_kl}")

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
    equal_answers: float
    """Share of the images for which both write the same answer."""
    objects: int
    """Objects with the same text, kind and number of points in both answers, in the same order."""
    objects_apart: int
    """Objects that only one of the answers has."""
    median_shift: float | None
    """Median difference of a coordinate of the same object, in grid units. `None`: there is none."""
    p99_shift: float | None
    """99th percentile of it."""
    f1_change: float | None
    """By how much F1 of all objects at IoU 0.5 changes. `None`: no record has an object."""

    def failures(self, max_kl: float) -> list[str]:
        """Return, in words, each figure that is beyond its limit."""
        found = []
        if not self.mean_kl <= max_kl:
            found.append(f"mean KL must be at most {max_kl:g}, not {self.mean_kl:.3g}")
        if self.median_shift is not None and self.median_shift > MAX_SHIFT:
            found.append(f"median shift must be at most {MAX_SHIFT:g} grid units, not {self.median_shift:g}")
        if self.f1_change is not None and abs(self.f1_change) > MAX_F1_CHANGE:
            found.append(f"F1 must change by at most {MAX_F1_CHANGE:g}, not {self.f1_change:+.3g}")
        return found

    def lines(self) -> list[str]:
        """Return the figures in words."""
        shift = "no object in common"
        if self.median_shift is not None:
            shift = f"coordinates shift by {self.median_shift:g} (median) and {self.p99_shift:g} (p99) grid units"
        change = "" if self.f1_change is None else f"; F1 changes by {self.f1_change:+.4f}"
        return [
            f"forced on both, {self.tokens} tokens: logits differ by at most {self.max_logit_difference:.3g}, mean KL "
            f"{self.mean_kl:.2e}, {self.equal_top1:.2%} have the same most probable token",
            f"written by each, {self.records} answers: {self.equal_answers:.1%} equal; {self.objects} objects in both, "
            f"{self.objects_apart} in one; {shift}{change}",
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
    pairs = list(zip(one.parsed, two.parsed, strict=True))
    shifts = [coordinate_shifts(a, b) for a, b in pairs]
    moved = np.concatenate([values for _, values in shifts])
    common = sum(count for count, _ in shifts)
    all_objects = sum(len(a.captions) + len(b.captions) for a, b in pairs)
    same = [a.text == b.text for a, b in zip(one.predictions, two.predictions, strict=True)]
    has_truth = any(record.captions for record in records) and first.mode == "dense"
    f1 = [score(records, trace.predictions).objects.f1 for trace in (one, two)] if has_truth else None
    difference, kl, top1 = _logits_apart(one, two)
    return Proof(
        records=len(records),
        tokens=sum(map(len, one.hidden)),
        max_logit_difference=difference,
        mean_kl=kl,
        equal_top1=top1,
        equal_answers=sum(same) / len(same),
        objects=common,
        objects_apart=all_objects - 2 * common,
        median_shift=float(np.median(moved)) if len(moved) else None,
        p99_shift=float(np.percentile(moved, 99)) if len(moved) else None,
        f1_change=f1[1] - f1[0] if f1 is not None else None,
    )


@dataclass(frozen=True, eq=False, slots=True)
class _Trace:
    """What one model does with the records."""

    name: str
    """Folder or hub id of the model, or folder of its adapter."""
    forced: list[list[int]]
    """For each record, the tokens of the answer that is forced, with the end token."""
    hidden: list[torch.Tensor]
    """float32 (T, H): last hidden states before each forced token."""
    head: torch.nn.Module
    """Makes logits of them."""
    predictions: list[Prediction]
    """What the model writes by itself."""
    parsed: list[Parsed]
    """The same on the grid."""

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
        questions = [_question(predictor, record, options) for record in records]
        answers = predictor.answers(questions)
        if forced is None:
            forced = [[*(answer.token_ids or ()), engine.encoder.end_id] for answer in answers]
        hidden = [_hidden(engine, question, each) for question, each in zip(questions, forced, strict=True)]
        triples = zip(questions, answers, records, strict=True)
        profile, reasons = predictor.profile.answer, predictor.encoder.opens_reasoning
        return cls(
            name=str(source.adapter or source.model),
            forced=forced,
            hidden=hidden,
            head=engine.generator.model.lm_head,
            predictions=[predictor.prediction(q, answer, r.image, r.origin) for q, answer, r in triples],
            parsed=[parse(answer.text, profile, strict=False, reasoning=reasons) for answer in answers],
        )


def _question(predictor: Predictor, record: Record, options: ProofOptions) -> Question:
    source, rule = image_source(record, options.root), predictor.profile.sixteen_bit
    image = decode_image(source, record.canvas, origin=record.origin, sixteen_bit=rule)
    return predictor.question(image, record.origin)


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
