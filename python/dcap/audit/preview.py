"""Samples before and after augmentation, for people to look at: a contact sheet and a page.

Owns what is shown. How it is drawn is in `dcap.view.draw`, `dcap.view.sheet` and `dcap.view.page`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from dcap.answers.codec import to_answer, to_canvas
from dcap.answers.profile import AnswerProfile
from dcap.augment.schedule import TrainingStep
from dcap.core.words import counted
from dcap.data.dataset import DenseCaptionDataset
from dcap.data.sample import Sample, SampleKey
from dcap.geometry.shapes import ShapeArray
from dcap.records.images import decode_image
from dcap.records.record import Record, image_source
from dcap.view.draw import Pixels, draw_shapes, scaled_to
from dcap.view.page import Drop, Entry, Panel
from dcap.view.sheet import Tile

PAGE_SIDE = 960
"""Longer side of the pictures on the page, in pixels."""
_WHOLE = 0.995


@dataclass(frozen=True, eq=False, slots=True)
class AnswerObjects:
    """The objects of an answer as a reader of its text sees them: simplified, and on the text's grid.

    Attributes:
        shapes: N shapes in canvas pixels, in the order of the answer; none for a summary.
        captions: One per shape.
        numbers: Numbers of the objects in the record, from 1, so that both pictures can be compared.
        kept_iou: float64 (N,): what simplification left of each.
    """

    shapes: ShapeArray
    captions: tuple[str, ...]
    numbers: tuple[int, ...]
    kept_iou: npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False, slots=True)
class Preview:
    """One record with what training would make of it.

    Attributes:
        record: As in the file.
        image: Its decoded image, uint8 (H, W, 3).
        draws: The sample in epochs 0, 1, ...
        objects: What the answer of each draw holds.
    """

    record: Record
    image: Pixels
    draws: tuple[Sample, ...]
    objects: tuple[AnswerObjects, ...]


def choose(num_records: int, num_samples: int) -> list[int]:
    """Return `num_samples` record indices spread evenly over the data, or all when there are fewer."""
    count = min(num_records, num_samples)
    return [round(i) for i in np.linspace(0, num_records - 1, count)] if count else []


def load_preview(dataset: DenseCaptionDataset, index: int, draws: int, when: TrainingStep | None = None) -> Preview:
    """Load one record and encode it as the first `draws` epochs would.

    Args:
        dataset: Whose record.
        index: Which one.
        draws: How many epochs.
        when: The step at which a curriculum stands, in all of them; the first one when not given.

    Raises:
        RecordError: As the dataset.
        ImageError: The image cannot be decoded.
    """
    record = dataset.records[index]
    data = dataset.data
    image = decode_image(image_source(record, data.root), record.canvas, data.max_image_pixels, record.origin)
    samples = tuple(dataset[SampleKey(epoch, index, when=when)] for epoch in range(draws))
    planner = dataset.planner_of(index)
    modes = [planner.mode(record, epoch, index) for epoch in range(draws)]
    profile = planner.profile.answer
    objects = tuple(answer_objects(s, profile, mode) for s, mode in zip(samples, modes, strict=True))
    return Preview(record, image, samples, objects)


def answer_objects(sample: Sample, profile: AnswerProfile, mode: Literal["dense", "summary"]) -> AnswerObjects:
    """Return what a sample's answer holds."""
    if mode == "summary":
        return AnswerObjects(ShapeArray.empty(), (), (), np.empty(0))
    scene = sample.scene
    answer = to_answer(scene.shapes, scene.captions, scene.canvas, profile)
    numbers = sample.augmented.source_index[answer.index] + 1
    return AnswerObjects(
        to_canvas(answer, scene.canvas, profile), answer.captions, tuple(numbers.tolist()), answer.kept_iou
    )


def dropped_objects(sample: Sample) -> Mapping[int, str]:
    """Return why objects of the record are not in the sample, by their index in the record."""
    return sample.augmented.telemetry.dropped


