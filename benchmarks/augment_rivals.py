"""Other ways from a JPEG file and its labels to the model's patches, each with random draws of one workload.

A new rival is a class here with `sample` and a line in `all_rivals`. All of them crop and shrink first, which is the
cheapest order, and work on one thread.
"""

from __future__ import annotations

import math
import random
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
import torch
from PIL import Image, ImageEnhance
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from dcap.augment import Pipeline, render, render_patches
from dcap.core.random import generator
from dcap.geometry import Canvas, ShapeArray
from dcap.records.images import decode_image

MAX_PIXELS = 921_600
LONG_SIDE = 1108  # of a 4:3 image of that area
GREY = 128
OPS: list[dict[str, Any]] = [
    {"name": "random_crop", "params": {"scale": [0.7, 1.0]}},
    {"name": "hflip", "prob": 0.5},
    {"name": "vflip", "prob": 0.5},
    {"name": "rotate", "params": {"max_deg": 15}},
    {"name": "scale", "params": {"lo": 0.85, "hi": 1.15}},
    {"name": "expand_to_fit_affine", "params": {"max_pixels": MAX_PIXELS}},
    {"name": "color_jitter", "params": {"brightness": 0.2, "contrast": 0.2, "saturation": 0.2, "hue": 0.03}},
    {"name": "gamma", "params": {"lo": 0.8, "hi": 1.25}},
    {"name": "hsv", "params": {"hue": 0.03, "saturation": 0.2, "value": 0.2}},
]


class Rival(Protocol):
    """One way to make samples."""

    def sample(self, seed: int) -> tuple[torch.Tensor, int]:
        """Return bfloat16 patches (N, 1536) and the number of objects left, of draw `seed`."""
        ...


class Dcap:
    """Plan, decode as small as the plan allows, one warp, colours, patches in bfloat16."""

    def __init__(self, path: Path, shapes: ShapeArray) -> None:
        with Image.open(path) as image:
            self.canvas = Canvas(image.height, image.width)
        self.path, self.shapes = path, shapes
        self.pipeline = Pipeline.from_config(OPS)

    def sample(self, seed: int) -> tuple[torch.Tensor, int]:
        result = self.pipeline.plan(self.canvas, self.shapes, generator(seed))
        image = decode_image(self.path, self.canvas, shrink=result.plan.decode_shrink)
        patches = torch.from_numpy(render_patches(image, result.plan, "bfloat16")).view(torch.bfloat16)
        return patches, result.telemetry.num_kept


