"""One record to one line of predictions: image and question in, parsed shapes in file pixels out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch

from dcap.answers.codec import parse, to_canvas
from dcap.answers.profile import ResolvedProfile
from dcap.augment.fit import fit_canvas
from dcap.augment.render import resize_for_model
from dcap.core.errors import GeometryError, RecordError
from dcap.core.log import get_logger
from dcap.data.encode import Encoder, grid_thw, load_tokenizer, patchify
from dcap.geometry.affine import Affine
from dcap.geometry.canvas import Canvas
from dcap.geometry.shapes import ShapeArray
from dcap.geometry.transform import transform
from dcap.infer.adapter import with_adapter
from dcap.infer.left_out import LeftOut
from dcap.infer.options import DType, PredictOptions
from dcap.infer.progress import Progress
from dcap.infer.source import ModelSource
from dcap.model.config import ModelConfig
from dcap.model.generation import Generated, Generator, Prompt
from dcap.model.load import load_model
from dcap.records.checking import CheckedRecords
from dcap.records.images import decode_image
from dcap.records.record import Record, image_source

log = get_logger(__name__)


def load_predictor(
    source: ModelSource, mode: Literal["dense", "summary"], options: PredictOptions, device: torch.device, dtype: DType
) -> Predictor:
    """Load model, adapter and tokenizer."""
    config = ModelConfig(source.model, revision=options.revision, dtype=dtype)
    model = load_model(config, device, for_generation=True)
    if source.adapter is not None:
        model = with_adapter(model, source.adapter)
    tokenizer = load_tokenizer(source.model, options.revision)
    return Predictor(
        Generator(model, tokenizer, options.max_new_tokens), Encoder(tokenizer), source.profile, mode, options
    )


@dataclass(frozen=True)
class Predictor:
    """A loaded model with its answer profile."""

    generator: Generator
    encoder: Encoder
    profile: ResolvedProfile
    mode: Literal["dense", "summary"]
    options: PredictOptions

    def run(
        self, records: CheckedRecords, first: int, total: int
    ) -> Iterator[tuple[list[dict[str, Any]], list[LeftOut]]]:
        """Yield, batch by batch, the lines of the answers and the records that were left out.

        Batches start at multiples of the batch size, so that a continued run has the batches of a whole one.
        """
        size = self.options.batch_size
        with Progress(total, first) as progress:
            for start in range(first - first % size, total, size):
                wanted = range(start, min(start + size, total))
                lines, lost = self.answer([records[k] for k in wanted])
                kept = [line for line, k in lines if wanted[k] >= first]
                yield kept, lost
                progress.advance(sum(k >= first for k in wanted))

    def answer(self, records: Sequence[Record]) -> tuple[list[tuple[dict[str, Any], int]], list[LeftOut]]:
        """Return one line per record that has an image, with the record's index, and why others were left out."""
        prompts: list[tuple[int, Prompt, Canvas]] = []
        lost = []
        for k, record in enumerate(records):
            try:
                prompts.append((k, *self.prompt(record)))
            except RecordError as error:
                if self.options.on_bad_record == "error":
                    raise
                lost.append(LeftOut.of_error(record.origin, error))
                log.warning("left out: %s", error)
        answers = self.generator.generate([prompt for _, prompt, _ in prompts]) if prompts else []
        together = zip(prompts, answers, strict=True)
        return [(self.line(records[k], canvas, answer), k) for (k, _, canvas), answer in together], lost

    def prompt(self, record: Record) -> tuple[Prompt, Canvas]:
        """Return what the model is asked about a record, and the canvas that it sees.

        Raises:
            ImageError: The image cannot be decoded.
            RecordError: The image is too narrow for the model.
        """
        answer = self.profile.answer
        source = image_source(record, self.options.root)
        image = decode_image(source, record.canvas, self.options.max_image_pixels, record.origin)
        try:
            canvas = fit_canvas(record.canvas, answer.min_pixels, answer.max_pixels)
        except GeometryError as error:
            raise RecordError(f"{record.origin}: {error}") from None
        user = self.profile.prompts.summary if self.mode == "summary" else self.profile.prompts.dense
        ids = self.encoder.prompt_ids(self.profile.prompts.system, user, canvas)
        return Prompt(ids, patchify(resize_for_model(image, canvas)), grid_thw(canvas)), canvas

    def line(self, record: Record, canvas: Canvas, answer: Generated) -> dict[str, Any]:
        """Return the line of the prediction file: shapes in pixels of the image file, as displayed."""
        line: dict[str, Any] = {
            "images": [record.image],
            "width": record.canvas.width,
            "height": record.canvas.height,
            "objects": [],
        }
        problems = [] if answer.finished else [f"stopped after {answer.num_tokens} tokens, before the answer ended"]
        if self.mode == "summary":
            line["summary"] = answer.text
        else:
            parsed = parse(answer.text, self.profile.answer, strict=False)
            shapes = to_file_pixels(to_canvas(parsed, canvas, self.profile.answer), canvas, record.canvas)
            line["objects"] = [
                {"desc": caption, **shape} for caption, shape in zip(parsed.captions, shapes.to_objects(), strict=True)
            ]
            problems += parsed.problems
        source = {"file": record.origin.file, "line": record.origin.line}
        return {**line, "text": answer.text, "problems": problems, "source": source}


def to_file_pixels(shapes: ShapeArray, seen: Canvas, file: Canvas) -> ShapeArray:
    """Map shapes from the canvas that the model saw to the image file's pixels.

    Rounded to 1e-4 pixels, finer than any answer grid, so that lines stay short and numbers whole where they can.
    """
    mapped = transform(shapes, Affine.scaling(file.width / seen.width, file.height / seen.height))
    xy = mapped.xy.round(4).clip(0.0, [float(file.width), float(file.height)])
    return ShapeArray.trusted(xy, mapped.offsets, mapped.kinds)
