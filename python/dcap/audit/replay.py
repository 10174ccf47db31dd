"""Replay: one augmented sample as a file that renders its exact pixels again, and as a picture."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dcap.audit.preview import answer_objects
from dcap.augment.plan import MAX_COORDINATE, Plan
from dcap.augment.rendering import render
from dcap.augment.schedule import TrainingStep
from dcap.core.config import build
from dcap.core.errors import ConfigError, GeometryError
from dcap.core.files import require_file, write_whole
from dcap.data.dataset import DenseCaptionDataset
from dcap.data.epoch import EpochRules, plan_epoch
from dcap.data.sample import SampleKey
from dcap.geometry.canvas import MOST_PIXELS
from dcap.geometry.shapes import ShapeArray
from dcap.records.embedded_image import EmbeddedImage
from dcap.records.images import decode_image
from dcap.records.record import image_path
from dcap.records.sixteen_bit import SixteenBit
from dcap.view.draw import Pixels, draw_shapes
from dcap.view.sheet import write_png

MAX_FILE_BYTES = 1 << 26


@dataclass(frozen=True, eq=False, slots=True)
class Replay:
    """Everything needed to make a sample's picture and text again.

    Args:
        name: Record, epoch and step, for people.
        image: The source image. An image inside another file is written out beside the plan.
        plan: All changes to the image.
        shapes: N shapes as in the answer, pixel-edge frame of the plan's canvas. A summary has none.
        captions: One per shape.
        numbers: Number of each object in the record, from 1.
        answer: The supervised text.
        sixteen_bit: Range of 16-bit values that the source image is decoded with.
    """

    name: str
    image: Path | EmbeddedImage
    plan: Plan
    shapes: ShapeArray
    captions: tuple[str, ...]
    numbers: tuple[int, ...]
    answer: str
    sixteen_bit: SixteenBit = "full"

    @classmethod
    def of_sample(cls, dataset: DenseCaptionDataset, key: SampleKey) -> Replay:
        """Return the replay of one sample of a data set. Its image is not opened.

        Raises:
            RecordError: As the dataset.
        """
        planned, planner = dataset.plan(key.epoch, key.index, key.when, key.draw), dataset.planner_of(key.index)
        record, seen = planned.record, answer_objects(planned, planner.profile.answer)
        image = record.embedded or image_path(record, dataset.data.root).resolve()
        step = "" if key.when is None else f", step {key.when.step}"
        draw = f", draw {key.draw}" if key.draw else ""
        name = f"{record.name} {record.image}, epoch {key.epoch}{draw}{step}"
        return cls(
            name=name,
            image=image,
            plan=planned.result.plan,
            shapes=seen.shapes,
            captions=seen.captions,
            numbers=seen.numbers,
            answer=planner.answer_text(planned),
            sixteen_bit=dataset.data.sixteen_bit,
        )

    @classmethod
    def read(cls, path: Path) -> Replay:
        """Read a ``plan.json`` that `write` wrote.

        Raises:
            ConfigError: The file is missing, too large, or not such a file.
        """
        require_file(path, "plan", ConfigError, "dcap replay --config writes one.")
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ConfigError(f"{path} must be at most {MAX_FILE_BYTES} bytes")
        try:
            tree = build(_ReplayTree, json.loads(path.read_text("utf-8")), "replay")
            shapes = ShapeArray.from_objects(item.shape for item in tree.objects)
            # JSON can spell half a character, which no file can hold. The error is clearer here than at the write.
            "".join((tree.answer, tree.name, tree.image, *(item.desc for item in tree.objects))).encode("utf-8")
        except (ValueError, RecursionError, GeometryError) as error:
            raise ConfigError(f"{path} must be a plan.json that dcap replay wrote ({error})") from None
        if len(shapes) and abs(shapes.xy).max() > MAX_COORDINATE:
            raise ConfigError(f"{path} must have coordinates of at most {MAX_COORDINATE:g}")
        return cls(
            tree.name,
            Path(tree.image),
            Plan.from_tree(tree.plan, f"{path}: plan"),
            shapes,
            tuple(item.desc for item in tree.objects),
            tuple(item.number for item in tree.objects),
            tree.answer,
            tree.sixteen_bit,
        )

    def to_json(self) -> str:
        """Return the file's text."""
        rows = zip(self.numbers, self.captions, self.shapes.to_objects(), strict=True)
        objects = [{"number": number, "desc": desc, "shape": shape} for number, desc, shape in rows]
        head = {"name": self.name, "image": str(self.image), "answer": self.answer, "sixteen_bit": self.sixteen_bit}
        tree = {**head, "plan": self.plan.to_tree(), "objects": objects}
        return json.dumps(tree, ensure_ascii=False, indent=1) + "\n"

    def pixels(self) -> Pixels:
        """Decode the source and render the plan: uint8 (H, W, 3) RGB, what the model sees.

        Raises:
            ImageError: The image is missing, damaged or of another size than the plan's source.
        """
        # The bound is that of the run; the plan knows the image's size.
        shrink = self.plan.decode_shrink
        image = decode_image(self.image, self.plan.source, MOST_PIXELS, None, shrink, self.sixteen_bit)
        return render(image, self.plan)

    def write(self, folder: Path) -> None:
        """Write ``image.png``, ``overlay.png``, ``answer.txt`` and ``plan.json`` into `folder`.

        A source image without a file of its own is written too, as ``source``, so that the plan can be replayed.

        Raises:
            ImageError: As `pixels`.
        """
        pixels = self.pixels()
        saved = self if isinstance(self.image, Path) else replace(self, image=_write_out(self.image, folder))
        write_png(folder / "image.png", pixels)
        write_png(folder / "overlay.png", draw_shapes(pixels, self.shapes, self.captions, numbers=self.numbers))
        write_whole(folder / "answer.txt", self.answer + "\n")
        write_whole(folder / "plan.json", saved.to_json())