def hugging_face() -> Any:
    options = {"size": {"shortest_edge": 65_536, "longest_edge": MAX_PIXELS}, "patch_size": 16}
    options |= {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    if find_spec("torchvision") is not None:
        from transformers.models.qwen2_vl.image_processing_qwen2_vl import Qwen2VLImageProcessor

        return Qwen2VLImageProcessor(**options)
    return Qwen2VLImageProcessorPil(**options)


def patches_of(processor: Any, image: Any) -> torch.Tensor:
    made: torch.Tensor = processor(image, return_tensors="pt")["pixel_values"].to(torch.bfloat16)
    return made


def albumentations_pipeline() -> Any:
    """`OPS` in AlbumentationsX; linear, as dcap is here."""
    import albumentations as A  # noqa: N812 - its own custom

    return A.Compose(
        [
            A.RandomCropFromBorders(0.08, 0.08, 0.08, 0.08, p=1),
            A.LongestMaxSize(LONG_SIDE, interpolation=cv2.INTER_LINEAR, area_for_downscale="image"),
            A.HorizontalFlip(p=0.5),
            A.VerticalFlip(p=0.5),
            A.Affine(rotate=(-15, 15), scale=(0.85, 1.15), fit_output=True, fill=GREY, p=1),
            A.PadIfNeeded(None, None, 32, 32, fill=GREY),
            A.ColorJitter((0.8, 1.2), (0.8, 1.2), (0.8, 1.2), (-0.03, 0.03), p=1),
            A.RandomGamma((80, 125), p=1),
            A.HueSaturationValue((-5, 5), (-30, 30), (-30, 30), p=1),
        ],
        **albumentations_labels(),
    )


def albumentations_labels() -> dict[str, Any]:
    """Boxes as boxes, the points of polygons and lines as keypoints."""
    import albumentations as A  # noqa: N812 - its own custom

    return {
        "bbox_params": A.BboxParams("pascal_voc", label_fields=["box_ids"], min_visibility=0.3),
        "keypoint_params": A.KeypointParams("xy", remove_invisible=False),
        "telemetry": False,
    }


class AlbumentationsX:
    """`albumentations_pipeline`, then Hugging Face's processor."""

    def __init__(self, path: Path, shapes: ShapeArray) -> None:
        self.path, self.processor, self.pipeline = path, hugging_face(), albumentations_pipeline()
        boxes = [points.ravel() for kind, points in shapes if kind == 0]
        with Image.open(path) as image:
            size = np.array([image.width, image.height] * 2)
        self.boxes = np.clip(boxes, 0, size)
        points = [(i, p) for i, (kind, ring) in enumerate(shapes) if kind != 0 for p in ring]
        self.owners, self.points = np.array([i for i, _ in points]), np.array([p for _, p in points])

    def sample(self, seed: int) -> tuple[torch.Tensor, int]:
        self.pipeline.set_random_seed(seed)
        image = cv2.imread(str(self.path), cv2.IMREAD_COLOR_RGB)
        made = self.pipeline(
            image=image,
            bboxes=self.boxes,
            box_ids=list(range(len(self.boxes))),
            keypoints=self.points,
        )
        height, width = made["image"].shape[:2]
        inside = ((made["keypoints"] >= 0) & (made["keypoints"] < [width, height])).all(axis=1)
        left = len(made["bboxes"]) + len(set(self.owners[inside].tolist()))
        return patches_of(self.processor, made["image"]), left


class PilPipeline:
    """Pillow for pixels and plain Python for points, as many projects have it."""

    def __init__(self, path: Path, shapes: ShapeArray) -> None:
        self.path, self.processor = path, hugging_face()
        self.objects = shapes.to_objects()

    def sample(self, seed: int) -> tuple[torch.Tensor, int]:
        rng = random.Random(seed)
        image = Image.open(self.path).convert("RGB")
        w, h = image.size
        left, top, right, bottom = (rng.uniform(0, 0.08) * side for side in (w, h, w, h))
        objects = [
            [
                (x - left, y - top)
                for [numbers] in [o.values()]
                for x, y in zip(numbers[::2], numbers[1::2], strict=True)
            ]
            for o in self.objects
        ]
        image = image.crop((round(left), round(top), round(w - right), round(h - bottom)))
        scale = min(1.0, LONG_SIDE / max(image.size))
        image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)
        objects = [[(x * scale, y * scale) for x, y in points] for points in objects]
        for axis, flip in enumerate((Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.FLIP_TOP_BOTTOM)):
            if rng.random() < 0.5:
                image, side = image.transpose(flip), image.size[axis]
                objects = [[(side - x, y) if axis == 0 else (x, side - y) for x, y in points] for points in objects]
        angle, zoom = rng.uniform(-15, 15), rng.uniform(0.85, 1.15)
        image = image.resize((round(image.width * zoom), round(image.height * zoom)), Image.Resampling.BICUBIC)
        w, h = image.size
        image = image.rotate(-angle, Image.Resampling.BICUBIC, expand=True, fillcolor=(GREY,) * 3)
        cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
        dx, dy = image.width / 2, image.height / 2
        turned = [[(x * zoom - w / 2, y * zoom - h / 2) for x, y in points] for points in objects]
        objects = [[(cos * x - sin * y + dx, sin * x + cos * y + dy) for x, y in points] for points in turned]
        canvas = Image.new("RGB", tuple(-(-side // 32) * 32 for side in image.size), (GREY,) * 3)
        canvas.paste(image, (0, 0))
        for enhance in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
            canvas = enhance(canvas).enhance(rng.uniform(0.8, 1.2))
        gamma = rng.uniform(0.8, 1.25)
        canvas = canvas.point([round(255 * (v / 255) ** gamma) for v in range(256)] * 3)
        hue, saturation, value = canvas.convert("HSV").split()
        shift, more, light = rng.randint(-8, 8), rng.uniform(0.8, 1.2), rng.uniform(0.8, 1.2)
        bands = (
            hue.point([(v + shift) % 256 for v in range(256)]),
            saturation.point([min(255, round(v * more)) for v in range(256)]),
            value.point([min(255, round(v * light)) for v in range(256)]),
        )
        canvas = Image.merge("HSV", bands).convert("RGB")
        seen = [any(0 <= x <= canvas.width and 0 <= y <= canvas.height for x, y in points) for points in objects]
        return patches_of(self.processor, canvas), sum(seen)


def all_rivals(path: Path, shapes: ShapeArray) -> dict[str, Rival]:
    """Return every rival that is installed, dcap first."""
    made: dict[str, Rival] = {"dcap": Dcap(path, shapes), "PIL and Python": PilPipeline(path, shapes)}
    if find_spec("albumentations") is not None:
        made["AlbumentationsX"] = AlbumentationsX(path, shapes)
    return made


def turned_pictures(image: np.ndarray) -> dict[str, np.ndarray]:
    """Return what each library makes of one mirrored and turned image, the canvas kept, for comparison."""
    height, width = image.shape[:2]
    pipeline = Pipeline.from_config([{"name": "hflip"}, {"name": "rotate", "params": {"max_deg": 15}}])
    plan = pipeline.plan(Canvas(height, width), ShapeArray.empty(), generator(4)).plan
    angle = math.degrees(math.atan2(-plan.affine.d, -plan.affine.a))
    made = {"dcap": render(image, plan)}
    mirrored = Image.fromarray(image).transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    made["PIL and Python"] = np.asarray(mirrored.rotate(-angle, Image.Resampling.BILINEAR, fillcolor=(GREY,) * 3))
    if find_spec("albumentations") is not None:
        import albumentations as A  # noqa: N812 - its own custom

        turn = A.Affine(rotate=(-angle, -angle), fill=GREY, p=1)
        made["AlbumentationsX"] = A.Compose([A.HorizontalFlip(p=1), turn], telemetry=False)(image=image)["image"]
    return made
