"""Replay: one augmented sample as a file that gives back its very pixels, and as a picture to look at."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dcap.augment.plan import Plan
from dcap.augment.render import render
from dcap.core.config import build
from dcap.core.errors import ConfigError, GeometryError
from dcap.data.draw import Pixels, draw_shapes
from dcap.data.images import MAX_PIXELS, decode_image
from dcap.data.sample import Sample
from dcap.data.sheet import write_png, write_text
from dcap.geometry.shapes import ShapeArray

MAX_FILE_BYTES = 1 << 26


@dataclass(frozen=True, eq=False, slots=True)
class Replay:
    """What is needed to make a sample's picture and text again.

    Args:
        image: The source image.
        plan: What it undergoes.
        shapes: N shapes, pixel-edge frame of the plan's canvas.
        captions: One per shape.
        answer: The supervised text.
    """

    image: Path
    plan: Plan
    shapes: ShapeArray
    captions: tuple[str, ...]
    answer: str

    @classmethod
    def of_sample(cls, sample: Sample, image: Path) -> Replay:
        """Return the replay of a sample that was made from the file `image`."""
        scene = sample.scene
        return cls(image.resolve(), sample.augmented.plan, scene.shapes, scene.captions, sample.answer)

    @classmethod
    def read(cls, path: Path) -> Replay:
        """Read what `write` left as ``plan.json``.

        Raises:
            ConfigError: The file is missing, too large, or not such a file.
        """
        if not path.is_file():
            raise ConfigError(f"{path} must exist; dcap replay --config writes such a file")
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ConfigError(f"{path} must be at most {MAX_FILE_BYTES} bytes")
        try:
            tree = build(_ReplayTree, json.loads(path.read_text("utf-8")), str(path))
            shapes = ShapeArray.from_objects(tree.objects)
        except (ValueError, RecursionError, GeometryError) as error:
            raise ConfigError(f"{path} must be a plan.json that dcap replay wrote ({error})") from None
        captions = tuple(str(item.get("desc", "")) for item in tree.objects)
        return cls(Path(tree.image), Plan.from_json(json.dumps(tree.plan), str(path)), shapes, captions, tree.answer)

    def to_json(self) -> str:
        """Return the file's text."""
        objects = [{"desc": c, **o} for c, o in zip(self.captions, self.shapes.to_objects(), strict=True)]
        plan = json.loads(self.plan.to_json())
        tree = {"image": str(self.image), "answer": self.answer, "plan": plan, "objects": objects}
        return json.dumps(tree, ensure_ascii=False, indent=1) + "\n"

    def pixels(self) -> Pixels:
        """Decode the source and render the plan: uint8 (H, W, 3) RGB, what the model was given.

        Raises:
            ImageError: The image is missing, damaged or of another size than the plan's source.
        """
        image = decode_image(self.image, self.plan.source, MAX_PIXELS, shrink=self.plan.decode_shrink)
        return render(image, self.plan)

    def write(self, folder: Path) -> None:
        """Write ``image.png``, ``overlay.png``, ``answer.txt`` and ``plan.json`` into `folder`.

        Raises:
            ImageError: As `pixels`.
        """
        pixels = self.pixels()
        write_png(folder / "image.png", pixels)
        write_png(folder / "overlay.png", draw_shapes(pixels, self.shapes, self.captions))
        write_text(folder / "answer.txt", self.answer + "\n")
        write_text(folder / "plan.json", self.to_json())


@dataclass(frozen=True)
class _ReplayTree:
    image: str
    answer: str
    plan: dict[str, Any]
    objects: tuple[dict[str, Any], ...]