def describe(sample: Sample) -> list[str]:
    """Return what happened to a sample in words: steps, tokens, objects that are gone or cut."""
    telemetry = sample.augmented.telemetry
    lines = [", ".join(sample.augmented.plan.describe().splitlines())]
    lines += [f"{name} did not act: {reason}" for name, reason in telemetry.skipped]
    if telemetry.curriculum:
        lines.append("curriculum: " + ", ".join(f"{name} {value:g}" for name, value in telemetry.curriculum.items()))
    image = int(sample.mm_token_type_ids.sum())
    lines.append(f"{len(sample.input_ids)} tokens: {image} image, {sample.num_supervised} supervised")
    made = sample.augmented
    copies = zip((made.source_index + 1).tolist(), made.is_copy.tolist(), strict=True)
    numbers = [f"copy of {number}" if is_copy else str(number) for number, is_copy in copies]
    shares = zip(numbers, made.visible_fraction.tolist(), strict=True)
    cut = [f"{number} ({share:.0%} visible)" for number, share in shares if share < _WHOLE]
    return [*lines, "cut: " + ", ".join(cut)] if cut else lines


def simplified_lines(objects: AnswerObjects) -> list[str]:
    """Return a line on what simplification cost, or none when it did nothing."""
    iou = objects.kept_iou[objects.kept_iou < 1.0]
    return [f"simplified: {counted(len(iou), 'shape')}, IoU kept: least {iou.min():.3f}"] if len(iou) else []


def drops(preview: Preview, sample: Sample) -> tuple[Drop, ...]:
    """Return the objects that are gone, with their number in the record."""
    captions = preview.record.captions
    return tuple(Drop(i + 1, captions[i], why) for i, why in sorted(dropped_objects(sample).items()))


def tiles(preview: Preview, side: int) -> list[Tile]:
    """Return the record's picture and one per draw, for a contact sheet with `side` pixels per picture."""
    record = preview.record
    # The reasons stand below the other picture; here they would hide it.
    crossed = dict.fromkeys(dropped_objects(preview.draws[0]), "") if len(preview.draws) == 1 else {}
    image, shapes = scaled_to(preview.image, record.shapes, side)
    title = f"{record.origin}  {record.canvas.width}x{record.canvas.height}"
    notes = (record.image, *([record.summary] if record.summary else []))
    out = [Tile(draw_shapes(image, shapes, record.captions, dropped=crossed), title, notes)]
    for epoch, (sample, objects) in enumerate(zip(preview.draws, preview.objects, strict=True)):
        canvas = sample.scene.canvas
        image, shapes = scaled_to(_pixels(sample), objects.shapes, side)
        drawn = draw_shapes(image, shapes, objects.captions, numbers=objects.numbers)
        title = f"epoch {epoch}  {canvas.width}x{canvas.height}"
        gone = [f"dropped: {drop.number} {drop.caption} ({drop.reason})" for drop in drops(preview, sample)]
        notes = (*_notes(sample, objects), *gone, sample.answer)
        out.append(Tile(drawn, title, notes))
    return out


def entry(preview: Preview) -> Entry:
    """Return the record and its draws as one entry of the page."""
    record = preview.record
    crossed = dropped_objects(preview.draws[0]) if len(preview.draws) == 1 else {}
    image, shapes = scaled_to(preview.image, record.shapes, PAGE_SIDE)
    title = f"as annotated, {record.canvas.width}x{record.canvas.height}"
    panels = [Panel(title, image, shapes, record.captions, crossed, text=record.summary or "")]
    for epoch, (sample, objects) in enumerate(zip(preview.draws, preview.objects, strict=True)):
        canvas = sample.scene.canvas
        image, shapes = scaled_to(_pixels(sample), objects.shapes, PAGE_SIDE)
        title = f"as trained in epoch {epoch}, {canvas.width}x{canvas.height}"
        panels.append(
            Panel(
                title,
                image,
                shapes,
                objects.captions,
                text=sample.answer,
                notes=_notes(sample, objects),
                numbers=objects.numbers,
                gone=drops(preview, sample),
            )
        )
    return Entry(f"{record.origin}  {record.image}", tuple(panels))


def _notes(sample: Sample, objects: AnswerObjects) -> tuple[str, ...]:
    return (*describe(sample), *simplified_lines(objects))


def _pixels(sample: Sample) -> Pixels:
    image = sample.scene.image
    if image is None:
        raise ValueError("sample must carry its pixels, and it was planned without any")
    return image