def find_sample(
    dataset: DenseCaptionDataset,
    epoch: int,
    index: int,
    draw: int = 0,
    *,
    when: TrainingStep | None = None,
    rules: EpochRules | None = None,
) -> SampleKey:
    """Return the key by which a run asks for a sample.

    Args:
        dataset: Whose sample.
        epoch: Epoch, from 0.
        index: Its record, from 0.
        draw: How many samples of the same record the epoch takes before it.
        when: The step that gives a curriculum's values. `None`: the step of the run that trains on the sample, where
            `rules` are given; else the first one.
        rules: How the run makes rows and steps. With a curriculum, all epochs up to this one are planned by them.

    Raises:
        ConfigError: There is no such record, or the epoch does not take it, or leaves the sample out.
        RecordError: As the dataset.
        WorkerError: A worker process died.
    """
    if epoch < 0:
        raise ConfigError(f"epoch must be at least 0, not {epoch}")
    if index not in range(len(dataset)):
        what = "records" if dataset.records.tiling is None else "tiles"
        raise ConfigError(f"index must be within 0..{len(dataset) - 1}, the {what} of {dataset.split}, not {index}")
    if dataset.records[index].messages:
        raise ConfigError(f"index must be that of a record with an image, and record {index} is a conversation")
    taken = int((dataset.samples(epoch).index == index).sum())
    if not taken:
        raise ConfigError(f"index must be that of a record that epoch {epoch} takes, not {index}")
    if draw not in range(taken):
        raise ConfigError(
            f"draw must be below {taken}, the number of samples that epoch {epoch} takes of record {index}, not {draw}"
        )
    if when is None and rules is not None and dataset.curriculum.phases:
        return plan_epoch(dataset, epoch, rules).key_of(index, draw)
    return SampleKey(epoch, index, when=when, draw=draw)


def _write_out(image: EmbeddedImage, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder.resolve() / "source"
    with image.open() as file, path.open("wb") as out:
        shutil.copyfileobj(file, out)
    return path


@dataclass(frozen=True)
class _ObjectTree:
    number: int
    desc: str
    shape: dict[str, Any]


@dataclass(frozen=True)
class _ReplayTree:
    name: str
    image: str
    answer: str
    plan: dict[str, Any]
    objects: tuple[_ObjectTree, ...]
    sixteen_bit: SixteenBit = "full"
