"""The frame in which other tools give coordinates.

Owns the map from the stored, unrotated image to the image as displayed.
"""

from __future__ import annotations

from typing import Literal

from dcap.core.errors import RecordError
from dcap.geometry.affine import Affine
from dcap.geometry.canvas import Canvas
from dcap.records.images import ImageHeader

Frame = Literal["auto", "displayed", "stored"]
"""Frame of the shapes of images with an EXIF orientation: as displayed, as stored, or found by the stated size."""


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
