"""Smaller image files, made once, with the shapes moved along.

Owns names, formats and the reuse of files that an earlier run made. An image is decoded, turned upright and resampled
as the model's own resize is (PIL bicubic, antialiased); JPEG stays JPEG (quality 95, no chroma subsampling), all other
formats become PNG. EXIF and colour profiles are not copied: dcap uses neither.
"""

from __future__ import annotations

import hashlib
import math
import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from dcap.augment.rendering import resize_for_model
from dcap.core.errors import ImageError
from dcap.core.files import cut_name, written_whole
from dcap.geometry.affine import Affine
from dcap.geometry.canvas import MAX_PIXELS, Canvas
from dcap.geometry.clipping import transform
from dcap.geometry.shapes import ShapeArray
from dcap.records.images import decode_image, read_header
from dcap.records.record import Record
from dcap.records.sixteen_bit import SixteenBit

JPEG_QUALITY = 95


@dataclass(frozen=True)
class Resizer:
    """Bounds the size of images.

    Attributes:
        max_pixels: Bound on height x width; an image within it is left alone, where it is.
        folder: Where smaller files are written, as ``NAME-<hash of path and rule>.jpg`` or ``.png``.
        overwrite: Make each file anew. Otherwise a file is kept if it has the wanted size and the time stamp of its
            source. A finished file gets that time stamp.
        max_image_pixels: Bound on the images that are read.
        sixteen_bit: Range of 16-bit values that the 8-bit files keep.
    """

    max_pixels: int
    folder: Path
    overwrite: bool = False
    max_image_pixels: int = MAX_PIXELS
    sixteen_bit: SixteenBit = "full"

    def __call__(self, record: Record, base: Path) -> Record:
        """Return the record with its image within the bound.

        Args:
            record: Its image's path is relative to `base`.
            base: Folder of the output.

        Raises:
            ImageError: The image cannot be decoded.
        """
        small = fitting(record.canvas, self.max_pixels)
        if small == record.canvas:
            return record
        source = base / record.image
        header = read_header(source)
        target = self.folder / _name(source, header.format in ("JPEG", "MPO"), self.sixteen_bit)
        if self.overwrite or not _is_made(target, source, small):
            rule = self.sixteen_bit
            image = decode_image(source, record.canvas, self.max_image_pixels, sixteen_bit=rule)
            _save(Image.fromarray(resize_for_model(image, small)), target)
            status = source.stat()
            os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))
        name = os.path.relpath(target.resolve(), base.resolve())
        return replace(record, image=name, canvas=small, shapes=scaled(record.shapes, record.canvas, small))


def fitting(canvas: Canvas, max_pixels: int) -> Canvas:
    """Return the largest canvas of the same aspect, up to rounding, with at most `max_pixels`; never a larger one."""
    if canvas.num_pixels <= max_pixels:
        return canvas
    scale = math.sqrt(max_pixels / canvas.num_pixels)
    # A side of an extreme strip cannot go below one pixel; the other one gives way.
    height = min(max(1, int(canvas.height * scale)), max_pixels)
    width = min(max(1, int(canvas.width * scale)), max_pixels // height)
    return Canvas(height=height, width=width)


def scaled(shapes: ShapeArray, before: Canvas, after: Canvas) -> ShapeArray:
    """Return shapes inside `before` where they are after its resize to `after`; the border stays on the border."""
    moved = transform(shapes, Affine.scaling(after.width / before.width, after.height / before.height))
    xy = np.clip(moved.xy, 0.0, [after.width, after.height])  # 451 * (317 / 451) is not 317
    return ShapeArray.trusted(np.ascontiguousarray(xy), moved.offsets, moved.kinds)


def _name(source: Path, jpeg: bool, sixteen_bit: SixteenBit) -> str:
    rule = "" if sixteen_bit == "full" else f"\0{sixteen_bit}"
    digest = hashlib.sha256(os.fsencode(source.resolve()) + rule.encode()).hexdigest()[:10]
    ending = f"-{digest}{'.jpg' if jpeg else '.png'}"
    return cut_name(source.stem, len(ending)) + ending


def _is_made(target: Path, source: Path, canvas: Canvas) -> bool:
    try:
        same_time = target.stat().st_mtime_ns == source.stat().st_mtime_ns
        return same_time and read_header(target).canvas == canvas
    except (FileNotFoundError, ImageError):
        return False


def _save(image: Image.Image, target: Path) -> None:
    with written_whole(target, sweep=False) as file:
        if target.suffix == ".jpg":
            image.save(file, "JPEG", quality=JPEG_QUALITY, subsampling=0)
        else:
            image.save(file, "PNG")
