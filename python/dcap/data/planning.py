"""Planning a sample: from a record to final shapes, answer text and exact length, without opening the image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import numpy as np
import numpy.typing as npt

from dcap.answers.codec import Answer, Outline, to_answer, write_answer, write_parts
from dcap.answers.formats import PartKind, TextPart
from dcap.answers.profile import ResolvedProfile
from dcap.augment.fit import fit_canvas, smaller_fits
from dcap.augment.pipeline import Fit, Pipeline
from dcap.augment.plan import AugmentResult
from dcap.augment.policy import NO_RULES, DropRules
from dcap.augment.schedule import TrainingStep
from dcap.core.errors import GeometryError, RecordError
from dcap.core.random import generator
from dcap.data.config import DataConfig, MixtureEntry
from dcap.data.encode import Encoder, num_image_tokens
from dcap.geometry.canvas import Canvas
from dcap.records.record import Record

_MODE_PURPOSE, _AUGMENT_PURPOSE, _CAP_PURPOSE = 2, 3, 8
_TOO_LONG = "left out: the sample was longer than data.global_max_length"


@dataclass(frozen=True, eq=False, slots=True)
class PlannedSample:
    """A sample before any pixel is read.

    Args:
        record: The record it comes from.
        mode: Which answer it trains.
        result: Plan, final shapes and captions; the scene has no pixels.
        answer: The content of its text. `None`: summary mode.
        num_answer_tokens: Its tokens with ``<|im_end|>``.
        num_prompt_tokens: Tokens before the answer, image placeholders included.
        fits: Whether the sample fits the length knob.
    """

    record: Record
    mode: Literal["dense", "summary"]
    result: AugmentResult
    answer: Answer | None
    num_answer_tokens: int
    num_prompt_tokens: int
    fits: bool

    @property
    def kept_iou(self) -> npt.NDArray[np.float64]:
        """float64 (N,): quality of each simplified polygon (IoU) or line (share of its length)."""
        return np.empty(0) if self.answer is None else self.answer.kept_iou

    @property
    def length(self) -> int:
        """Tokens of the whole sample."""
        return self.num_prompt_tokens + self.num_answer_tokens


@dataclass(frozen=True)
class Planner:
    """Pure function of (record, epoch, index, training step) for one data set.

    Args:
        entry: Name, loss weight and bounds of the data set.
        config: The ``data:`` section as it is for this data set.
        pipeline: Augmentation; an empty one for validation.
        encoder: Tokeniser front.
        profile: Answer profile with prompt texts.
        seed: Run seed.
    """

    entry: MixtureEntry
    config: DataConfig
    pipeline: Pipeline
    encoder: Encoder
    profile: ResolvedProfile
    seed: int

    @property
    def _window_rules(self) -> DropRules:
        """Which objects stay in a tile."""
        tiles = self.config.tiles
        return NO_RULES if tiles is None else DropRules(tiles.min_coverage, large_by_canvas=True)

    def _rng(self, purpose: int, epoch: int, index: int, draw: int) -> np.random.Generator:
        return generator(self.seed, epoch, index, purpose, *([draw] if draw else []))

    def mode(self, record: Record, epoch: int, index: int, draw: int = 0) -> Literal["dense", "summary"]:
        """Return which answer a sample trains; ``mixed`` draws it, and takes dense where there is no summary.

        Raises:
            RecordError: The mode is ``summary`` and the record has none.
        """
        if self.config.mode == "dense":
            return "dense"
        if self.config.mode == "mixed":
            drawn = self._rng(_MODE_PURPOSE, epoch, index, draw).random() < self.config.summary_ratio
            return "summary" if drawn and record.summary else "dense"
        if not record.summary:
            raise RecordError(f"{record.name}: summary must be given in summary mode. Add it, or use mixed mode.")
        return "summary"

    def plan(
        self, record: Record, epoch: int, index: int, when: TrainingStep | None = None, draw: int = 0
    ) -> PlannedSample:
        """Plan one sample.

        Args:
            record: What it is made of.
            epoch: Epoch, from 0.
            index: Which sample of the epoch.
            when: The step that trains on it, for a curriculum; the first one when not given.
            draw: How many samples of the same record the epoch takes before this one.

        Raises:
            RecordError: One side of the image, or of its crop, is more than 200 times the other; a polygon crosses
                itself millions of times; the summary is missing in summary mode; or the sample is too long. A long
                sample is an error under the policy ``error``, and under ``shrink_image`` when the smallest image is
                still too long.
        """
        if record.messages:
            return self._conversation(record)
        mode = self.mode(record, epoch, index, draw)
        answer = self.profile.answer
        pipeline = self.pipeline if when is None else self.pipeline.at(when)

        def drawn(fit: Fit | None) -> AugmentResult:
            rng = self._rng(_AUGMENT_PURPOSE, epoch, index, draw)
            result = pipeline.plan(
                record.canvas,
                record.shapes,
                rng,
                record.captions,
                fit,
                attributes=record.attributes if any(each is not None for each in record.attributes) else (),
                summary=record.summary if mode == "summary" else None,
                window=record.window,
                window_rules=self._window_rules,
            )
            return self._capped(result, self._rng(_CAP_PURPOSE, epoch, index, draw))

        try:
            result = drawn(partial(fit_canvas, min_pixels=answer.min_pixels, max_pixels=answer.max_pixels))
            planned = self._planned(record, mode, result)
            if planned.fits or self.config.overlong == "drop":
                return planned
            if self.config.overlong == "drop_objects":
                return self._without_least_visible(planned)
            if self.config.overlong == "shrink_image":
                planned = self._with_smaller_image(planned, drawn)
        except GeometryError as error:
            raise RecordError(f"{record.name}: {error}") from None
        if planned.fits:
            return planned
        raise RecordError(f"{record.name}: {self._too_long(planned)}")

    def _conversation(self, record: Record) -> PlannedSample:
        """Plan a record without an image: its last message takes the place of a summary."""
        *before, last = record.messages
        result = Pipeline().plan(record.canvas, record.shapes, generator(0))
        prompt, answer = len(self.encoder.conversation_ids(before)), self.encoder.num_answer_tokens(last.content)
        fits = prompt + answer <= self.config.global_max_length
        if not fits and self.config.overlong != "drop":
            raise RecordError(
                f"{record.name}: conversation must have at most {self.config.global_max_length} tokens, not "
                f"{prompt + answer}. Raise data.global_max_length, shorten it, or set data.overlong to drop"
            )
        return PlannedSample(
            record=record,
            mode="summary",
            result=replace(result, scene=replace(result.scene, summary=last.content)),
            answer=None,
            num_answer_tokens=answer,
            num_prompt_tokens=prompt,
            fits=fits,
        )

    def _too_long(self, planned: PlannedSample) -> str:
        """Return the message about a sample that does not fit. The knob of its longer part comes first."""
        canvas, answer = planned.result.scene.canvas, planned.num_answer_tokens
        image = num_image_tokens(canvas)
        knobs = ("max_polygon_points", "max_pixels") if answer > image else ("max_pixels", "max_polygon_points")
        lower, others = " or ".join(knobs), "another policy"
        if self.config.overlong == "shrink_image":  # the smallest image did not help, so something must be left out
            lower, others = "max_polygon_points", "drop_objects or drop"
        return (
            f"sample must have at most {self.config.global_max_length} tokens, not {planned.length}: {image} of its "
            f"image of {canvas.width}x{canvas.height} and {answer} of its answer. Raise data.global_max_length, lower "
            f"data.answer.{lower}, or set data.overlong to {others}."
        )

    def prompt_ids(self, planned: PlannedSample) -> npt.NDArray[np.int64]:
        """Return the prompt's tokens, image placeholders included, int64."""
        if planned.record.messages:
            return self.encoder.conversation_ids(planned.record.messages[:-1])
        user = getattr(self.profile.prompts, planned.mode)
        return self.encoder.prompt_ids(self.profile.prompts.system, user, planned.result.scene.canvas)

    def answer_parts(self, planned: PlannedSample) -> list[TextPart]:
        """Return the supervised text in parts. Counting needs no written text. A summary is one caption."""
        if planned.answer is None:
            return [(planned.result.scene.summary or "", PartKind.CAPTION)]
        return write_parts(planned.answer, self.profile.answer)

    def answer_text(self, planned: PlannedSample) -> str:
        """Return the supervised text: the parts, joined."""
        return "".join([text for text, _ in self.answer_parts(planned)])

    def _planned(self, record: Record, mode: Literal["dense", "summary"], result: AugmentResult) -> PlannedSample:
        scene = result.scene
        answer = None
        if mode == "dense":
            answer = to_answer(scene.shapes, scene.captions, scene.canvas, self.profile.answer)
        num_answer = self._num_answer_tokens(answer, scene.summary)
        prompts = self.profile.prompts
        num_prompt = self.encoder.num_prompt_tokens(prompts.system, getattr(prompts, mode), scene.canvas)
        fits = num_prompt + num_answer <= self.config.global_max_length
        return PlannedSample(
            record=record,
            mode=mode,
            result=result,
            answer=answer,
            num_answer_tokens=num_answer,
            num_prompt_tokens=num_prompt,
            fits=fits,
        )

    def _num_answer_tokens(self, answer: Answer | None, summary: str | None) -> int:
        if answer is None:
            return self.encoder.num_answer_tokens(summary or "")
        brief = Outline.of(answer, self.profile.answer) if self.encoder.counts_outlines else None
        return self.encoder.num_answer_tokens(write_answer(answer, self.profile.answer) if brief is None else brief)

    def _capped(self, result: AugmentResult, rng: np.random.Generator) -> AugmentResult:
        """Keep no more objects than the data set's cap, drawn by chance."""
        count, most = len(result.source_index), self.entry.max_objects
        if most is None or count <= most:
            return result
        gone = rng.permutation(count)[most:]
        return _dropped(result, gone, f"left out: the sample had more than max_objects {most} objects")

    def _with_smaller_image(
        self, planned: PlannedSample, drawn: Callable[[Fit | None], AugmentResult]
    ) -> PlannedSample:
        """Give the sample the largest image with which it fits, else the smallest. The augmentation stays the same."""
        answer = self.profile.answer
        before = drawn(None).scene.canvas  # what the model's own resize begins with
        for canvas in smaller_fits(before, answer.min_pixels, answer.max_pixels):
            result = drawn(partial(_to, canvas))
            telemetry = replace(result.telemetry, fitted={"shrunk_image": 1})
            planned = self._planned(planned.record, planned.mode, replace(result, telemetry=telemetry))
            if planned.fits:
                break
        return planned

    def _without_least_visible(self, planned: PlannedSample) -> PlannedSample:
        """Drop objects, least visible and then last first, until the sample fits; binary search on how many."""
        if planned.mode == "summary":
            return planned
        result = planned.result
        order = np.lexsort((-np.arange(len(result.visible_fraction)), result.visible_fraction))
        fitting, low, high = planned, 0, len(order)

        def without(count: int) -> PlannedSample:
            left = _dropped(result, order[:count], _TOO_LONG)
            telemetry = replace(left.telemetry, fitted={"dropped_objects": count})
            return self._planned(planned.record, "dense", replace(left, telemetry=telemetry))

        while low < high:
            drop = (low + high) // 2
            trial = without(drop)
            if trial.fits:
                fitting, high = trial, drop
            else:
                low = drop + 1
        return fitting if fitting.fits else without(len(order))


def _to(target: Canvas, _: Canvas) -> Canvas:
    return target


def _dropped(result: AugmentResult, gone: npt.NDArray[np.int64], reason: str) -> AugmentResult:
    keep = np.setdiff1d(np.arange(len(result.source_index)), gone)
    scene = replace(
        result.scene,
        shapes=result.scene.shapes.take(keep),
        captions=tuple(result.scene.captions[i] for i in keep),
        attributes=tuple(result.scene.attributes[i] for i in keep) if result.scene.attributes else (),
    )
    still = set(result.source_index[keep].tolist())
    lost = {int(i): reason for i in result.source_index[gone] if int(i) not in still}
    is_copy = result.is_copy[keep]
    telemetry = replace(result.telemetry, dropped={**result.telemetry.dropped, **lost}, num_pasted=int(is_copy.sum()))
    return replace(
        result,
        scene=scene,
        source_index=result.source_index[keep],
        visible_fraction=result.visible_fraction[keep],
        is_copy=is_copy,
        telemetry=telemetry,
    )
