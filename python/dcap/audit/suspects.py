"""Suspects: the samples and objects with the highest loss, whose labels are worth a look.

Owns the content of ``dcap audit --losses`` in its forms: tables, JSON, a sheet and a page. `dcap.audit.loss_table` says
how high a loss is.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dcap.audit.loss_table import OBJECT_KINDS, SAMPLE_KINDS, Losses, LossTable, read_loss_table
from dcap.audit.preview import PAGE_SIDE
from dcap.core.errors import RecordError
from dcap.core.words import counted
from dcap.data.config import Split
from dcap.data.dataset import DenseCaptionDataset
from dcap.records.record import Record
from dcap.records.source_names import SourceNames
from dcap.view.draw import draw_shapes, scaled_to, shorten
from dcap.view.page import Entry, Panel
from dcap.view.sheet import Tile
from dcap.view.tables import Grid

RANK_NOTE = (
    "loss: mean cross-entropy of a token, in nats; behind it, the share of those like it that have a lower one: of the "
    "same data set and kind of shape, trained on at about the same time"
)
_CAPTION_CHARS = 60


class Rated(NamedTuple):
    """A mean loss of a token, and how high it is."""

    mean: float
    """Infinite: it is not finite."""
    rank: float
    """Share of those like it that have a lower one, 0..1."""

    def __str__(self) -> str:
        return f"{self.mean:.2f} ({self.rank:.1%})" if math.isfinite(self.mean) else "not finite"

    def to_dict(self) -> dict[str, float | None]:
        """Return it as plain data, ready for JSON; a mean that is not finite is null."""
        return {"mean": self.mean if math.isfinite(self.mean) else None, "rank": self.rank}


@dataclass(frozen=True, eq=False, slots=True)
class Suspect:
    """A sample or an object with a high loss, and when it was trained on."""

    index: int
    """Its record, from 0."""
    record: Record
    epoch: int
    step: int
    draw: int
    number: int | None
    """Number of the object in the record, from 1. `None`: the whole sample."""
    losses: Mapping[str, Rated]
    """By kind of token, those that it has."""

    @property
    def desc(self) -> str:
        """The caption of the object as the record has it now, or the summary."""
        if self.number is None:
            return self.record.summary or ""
        captions = self.record.captions
        return captions[self.number - 1] if self.number <= len(captions) else "(no longer in the record)"

    def describe(self) -> str:
        """Return its losses in words."""
        name = "the whole sample" if self.number is None else f"{self.number} {shorten(self.desc, _CAPTION_CHARS)}"
        return f"{name}: " + ", ".join(f"{kind} {rated}" for kind, rated in self.losses.items())

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data, ready for JSON."""
        tree = {
            "file": self.record.origin.file,
            "line": self.record.origin.line,
            "image": self.record.image,
            **({} if self.record.window is None else {"tile": str(self.record.window)}),
            **({} if self.number is None else {"object": self.number, "desc": self.desc}),
            "loss": {kind: rated.to_dict() for kind, rated in self.losses.items()},
        }
        return {**tree, "index": self.index, "epoch": self.epoch, "draw": self.draw, "step": self.step}


