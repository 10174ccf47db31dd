"""Run-length encoded masks of COCO, to arrays.

Owns the checks: runs are unpacked here and must fill the mask exactly before anything is allocated. pycocotools 2.0.11
returns uninitialised memory where they do not, and reads behind the end of a text that is cut.

Source: the format of ``maskApi.c`` of the COCO API; its decoder is the oracle of the tests.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from dcap.convert.json_file import show_short
from dcap.core.errors import RecordError

_PACKED = re.compile(r"(?:[P-o]{0,6}[0-O])*")
"""Groups of 5 bits from the lowest on, in characters from 0; all but the last of a number have the sixth bit set."""


def decode_rle(segmentation: Mapping[str, Any], size: tuple[int, int], max_pixels: int) -> npt.NDArray[np.uint8]:
    """Decode a mask.

    Args:
        segmentation: ``{"size": [height, width], "counts": runs}``: a list of numbers, or COCO's compressed text.
        size: Width and height of the image, which the mask must have.
        max_pixels: Bound on height x width.

    Returns:
        uint8 (H, W) of 0 and 1.

    Raises:
        RecordError: The mask has another size than the image, is too large, or its runs do not fill it.
    """
    width, height = size
    stated = segmentation.get("size")
    if stated != [height, width]:
        shown = stated if isinstance(stated, list) and len(stated) <= 4 else show_short(stated)
        raise RecordError(f"segmentation.size must be [height, width] of the image, {[height, width]}, not {shown}")
    if height * width > max_pixels:
        raise RecordError(f"segmentation.size must be at most {max_pixels} pixels, not {width} x {height}")
    counts = _runs(segmentation.get("counts"))
    total = sum(counts)
    if total != height * width:
        raise RecordError(f"segmentation.counts must sum up to {height * width} pixels, not {total}")
    values = np.arange(len(counts), dtype=np.int64).astype(np.uint8) & 1
    return np.repeat(values, counts).reshape(width, height).T


def _runs(counts: Any) -> list[int]:
    runs = _unpack(counts) if isinstance(counts, str) else counts
    if not isinstance(runs, list):
        raise RecordError(f"segmentation.counts must be a list of numbers or a text, not {show_short(counts)}")
    for k, value in enumerate(runs):
        if type(value) is not int or value < 0:
            raise RecordError(f"segmentation.counts[{k}] must be a number of pixels >= 0, not {show_short(value)}")
    return runs


def _unpack(text: str) -> list[int]:
    if _PACKED.fullmatch(text) is None:
        raise RecordError(f"segmentation.counts must be COCO's compressed runs, not {show_short(text)}")
    runs: list[int] = []
    value = shift = 0
    for code in text.encode("ascii"):
        bits = code - 48
        value |= (bits & 0x1F) << shift
        shift += 5
        if bits & 0x20:
            continue
        if bits & 0x10:  # the sign
            value -= 1 << shift
        # From the fourth run on the difference to the run before last is stored.
        runs.append(value + runs[-2] if len(runs) > 2 else value)
        value = shift = 0
    return runs
