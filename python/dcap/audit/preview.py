"""Samples before and after augmentation, for people to look at: a contact sheet and a page.

Owns the content. `dcap.view.draw`, `dcap.view.sheet` and `dcap.view.page` draw it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dcap.answers.codec import to_canvas
from dcap.answers.profile import AnswerProfile
from dcap.augment.lexicon import Lexicon, lexicon_of
from dcap.augment.schedule import TrainingStep
from dcap.core.words import counted
from dcap.data.dataset import DenseCaptionDataset
from dcap.data.encode import Uncounted, num_image_tokens
from dcap.data.planning import PlannedSample
from dcap.data.sample import render_sample
from dcap.geometry.shapes import ShapeArray
from dcap.records.images import find_darkness
from dcap.records.record import Record, image_source
from dcap.records.source_names import SourceNames
from dcap.view.draw import Pixels, draw_shapes, scaled_to
from dcap.view.page import Drop, Entry, Panel
from dcap.view.sheet import Tile

PAGE_SIDE = 960
"""Longer side of the pictures on the page, in pixels."""
_WHOLE = 0.995
_MOST_NUMBERS = 20
"""Numbers of objects that a note lists."""


@dataclass(frozen=True, eq=False, slots=True)
class AnswerObjects:
    """The objects of an answer as a reader of its text sees them: simplified, and on the text's grid.

    Attributes:
        shapes: N shapes in canvas pixels, in the order of the answer. A summary has none.
        captions: One per shape.
        numbers: Numbers of the objects in the record, from 1, so that both pictures can be compared.
        kept_iou: float64 (N,): quality of each shape after simplification, 1 where nothing was lost.
    """

    shapes: ShapeArray
    captions: tuple[str, ...]
    numbers: tuple[int, ...]
    kept_iou: npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False, slots=True)
class Draw:
    """A record as one epoch trains on it.

    Attributes:
        planned: The plan, with shapes and captions in canvas pixels.
        pixels: uint8 (H, W, 3) RGB: what the model sees.
        answer: The supervised text.
        objects: What the answer holds.
        has_tokens: Whether tokens were counted, which needs a tokenizer.
        lexicon: The words that augmentation may change.
    """

    planned: PlannedSample
    pixels: Pixels
    answer: str
    objects: AnswerObjects
    has_tokens: bool
    lexicon: Lexicon

    @property
    def dropped(self) -> Mapping[int, str]:
        """Why objects of the record are not in the sample, by their index in the record."""
        return self.planned.result.telemetry.dropped

    @property
    def gone(self) -> tuple[Drop, ...]:
        """The objects that are not in the sample, with their number in the record."""
        captions = self.planned.record.captions
        return tuple(Drop(i + 1, captions[i], why) for i, why in sorted(self.dropped.items()))

    def describe(self) -> list[str]:
        """Return in words what happens to the sample: steps, tokens, objects that are cut or simplified."""
        made = self.planned.result
        lines = [", ".join(made.plan.describe().splitlines())]
        lines += [f"{name} did not act: {reason}" for name, reason in made.telemetry.skipped]
        if values := made.telemetry.curriculum:
            lines.append("curriculum: " + ", ".join(f"{name} {value:g}" for name, value in values.items()))
        lines.append(self._tokens())
        copies = zip((made.source_index + 1).tolist(), made.is_copy.tolist(), strict=True)
        numbers = [f"copy of {number}" if is_copy else str(number) for number, is_copy in copies]
        shares = zip(numbers, made.visible_fraction.tolist(), strict=True)
        cut = [f"{number} ({share:.0%} visible)" for number, share in shares if share < _WHOLE]
        lines += ["cut: " + ", ".join(cut)] if cut else []
        iou = self.objects.kept_iou[self.objects.kept_iou < 1.0]
        lines += [f"simplified: {counted(len(iou), 'shape')}, IoU kept: least {iou.min():.3f}"] if len(iou) else []
        return lines + self._order()

    def _order(self) -> list[str]:
        """Return a line that gives the objects of the answer by their numbers, where it counts them in another way."""
        numbers = self.objects.numbers
        if numbers == tuple(range(1, len(numbers) + 1)):
            return []
        more = ", …" if len(numbers) > _MOST_NUMBERS else ""
        return ["order in the answer, by these numbers: " + ", ".join(map(str, numbers[:_MOST_NUMBERS])) + more]

    @property
    def marks(self) -> list[list[tuple[int, int]]]:
        """Where each caption of the answer has a word that augmentation changed: from and to, in characters."""
        changed = [new for _, new in self.planned.result.plan.words]
        return [self.lexicon.spans(caption, changed) for caption in self.objects.captions] if changed else []

    def _tokens(self) -> str:
        if not self.has_tokens:
            return "tokens are not counted: there is no tokenizer"
        image = num_image_tokens(self.planned.result.scene.canvas)
        return f"{self.planned.length} tokens: {image} image, {self.planned.num_answer_tokens} supervised"


@dataclass(frozen=True, eq=False, slots=True)
class Preview:
    """One record with its training samples.

    Attributes:
        record: As in the file.
        image: Its decoded image, uint8 (H, W, 3).
        draws: The record as epochs 0, 1, ... train on it.
        notes: What is worth a look in the image.
    """

    record: Record
    image: Pixels
    draws: tuple[Draw, ...]
    notes: tuple[str, ...] = ()

    @property
    def crossed(self) -> Mapping[int, str]:
        """Objects of the record that are crossed out: those that its only draw has lost."""
        return self.draws[0].dropped if len(self.draws) == 1 else {}


def choose(num_records: int, num_samples: int) -> list[int]:
    """Return `num_samples` record indices spread evenly over the data, or all when there are fewer."""
    count = min(num_records, num_samples)
    return [round(i) for i in np.linspace(0, num_records - 1, count)] if count else []


def load_preview(dataset: DenseCaptionDataset, index: int, draws: int, when: TrainingStep | None = None) -> Preview:
    """Load one record, and make its samples of the first `draws` epochs.

    Args:
        dataset: Whose record. It needs no tokenizer; tokens are not counted then.
        index: Which record.
        draws: How many epochs.
        when: The step that gives a curriculum's values for all of them. `None`: the first step.

    Raises:
        RecordError: As the dataset.
        ImageError: The image cannot be decoded.
    """
    record = dataset.records[index]
    image = dataset.image(record)
    dark = find_darkness(image, image_source(record, dataset.data.root))
    notes = () if dark is None else (f"the image {dark}",)
    return Preview(record, image, tuple(_draw(dataset, index, epoch, when) for epoch in range(draws)), notes)


def _draw(dataset: DenseCaptionDataset, index: int, epoch: int, when: TrainingStep | None) -> Draw:
    planned, planner = dataset.plan(epoch, index, when), dataset.planner_of(index)
    pixels = render_sample(planned, dataset.image(planned.record, planned.result.plan.decode_shrink))
    objects = answer_objects(planned, planner.profile.answer)
    has_tokens = not isinstance(planner.encoder, Uncounted)
    lexicon = lexicon_of(planner.pipeline.config.words)
    return Draw(planned, pixels, planner.answer_text(planned), objects, has_tokens=has_tokens, lexicon=lexicon)


def answer_objects(planned: PlannedSample, profile: AnswerProfile) -> AnswerObjects:
    """Return the content of a sample's answer.

    Args:
        planned: The sample.
        profile: How its answer is written.
    """
    answer = planned.answer
    if answer is None:
        return AnswerObjects(ShapeArray.empty(), (), (), np.empty(0))
    shapes = to_canvas(answer, planned.result.scene.canvas, profile)
    numbers = planned.result.source_index[answer.index] + 1
    return AnswerObjects(shapes, answer.captions, tuple(numbers.tolist()), answer.kept_iou)


def tiles(preview: Preview, side: int, sources: SourceNames | None = None) -> list[Tile]:
    """Return the record's picture and one per draw, for a contact sheet.

    Args:
        preview: The record and its draws.
        side: Pixels of the longer side of a picture.
        sources: Names of the files of all records of the sheet. `None`: it shows this one.
    """
    record = preview.record
    place = (sources or SourceNames.of([record])).place(record)
    # The reasons are below the other picture. Here they would hide this one.
    crossed = dict.fromkeys(preview.crossed, "")
    image, shapes = scaled_to(preview.image, record.shapes, side)
    title = f"{place}  {record.canvas.width}x{record.canvas.height}"
    notes = (record.image, *preview.notes, *([record.summary] if record.summary else []))
    out = [Tile(draw_shapes(image, shapes, record.captions, dropped=crossed), title, notes)]
    for epoch, draw in enumerate(preview.draws):
        canvas, objects = draw.planned.result.scene.canvas, draw.objects
        image, shapes = scaled_to(draw.pixels, objects.shapes, side)
        drawn = draw_shapes(image, shapes, objects.captions, numbers=objects.numbers)
        gone = [f"dropped: {drop.number} {drop.caption} ({drop.reason})" for drop in draw.gone]
        notes = (*draw.describe(), *gone, draw.answer)
        out.append(Tile(drawn, f"epoch {epoch}  {canvas.width}x{canvas.height}", notes))
    return out


def entry(preview: Preview, sources: SourceNames | None = None) -> Entry:
    """Return the record and its draws as one entry of the page; arguments as those of `tiles`."""
    record = preview.record
    image, shapes = scaled_to(preview.image, record.shapes, PAGE_SIDE)
    title = f"as annotated, {record.canvas.width}x{record.canvas.height}"
    text = record.summary or ""
    panels = [Panel(title, image, shapes, record.captions, preview.crossed, text=text, notes=preview.notes)]
    for epoch, draw in enumerate(preview.draws):
        canvas = draw.planned.result.scene.canvas
        image, shapes = scaled_to(draw.pixels, draw.objects.shapes, PAGE_SIDE)
        panel = Panel(
            title=f"as trained in epoch {epoch}, {canvas.width}x{canvas.height}",
            image=image,
            shapes=shapes,
            captions=draw.objects.captions,
            text=draw.answer,
            notes=tuple(draw.describe()),
            numbers=draw.objects.numbers,
            gone=draw.gone,
            marks=draw.marks,
        )
        panels.append(panel)
    place = (sources or SourceNames.of([record])).place(record)
    return Entry(f"{place}  {record.image}", tuple(panels))
