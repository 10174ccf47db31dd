"""Image files that other tools name, and the frame in which those tools give coordinates.

Owns the confinement of foreign paths, and the map from the stored, unrotated image to the image as displayed.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Literal

from dcap.convert.foreign_files import is_sidecar
from dcap.core.errors import RecordError
from dcap.geometry.affine import Affine
from dcap.geometry.canvas import Canvas
from dcap.records.images import ImageHeader

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".jp2", ".avif", ".mpo")
"""Endings of files that are taken for images, in the order of preference."""

Frame = Literal["auto", "displayed", "stored"]
"""Frame of the shapes of images with an EXIF orientation: as displayed, as stored, or found by the stated size."""


def find_image(folder: Path, names: tuple[str, ...], confined: bool = True) -> Path:
    """Return the image file that one of the names means.

    Args:
        folder: Folder of images, resolved.
        names: Paths below it; the first that exists is used. If no file has a backslash in its name, it separates
            folders.
        confined: Refuse what is absolute, climbs with ``..`` or is a symbolic link that leads out of the folder.

    Raises:
        RecordError: A name leaves the folder, or no file is there.
    """
    for name in names:
        for spelling in dict.fromkeys((name, name.replace("\\", "/"))):
            if "\0" in spelling or (confined and _climbs(spelling)):
                raise RecordError(f"image must lie inside {folder}, not at {name!r}. Give --images its folder.")
            path = folder / spelling
            try:
                if not path.is_file():
                    continue
                if confined and not path.resolve().is_relative_to(folder):
                    raise RecordError(f"image must lie inside {folder}, and {name!r} is a link to {path.resolve()}")
            except OSError as error:
                raise RecordError(f"image must have a name that can be opened, not {name!r} ({error})") from None
            return path
    raise RecordError(f"image {' or '.join(names)} must be a file in {folder}. Give its folder with --images.")


def _climbs(name: str) -> bool:
    parts = PurePosixPath(name.replace("\\", "/"))
    return parts.is_absolute() or ".." in parts.parts or (len(name) > 1 and name[1] == ":")


def upright_map(header: ImageHeader, size: tuple[int, int] | None, frame: Frame) -> tuple[Affine | None, bool]:
    """Return the map from the frame of a file's shapes to the image as displayed.

    Args:
        header: Of the image.
        size: Width and height that the file states, if any.
        frame: The frame of the file's shapes, or how to find it.

    Returns:
        The map, None where the frames are the same; and whether the frame had to be assumed, since the sizes do not
        tell it (a half turn, a mirror image, a square, or no size at all): it is then taken as displayed.

    Raises:
        RecordError: The stated size is neither that of the image as displayed nor as stored.
    """
    shown, stored = header.canvas, header.stored
    stated = shown if size is None else Canvas(height=size[1], width=size[0])
    if stated not in (shown, stored):
        also = "" if shown == stored else f" as displayed, or {stored.width} x {stored.height} as stored"
        raise RecordError(
            f"width, height must be the image's, {shown.width} x {shown.height}{also}, "
            f"not {stated.width} x {stated.height}"
        )
    if header.orientation == 1:
        return None, False
    if frame == "displayed":
        return None, False
    told = shown != stored and size is not None
    if frame == "auto" and (not told or stated == shown):
        return None, not told
    return stored_to_displayed(header), False


def stored_to_displayed(header: ImageHeader) -> Affine:
    """Return the map of the EXIF orientation, from stored to displayed pixel-edge coordinates."""
    w, h = float(header.stored.width), float(header.stored.height)
    return {
        1: Affine.identity(),
        2: Affine(-1, 0, w, 0, 1, 0),
        3: Affine(-1, 0, w, 0, -1, h),
        4: Affine(1, 0, 0, 0, -1, h),
        5: Affine(0, 1, 0, 1, 0, 0),
        6: Affine(0, -1, h, 1, 0, 0),
        7: Affine(0, -1, h, -1, 0, w),
        8: Affine(0, 1, 0, -1, 0, w),
    }[header.orientation]


def list_images(folder: Path) -> list[Path]:
    """Return all image files below a folder, sorted, without those of `is_sidecar`."""
    found = (path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and not is_sidecar(path.name))
    return sorted(path for path in found if path.is_file())
