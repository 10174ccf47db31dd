"""A model that answers about images: an image in, objects in pixels of the image file out.

Owns the way from an image to the question of the training, and back from an answer to the file. The engine that
answers may run anywhere.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from dcap.answers.codec import Parsed, parse
from dcap.answers.object_scores import score_objects
from dcap.answers.prediction import Prediction
from dcap.answers.profile import ResolvedProfile
from dcap.answers.reasoning import CLOSING, answer_start
from dcap.answers.repeats import first_repeat
from dcap.augment.fit import MULTIPLE, fit_canvas
from dcap.augment.rendering import FILL, resize_for_model
from dcap.core.errors import ConfigError, GeometryError, ImageError, RecordError
from dcap.data.encode import Encoder, token_bytes
from dcap.data.found_objects import FoundObjects, find_objects
from dcap.geometry.canvas import Canvas
from dcap.geometry.shapes import ShapeArray
from dcap.geometry.tiling import TilePlan, TileWindow, Tiling
from dcap.infer.engine import Reply, Request, TextEngine
from dcap.infer.tile_merge import merge_tiles
from dcap.model.decoding import Decoding
from dcap.records.images import decode_image, to_rgb
from dcap.records.record import Origin
from dcap.records.sixteen_bit import SixteenBit

AskedMode = Literal["dense", "summary"]
_DIGITS = 6
"""Digits of a score behind the point."""


@dataclass(frozen=True, eq=False, slots=True)
class Question:
    """One question to the model about one image."""

    request: Request
    """Prompt texts, and the image as the model sees it."""
    file: Canvas
    """Size of the image as displayed."""
    seen: Canvas
    """Size of the image as the model sees it."""


@dataclass(frozen=True, eq=False)
class Predictor:
    """An engine with an answer profile; made by `load_predictor`.

    Raises:
        ConfigError: `decoding` asks for several answers to each question, or for a grammar of summaries.
    """

    engine: TextEngine
    """Answers the questions."""
    encoder: Encoder
    """Tokenizer of the model."""
    profile: ResolvedProfile
    """Prompts, answer format and image sizes of the training."""
    mode: AskedMode
    """The kind of answer to ask for: located objects, or a summary."""
    decoding: Decoding = field(default_factory=Decoding)
    """How answers are written."""

    def __post_init__(self) -> None:
        if self.decoding.num_samples != 1:
            raise ConfigError(f"num_samples must be 1 for predictions, not {self.decoding.num_samples}")
        for name in ("grammar", "stop_repeats"):
            if self.mode == "summary" and getattr(self.decoding, name):
                raise ConfigError(f"{name} must be left out for summaries, which have no format")

    @property
    def tiling(self) -> Tiling | None:
        """How training cut large images, if it did; a summary is about the whole image."""
        return None if self.mode == "summary" else self.profile.tiles

    def question(
        self, image: npt.NDArray[np.uint8], origin: Origin | None = None, window: TileWindow | None = None
    ) -> Question:
        """Return the question to the model about an image.

        Args:
            image: uint8 (H, W, 3) RGB, as displayed.
            origin: Record that names the image, for messages and as the key of the request.
            window: Ask about this part of the image, as if there were no more of it. `None`: all of it.

        Raises:
            ImageError: The image is too narrow for the model.
        """
        answer, prompts = self.profile.answer, self.profile.prompts
        key = f"{origin.file}:{origin.line}" if origin else ""
        if window is not None:
            x, y = window.x, window.y
            image = np.ascontiguousarray(image[y : y + window.height, x : x + window.width])
            key = f"{key} {window}"
        file = Canvas(*image.shape[:2])
        try:
            seen = fit_canvas(file, answer.min_pixels, answer.max_pixels)
        except GeometryError as error:
            raise ImageError(f"{origin}: {error}" if origin else str(error)) from None
        request = Request(
            key=key,
            system=prompts.system,
            user=prompts.summary if self.mode == "summary" else prompts.dense,
            image=resize_for_model(image, seen),
            profile=None if self.mode == "summary" else answer,
        )
        return Question(request, file, seen)

    def extreme_questions(self) -> tuple[Question, Question]:
        """Return questions about a grey image of the smallest and one of the largest size that the model sees."""
        side = math.isqrt(self.profile.answer.max_pixels)
        sizes = ((MULTIPLE, MULTIPLE), (side + MULTIPLE, side // 2 * 3))
        small, large = (self.question(np.full((*size, 3), FILL, np.uint8)) for size in sizes)
        return small, large

    def answers(self, questions: Sequence[Question]) -> list[Reply]:
        """Return the answer to each question, in their order."""
        requests = [question.request for question in questions]
        return self.engine.generate(requests, self.decoding) if requests else []

    def prediction(
        self, question: Question, answer: Reply, image: str = "", source: Origin | None = None
    ) -> Prediction:
        """Return the prediction that an answer gives, its shapes in pixels of the image file.

        Args:
            question: The question that was asked.
            answer: The answer of the model.
            image: Path of the image.
            source: Record that names the image.

        Raises:
            RecordError: The engine could not answer this question.
        """
        if answer.finish == "error":
            raise RecordError(f"{source or image or 'image'}: {answer.error}")
        cut = answer.finish == "length"
        problems = [f"stopped after {answer.tokens} tokens, before the answer ended"] if cut else []
        shapes = ShapeArray.empty()
        captions: tuple[str, ...] = ()
        scores: tuple[float | None, ...] = ()
        reasons, summary = self.encoder.opens_reasoning, None
        if self.mode == "summary":
            start = answer_start(answer.text, reasons)
            if start is None:
                problems.append(f"reasoning must end with {CLOSING} before the answer")
            else:
                summary = answer.text[start:].lstrip("\n") if start else answer.text
        else:
            problems += self._repeats(answer)
            found = find_objects(answer.text, self.profile.answer, question.seen, question.file, reasoning=reasons)
            shapes, captions = found.shapes, found.captions
            problems += found.problems
            scores = self._scores(answer, found)
        return Prediction(
            image=image,
            canvas=question.file,
            shapes=shapes,
            captions=captions,
            scores=scores,
            summary=summary,
            text=answer.text,
            problems=tuple(problems),
            finish=answer.finish,
            source=source,
        )

    def parsed(self, answer: Reply) -> Parsed:
        """Return the objects of an answer on the grid, however it is written."""
        return parse(answer.text, self.profile.answer, strict=False, reasoning=self.encoder.opens_reasoning)

    def _scores(self, answer: Reply, found: FoundObjects) -> tuple[float | None, ...]:
        """Return how sure the model was of each object; empty where the engine does not tell."""
        if answer.logprobs is None or answer.token_ids is None:
            return ()
        tokens = [token_bytes(self.encoder.tokenizer, token) for token in answer.token_ids]
        profile, reasons = self.profile.answer, self.encoder.opens_reasoning
        each = score_objects(answer.text, tokens, answer.logprobs, profile, reasons)
        combined = [each[k].combined for k in found.index.tolist()] if each else []
        return tuple([None if score is None else round(score, _DIGITS) for score in combined])

    def _repeats(self, answer: Reply) -> list[str]:
        """Return the problem that the answer was ended at a repeated object, if it was."""
        if (most := self.decoding.stop_repeats) is None:
            return []
        place = first_repeat(self.parsed(answer), most)
        if place is None:
            return []
        return [f"stopped behind object {place + 1}, which repeats an earlier one (stop_repeats: {most})"]


def predict_image(
    predictor: Predictor, image: str | Path | Image.Image | npt.NDArray[np.uint8], tiling: Tiling | None = None
) -> Prediction:
    """Return the objects that a model finds in one image.

    Example:
        found = predict_image(predictor, "street.jpg")
        for caption, (kind, points) in zip(found.captions, found.shapes):
            print(caption, kind.name, points)

    Args:
        predictor: From `load_predictor`.
        image: Path of an image file, a Pillow image, or uint8 (H, W, 3) RGB. The EXIF orientation of a file or a
            Pillow image is applied.
        tiling: Ask about the tiles of the image, and merge the answers; see `dcap.infer.tile_merge`. `None`: ask about
            those of the training, or the whole image without any. A tile as large as the image is the whole image.

    Returns:
        Objects in pixels of the image as displayed (pixel-edge frame), the answer as it was written, what was wrong
        with it, and why it ended.

    Raises:
        ImageError: The image cannot be decoded, is no uint8 (H, W, 3) array, or is too narrow for the model.
        RecordError: The engine could not answer about this image, such as one that its server refuses.
        GeometryError: There would be too many tiles.
    """
    path = str(image) if isinstance(image, str | Path) else ""
    pixels = _as_rgb(image, predictor.profile.sixteen_bit)
    tiling = tiling or predictor.tiling
    plan = None if tiling is None else tiling.plan(Canvas(*pixels.shape[:2]))
    questions = [predictor.question(pixels, window=window) for window in windows_of(plan)]
    replies = zip(questions, predictor.answers(questions), strict=True)
    return joined([predictor.prediction(question, reply, path) for question, reply in replies], plan)


def windows_of(plan: TilePlan | None) -> tuple[TileWindow | None, ...]:
    """Return what to ask about an image: its tiles, or all of it where it is not cut."""
    return (None,) if plan is None or len(plan) == 1 else plan.windows


def joined(parts: Sequence[Prediction], plan: TilePlan | None) -> Prediction:
    """Return the prediction about an image from those about `windows_of` it, all with its path and record."""
    first = parts[0]
    return first if plan is None or len(plan) == 1 else merge_tiles(plan, parts, first.image, first.source)


def _as_rgb(image: str | Path | Image.Image | npt.NDArray[np.uint8], sixteen_bit: SixteenBit) -> npt.NDArray[np.uint8]:
    if isinstance(image, str | Path):
        return decode_image(Path(image), None, sixteen_bit=sixteen_bit)
    if isinstance(image, Image.Image):
        try:
            upright = ImageOps.exif_transpose(image)
            return np.asarray(to_rgb(upright, sixteen_bit), np.uint8)
        except (OSError, ValueError) as error:
            raise ImageError(f"image must be one that Pillow can turn into RGB: {error}") from None
    array = np.asarray(image)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or not array.size:
        raise ImageError(f"image must be uint8 (H, W, 3) RGB, not {array.dtype} {array.shape}")
    return array
