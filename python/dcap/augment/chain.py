"""Chains of colour steps, in as few passes over the pixels as they allow.

Tables that follow each other are merged into one, and a run of steps that map each pixel on its own costs one pass.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from dcap.augment.color import ColorStep, Image, PixelStep, Table, TableStep

_STRIP_ROWS = 16


@dataclass(frozen=True, slots=True, eq=False)
class _Lookup(TableStep):
    entries: Table

    def table(self) -> Table:
        return self.entries


def apply_color(image: Image, steps: Sequence[ColorStep]) -> Image:
    """Apply `steps` in order; runs of `TableStep` cost one pass, and so do runs of `PixelStep`."""
    return apply_table(*apply_up_to_table(image, steps))


def apply_table(image: Image, table: Table | None) -> Image:
    """Replace every value by its entry in `table`, uint8 (256,); None leaves the image as it is."""
    return image if table is None else np.asarray(cv2.LUT(image, table), np.uint8)


def apply_up_to_table(image: Image, steps: Sequence[ColorStep]) -> tuple[Image, Table | None]:
    """Apply `steps` but the `TableStep` ones at their end; return the image and the table of those, if any."""
    merged = _with_merged_tables(steps)
    end = merged[-1] if merged and isinstance(merged[-1], _Lookup) else None
    if end is not None:
        merged.pop()
    for by_pixel, run in itertools.groupby(merged, lambda step: isinstance(step, PixelStep)):
        if by_pixel:
            image = _in_strips(image, tuple(run))
            continue
        for step in run:
            image = step.apply(image)
    return image, None if end is None else end.table()


def _with_merged_tables(steps: Sequence[ColorStep]) -> list[ColorStep]:
    merged: list[ColorStep] = []
    for step in steps:
        if not isinstance(step, TableStep):
            merged.append(step)
        elif merged and isinstance(merged[-1], _Lookup):
            merged[-1] = _Lookup(step.table()[merged[-1].table()])
        else:
            merged.append(_Lookup(step.table()))
    return merged


def _in_strips(image: Image, steps: Sequence[ColorStep]) -> Image:
    """Apply steps to a few rows at a time, which stay in the cache from one step to the next."""
    out = np.empty_like(image)
    for top in range(0, len(image), _STRIP_ROWS):
        part = image[top : top + _STRIP_ROWS]
        for step in steps:
            part = step.apply(part)
        out[top : top + _STRIP_ROWS] = part
    return out