@dataclass(frozen=True, eq=False, slots=True)
class Suspects:
    """The samples and the objects with the highest loss, those first.

    Attributes:
        samples: Samples.
        objects: Objects.
        num_samples: Number of samples that have a loss.
        num_objects: Number of objects that have one.
        num_not_finite: Number of samples whose loss is not finite.
        epochs: The epochs that the losses are of; 0 for a validation.
        split: The samples' split.
        config: The run's config, for commands.
    """

    samples: tuple[Suspect, ...]
    objects: tuple[Suspect, ...]
    num_samples: int
    num_objects: int
    num_not_finite: int
    epochs: tuple[int, ...]
    split: Split
    config: str

    @property
    def replay(self) -> str:
        """Begin of the command that shows a sample as the model saw it."""
        split = " --split val" if self.split == "val" else ""
        return f"dcap replay --config {shlex.quote(self.config)}{split}"

    @property
    def sources(self) -> SourceNames:
        """Names of the files that they are of."""
        return SourceNames.of(suspect.record for suspect in (*self.objects, *self.samples))

    def pictures(self) -> list[list[Suspect]]:
        """Return the suspects of each record in the order of its worst; objects come before samples."""
        found: dict[int, list[Suspect]] = {}
        for suspect in self.objects:
            found.setdefault(suspect.index, []).append(suspect)
        for suspect in self.samples:
            found.setdefault(suspect.index, [suspect])
        return list(found.values())

    def to_dict(self) -> dict[str, Any]:
        """Return all as plain data, ready for JSON."""
        return {
            "epochs": list(self.epochs),
            "num_samples": self.num_samples,
            "num_objects": self.num_objects,
            "num_not_finite": self.num_not_finite,
            "samples": [suspect.to_dict() for suspect in self.samples],
            "objects": [suspect.to_dict() for suspect in self.objects],
        }

    def notes(self) -> list[str]:
        """Return what a reader must know about the losses."""
        notes = [RANK_NOTE]
        if self.num_not_finite:
            verb = "has" if self.num_not_finite == 1 else "have"
            notes.append(
                f"{counted(self.num_not_finite, 'sample')} {verb} a loss that is not finite, which comes first: the "
                "numbers grow beyond those of model.dtype, or the weights are damaged"
            )
        if legend := self.sources.legend:
            notes.append(legend)
        return notes

    def grids(self) -> list[Grid]:
        """Return the table of objects, and that of samples."""
        epochs = ", ".join(map(str, self.epochs))
        of = f"of epoch {epochs}" if len(self.epochs) == 1 else f"of epochs {epochs}"
        of = "of the last validation" if self.split == "val" else of
        of_objects = f"objects with the highest loss, of {self.num_objects} {of}"
        of_samples = f"samples with the highest loss, of {self.num_samples} {of}"
        samples = self._grid(of_samples, self.samples, SAMPLE_KINDS)
        return [self._grid(of_objects, self.objects, OBJECT_KINDS), samples] if self.objects else [samples]

    def _grid(self, title: str, suspects: Sequence[Suspect], kinds: Sequence[str]) -> Grid:
        of_objects, sources = any(suspect.number is not None for suspect in suspects), self.sources
        rows = []
        for each in suspects:
            what = (str(each.number), shorten(each.desc, _CAPTION_CHARS)) if of_objects else (each.record.image,)
            rated = (str(each.losses.get(kind, "-")) for kind in kinds)
            rows.append((sources.place(each.record), *what, *rated))
        what = ("object", "caption") if of_objects else ("image",)
        headings = ("where", *what, *(f"{kind} loss" for kind in kinds))
        return Grid(title, headings, tuple(rows), tuple(self.notes()), texts=(0, 2) if of_objects else (0, 1))


def find_suspects(dataset: DenseCaptionDataset, files: Sequence[tuple[int, Path]], count: int, config: str) -> Suspects:
    """Return the samples and the objects with the highest loss.

    Args:
        dataset: The samples of the run. It needs no tokenizer.
        files: Epoch and file of the losses, oldest first.
        count: How many of each.
        config: The run's config, for commands.

    Raises:
        RecordError: A file of losses is damaged, or the records are not those that the run trained on.
    """
    table = read_loss_table(files)
    ends = [part.stop for part in dataset.mixture.parts]
    datasets = np.searchsorted(ends, table.index, side="right")
    samples, objects = table.samples(datasets), table.objects(datasets)
    return Suspects(
        samples=tuple(_worst(dataset, table, samples, count)),
        objects=tuple(_worst(dataset, table, objects, count, of_objects=True)),
        num_samples=len(table.index),
        num_objects=len(table.number),
        num_not_finite=int(np.isinf(table.means).any(axis=1).sum()),
        epochs=tuple(np.unique(table.epoch).tolist()),
        split=dataset.split,
        config=config,
    )


