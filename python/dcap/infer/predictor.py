"""A loaded model that answers: image and question in, objects in pixels of the image file out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageOps

from dcap.answers.codec import parse, to_canvas
from dcap.answers.prediction import Prediction
from dcap.answers.profile import ResolvedProfile
from dcap.answers.reasoning import CLOSING, answer_start
from dcap.augment.fit import fit_canvas
from dcap.augment.rendering import resize_for_model
from dcap.core.errors import ConfigError, GeometryError, ImageError
from dcap.data.encode import Encoder, grid_thw, load_tokenizer, patchify
from dcap.geometry.affine import Affine
from dcap.geometry.canvas import Canvas
from dcap.geometry.clipping import transform
from dcap.geometry.shapes import ShapeArray, rings_without_area
from dcap.infer.source import ModelSource, find_source
from dcap.model.config import ModelConfig
from dcap.model.fingerprint import weights_digest
from dcap.model.generation import Generated, Generator, Prompt
from dcap.model.load import load_model
from dcap.model.lora import bare_model, load_adapter
from dcap.records.images import decode_image, to_rgb
from dcap.records.record import Origin
from dcap.records.sixteen_bit import SixteenBit

DType = Literal["float32", "bfloat16", "float16"]
AskedMode = Literal["dense", "summary"]


@dataclass(frozen=True, eq=False, slots=True)
class Question:
    """One question to the model about one image."""

    prompt: Prompt
    """Token ids and patches."""
    file: Canvas
    """Size of the image as displayed."""
    seen: Canvas
    """Size of the image as the model sees it."""


@dataclass(frozen=True, eq=False)
class Predictor:
    """A loaded model with its answer profile; made by `load_predictor`."""

    generator: Generator
    """Model and tokenizer."""
    encoder: Encoder
    """Writes prompts as token ids."""
    profile: ResolvedProfile
    """Prompts, answer format and image sizes of the training."""
    mode: AskedMode
    """The kind of answer to ask for: located objects, or a summary."""

    @classmethod
    def load(
        cls,
        source: ModelSource,
        *,
        mode: AskedMode | None = None,
        device: torch.device,
        dtype: DType,
        revision: str | None = None,
        max_new_tokens: int = 4096,
    ) -> Predictor:
        """Load the model, adapter and tokenizer of `source`.

        Args:
            source: From `find_source`.
            mode: As `load_predictor`.
            device: Where the model goes.
            dtype: Precision of the model.
            revision: Hub revision of the model. `None`: the newest.
            max_new_tokens: Stop an answer after this many tokens.

        Raises:
            ConfigError: The model or the adapter cannot be loaded, or they do not fit.
        """
        config = ModelConfig(source.model, revision=revision, dtype=dtype)
        model = load_model(config, device, for_generation=True)
        if source.adapter is not None:
            _check_base(model, source, dtype)
            model = bare_model(load_adapter(model, source.adapter)).eval()
        tokenizer = load_tokenizer(source.model, revision)
        return cls(
            generator=Generator(model, tokenizer, max_new_tokens),
            encoder=Encoder(tokenizer),
            profile=source.profile,
            mode=mode or source.mode,
        )

    def question(self, image: npt.NDArray[np.uint8], origin: Origin | None = None) -> Question:
        """Return the question to the model about an image.

        Args:
            image: uint8 (H, W, 3) RGB, as displayed.
            origin: Record that names the image, for messages.

        Raises:
            ImageError: The image is too narrow for the model.
        """
        answer, prompts = self.profile.answer, self.profile.prompts
        file = Canvas(*image.shape[:2])
        try:
            seen = fit_canvas(file, answer.min_pixels, answer.max_pixels)
        except GeometryError as error:
            raise ImageError(f"{origin}: {error}" if origin else str(error)) from None
        user = prompts.summary if self.mode == "summary" else prompts.dense
        ids = self.encoder.prompt_ids(prompts.system, user, seen)
        return Question(Prompt(ids, patchify(resize_for_model(image, seen)), grid_thw(seen)), file, seen)

    def answers(self, questions: Sequence[Question]) -> list[Generated]:
        """Return the answer to each question; one batch."""
        return self.generator.generate([question.prompt for question in questions]) if questions else []

    def prediction(
        self, question: Question, answer: Generated, image: str = "", source: Origin | None = None
    ) -> Prediction:
        """Return the prediction that an answer gives, its shapes in pixels of the image file.

        Args:
            question: The question that was asked.
            answer: The answer of the model.
            image: Path of the image.
            source: Record that names the image.
        """
        problems = [] if answer.finished else [f"stopped after {answer.num_tokens} tokens, before the answer ended"]
        shapes = ShapeArray.empty()
        captions: tuple[str, ...] = ()
        reasons, summary = self.encoder.opens_reasoning, None
        if self.mode == "summary":
            start = answer_start(answer.text, reasons)
            if start is None:
                problems.append(f"reasoning must end with {CLOSING} before the answer")
            else:
                summary = answer.text[start:].lstrip("\n") if start else answer.text
        else:
            parsed = parse(answer.text, self.profile.answer, strict=False, reasoning=reasons)
            on_canvas = to_canvas(parsed, question.seen, self.profile.answer)
            shapes, captions = to_file_pixels(on_canvas, question.seen, question.file), parsed.captions
            problems += parsed.problems
            # The grid of answers has such polygons, records have none, and a prediction can be read as a record.
            flat = rings_without_area(shapes.xy, shapes.offsets, shapes.kinds)
            problems += [f"object {k + 1} must enclose an area, and is left out" for k in np.flatnonzero(flat)]
            shapes = shapes.take(~flat)
            captions = tuple([text for text, drop in zip(captions, flat, strict=True) if not drop])
        return Prediction(
            image=image,
            canvas=question.file,
            shapes=shapes,
            captions=captions,
            summary=summary,
            text=answer.text,
            problems=tuple(problems),
            finish="stop" if answer.finished else "length",
            source=source,
        )


def _check_base(model: Any, source: ModelSource, dtype: DType) -> None:
    """Refuse an adapter of other weights: all of it would fit, and its answers would be wrong."""
    # In float16, some weights of a model are not what they were in training.
    if dtype != "float16" and source.base_digest not in (None, weights_digest(model)):
        raise ConfigError(
            f"{source.adapter} must be given the weights that it was trained on, and {source.model} has others. Give "
            "the model of the training as --model"
        )


def load_predictor(
    model: str | Path,
    adapter: str | Path | None = None,
    *,
    mode: AskedMode | None = None,
    dataset: str | None = None,
    device: str | None = None,
    dtype: DType | None = None,
    revision: str | None = None,
    max_new_tokens: int = 4096,
) -> Predictor:
    """Load a tuned model, ready for `predict_image`.

    Example:
        predictor = load_predictor("Qwen/Qwen3-VL-4B-Instruct", "runs/mine/final")

    Args:
        model: ``builtin:tiny``, hub id or folder.
        adapter: Folder that ``dcap train`` wrote, or the adapter's own folder. `None`: no adapter.
        mode: Kind of answer. `None`: the kind that the model was trained for; objects if it was trained for both.
        dataset: Data set of a mixture; its prompts and answer format are used. `None`: those of ``data.answer``.
        device: ``cuda``, ``cuda:1`` or ``cpu``. `None`: CUDA if there is one, else the CPU.
        dtype: Precision. `None`: bfloat16 on CUDA, float32 on the CPU.
        revision: Hub revision of the model. `None`: the newest.
        max_new_tokens: Stop an answer after this many tokens.

    Raises:
        ConfigError: The model, the adapter or the device does not exist, or they do not fit.
        CheckpointError: The answer profile beside the weights is torn or unknown.
        MissingPackageError: ``builtin:tiny`` needs a package that is not installed.
    """
    source = find_source(str(model), None if adapter is None else Path(adapter), dataset)
    where, precision = choose_device(device, dtype)
    return Predictor.load(
        source, mode=mode, device=where, dtype=precision, revision=revision, max_new_tokens=max_new_tokens
    )


def predict_image(predictor: Predictor, image: str | Path | Image.Image | npt.NDArray[np.uint8]) -> Prediction:
    """Return the objects that a model finds in one image.

    Example:
        found = predict_image(predictor, "street.jpg")
        for caption, (kind, points) in zip(found.captions, found.shapes):
            print(caption, kind.name, points)

    Args:
        predictor: From `load_predictor`.
        image: Path of an image file, a Pillow image, or uint8 (H, W, 3) RGB. The EXIF orientation of a file or a
            Pillow image is applied.

    Returns:
        Objects in pixels of the image as displayed (pixel-edge frame), the answer as it was written, what was wrong
        with it, and why it ended.

    Raises:
        ImageError: The image cannot be decoded, is no uint8 (H, W, 3) array, or is too narrow for the model.
    """
    path = str(image) if isinstance(image, str | Path) else ""
    question = predictor.question(_as_rgb(image, predictor.profile.sixteen_bit))
    (answer,) = predictor.answers([question])
    return predictor.prediction(question, answer, path)


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


def choose_device(device: str | None, dtype: DType | None) -> tuple[torch.device, DType]:
    """Return device and precision, with defaults for those that are not given.

    Raises:
        ConfigError: There is no such device.
    """
    try:
        chosen = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    except RuntimeError as error:
        raise ConfigError(f"device must be cuda, cuda:N or cpu, not {device!r}: {error}") from None
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise ConfigError(f"device must be one of this machine's, which has {torch.cuda.device_count()} CUDA "
                          f"device(s), not {device}")  # fmt: skip
    return chosen, dtype or ("bfloat16" if chosen.type == "cuda" else "float32")


def to_file_pixels(shapes: ShapeArray, seen: Canvas, file: Canvas) -> ShapeArray:
    """Map shapes from the canvas that the model saw to the image file's pixels.

    Rounded to 1e-4 pixels, finer than any answer grid, so that lines stay short and numbers whole where they can.
    """
    mapped = transform(shapes, Affine.scaling(file.width / seen.width, file.height / seen.height))
    xy = mapped.xy.round(4).clip(0.0, [float(file.width), float(file.height)])
    return ShapeArray.trusted(xy, mapped.offsets, mapped.kinds)
