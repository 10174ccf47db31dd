"""Samples before and after augmentation, for people to look at: a contact sheet and a page.

Owns what is shown. How it is drawn is in `dcap.data.draw`, `dcap.data.sheet` and `dcap.data.page`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dcap.data.dataset import DenseCaptionDataset
from dcap.data.draw import Pixels, draw_shapes, fit
from dcap.data.images import decode_image
from dcap.data.page import Entry, Panel
from dcap.data.records import Record, image_path
from dcap.data.sample import Sample
from dcap.data.sheet import Tile

PAGE_SIDE = 960
"""Longer side of the pictures on the page, in pixels."""
_WHOLE = 0.995


@dataclass(frozen=True, eq=False, slots=True)
class Preview:
    """One record with what training would make of it.

    Attributes:
        record: As in the file.
        image: Its decoded image, uint8 (H, W, 3).
        draws: The sample in epochs 0, 1, ...
    """

    record: Record
    image: Pixels
    draws: tuple[Sample, ...]


def choose(num_records: int, num_samples: int) -> list[int]:
    """Return `num_samples` record indices spread evenly over the data, or all when there are fewer."""
    count = min(num_records, num_samples)
    return [round(i) for i in np.linspace(0, num_records - 1, count)] if count else []


def load_preview(dataset: DenseCaptionDataset, index: int, draws: int) -> Preview:
    """Load one record and encode it as the first `draws` epochs would.

    Raises:
        RecordError: As the dataset.
        ImageError: The image cannot be decoded.
    """
    record = dataset.records[index]
    data = dataset.config.data
    image = decode_image(image_path(record, data.root), record.canvas, data.max_image_pixels, record.origin)
    return Preview(record, image, tuple(dataset[(epoch, index)] for epoch in range(draws)))


def dropped_objects(sample: Sample) -> Mapping[int, str]:
    """Return why objects of the record are not in the sample, by their index in the record."""
    return sample.augmented.telemetry.dropped


def describe(sample: Sample) -> list[str]:
    """Return what happened to a sample in words: steps, tokens, objects that are gone or cut."""
    telemetry = sample.augmented.telemetry
    lines = [", ".join(sample.augmented.plan.describe().splitlines())]
    lines += [f"{name} did not act: {reason}" for name, reason in telemetry.skipped.items()]
    image = int(sample.mm_token_type_ids.sum())
    lines.append(f"{len(sample.input_ids)} tokens: {image} image, {sample.num_supervised} supervised")
    shares = zip(_numbers(sample), sample.augmented.visible_fraction.tolist(), strict=True)
    cut = [f"{number} ({share:.0%} visible)" for number, share in shares if share < _WHOLE]
    return [*lines, "cut: " + ", ".join(cut)] if cut else lines


def drop_lines(preview: Preview, sample: Sample) -> list[str]:
    """Return one line per object that is gone, with the reason."""
    captions = preview.record.captions
    return [f"dropped: {i + 1} {captions[i]} ({why})" for i, why in sorted(dropped_objects(sample).items())]


def tiles(preview: Preview, side: int) -> list[Tile]:
    """Return the record's picture and one per draw, for a contact sheet with `side` pixels per picture."""
    record = preview.record
    # The reasons stand below the other picture; here they would hide it.
    crossed = dict.fromkeys(dropped_objects(preview.draws[0]), "") if len(preview.draws) == 1 else {}
    image, shapes = fit(preview.image, record.shapes, side)
    title = f"{record.origin}  {record.canvas.width}x{record.canvas.height}"
    notes = (record.image, *([record.summary] if record.summary else []))
    out = [Tile(draw_shapes(image, shapes, record.captions, dropped=crossed), title, notes)]
    for epoch, sample in enumerate(preview.draws):
        scene = sample.scene
        image, shapes = fit(_pixels(sample), scene.shapes, side)
        drawn = draw_shapes(image, shapes, scene.captions, numbers=_numbers(sample))
        title = f"epoch {epoch}  {scene.canvas.width}x{scene.canvas.height}"
        notes = (*describe(sample), *drop_lines(preview, sample), sample.answer)
        out.append(Tile(drawn, title, notes))
    return out


def entry(preview: Preview) -> Entry:
    """Return the record and its draws as one entry of the page."""
    record = preview.record
    crossed = dropped_objects(preview.draws[0]) if len(preview.draws) == 1 else {}
    image, shapes = fit(preview.image, record.shapes, PAGE_SIDE)
    title = f"as annotated, {record.canvas.width}x{record.canvas.height}"
    panels = [Panel(title, image, shapes, record.captions, crossed, text=record.summary or "")]
    for epoch, sample in enumerate(preview.draws):
        scene = sample.scene
        image, shapes = fit(_pixels(sample), scene.shapes, PAGE_SIDE)
        notes = (*describe(sample), *drop_lines(preview, sample))
        title = f"as trained in epoch {epoch}, {scene.canvas.width}x{scene.canvas.height}"
        numbers = _numbers(sample)
        panels.append(Panel(title, image, shapes, scene.captions, text=sample.answer, notes=notes, numbers=numbers))
    return Entry(f"{record.origin}  {record.image}", tuple(panels))


def _numbers(sample: Sample) -> Sequence[int]:
    """Objects keep the numbers of the record, so that both pictures can be compared."""
    return [int(i) + 1 for i in sample.augmented.source_index]


def _pixels(sample: Sample) -> Pixels:
    image = sample.scene.image
    if image is None:
        raise ValueError("sample must carry its pixels, and it was planned without any")
    return image