def _worst(
    dataset: DenseCaptionDataset, table: LossTable, losses: Losses, count: int, *, of_objects: bool = False
) -> Iterable[Suspect]:
    """Yield the worst samples or objects. Of several samples of a record, or parts of an object, the worst counts."""
    seen: set[tuple[int, int | None]] = set()
    for k in losses.order().tolist():
        if len(seen) >= count:
            return
        i = int(table.owner[k]) if of_objects else k
        index, number = int(table.index[i]), int(table.number[k]) if of_objects else None
        if (index, number) in seen:
            continue
        seen.add((index, number))
        pairs = zip(SAMPLE_KINDS, losses.means[k].tolist(), losses.ranks[k].tolist(), strict=False)
        yield Suspect(
            index=index,
            record=_record(dataset, index, table.names[i]),
            epoch=int(table.epoch[i]),
            step=int(table.step[i]),
            draw=int(table.draw[i]),
            number=number,
            losses={kind: Rated(mean, rank) for kind, mean, rank in pairs if not math.isnan(mean)},
        )


def _record(dataset: DenseCaptionDataset, index: int, name: str) -> Record:
    """Return a record. Its place must be that of the run; its objects may be mended by now."""
    record = dataset.records[index] if index < len(dataset) else None
    if record is None or record.name != name:
        found = "missing" if record is None else record.name
        raise RecordError(
            f"record {index} of {dataset.split} must be {name}, as when the run trained on it, and is {found}. Mend "
            "records in their lines, without adding or deleting lines; or train again"
        )
    return record


def suspect_tile(dataset: DenseCaptionDataset, suspects: Sequence[Suspect], sources: SourceNames, side: int) -> Tile:
    """Return the picture of a record for a sheet: its suspects with their numbers, or all of it.

    Args:
        dataset: As of `find_suspects`.
        suspects: Of one record.
        sources: Names of the files, as `Suspects.sources`.
        side: Longer side, in pixels.

    Raises:
        ImageError: The image cannot be decoded.
        RecordError: Its path leaves ``data.root``.
    """
    record = suspects[0].record
    image, shapes = scaled_to(dataset.image(record), record.shapes, side)
    numbers = _numbers(suspects)
    captions = [record.captions[number - 1] for number in numbers]
    drawn = draw_shapes(image, shapes.take(np.array(numbers, np.int64) - 1), captions, numbers=numbers)
    title = f"{sources.place(record)}  {record.image}"
    return Tile(drawn, title, tuple(suspect.describe() for suspect in suspects))


def suspect_entry(
    dataset: DenseCaptionDataset, suspects: Sequence[Suspect], sources: SourceNames, command: str
) -> Entry:
    """Return a record as one entry of the page: its suspects, and beside them the record as annotated.

    Args:
        dataset: As of `find_suspects`.
        suspects: Of one record.
        sources: As of `suspect_tile`.
        command: Begin of the command that shows a sample as it was trained on, as `Suspects.replay`.

    Raises:
        ImageError: As `suspect_tile`.
        RecordError: As `suspect_tile`.
    """
    record = suspects[0].record
    image, shapes = scaled_to(dataset.image(record), record.shapes, PAGE_SIDE)
    numbers = _numbers(suspects)
    first = suspects[0]
    replay = f"{command} --epoch {first.epoch} --index {first.index} --draw {first.draw} --out replay"
    worst = Panel(
        title="high loss",
        image=image,
        shapes=shapes.take(np.array(numbers, np.int64) - 1),
        captions=[record.captions[number - 1] for number in numbers],
        notes=(*(suspect.describe() for suspect in suspects), f"as the model saw it: {replay}"),
        numbers=numbers,
    )
    whole = Panel("as annotated", image, shapes, record.captions, text=record.summary or "")
    return Entry(f"{sources.place(record)}  {record.image}", (worst, whole))


def _numbers(suspects: Sequence[Suspect]) -> list[int]:
    """Return the numbers of the objects to draw: the suspects that are still there; all for a whole sample."""
    every = len(suspects[0].record.captions)
    numbers = [suspect.number for suspect in suspects if suspect.number is not None]
    return [number for number in numbers if number <= every] if numbers else list(range(1, every + 1))
