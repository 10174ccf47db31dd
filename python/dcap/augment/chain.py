"""Chains of colour steps, in as few passes over the pixels as they allow."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dcap.augment.color import ColorStep, Image, PixelStep, Table, TableStep, recolored
from dcap.core.errors import PluginError


@dataclass(frozen=True, slots=True, eq=False)
class _Lookup(TableStep):
    entries: Table

    def table(self) -> Table:
        return self.entries


def apply_color(image: Image, steps: Sequence[ColorStep], in_place: bool = False) -> Image:
    """Apply `steps` in order; tables that follow each other are merged, and a run of `PixelStep` costs one pass.

    Args:
        image: uint8 (H, W, 3) RGB.
        steps: Any number.
        in_place: The image may be written over, which saves fresh memory.

    Raises:
        PluginError: A step returns another shape or type than it was given.
    """
    for by_kernel, group in itertools.groupby(_with_merged_tables(steps), lambda step: isinstance(step, PixelStep)):
        if by_kernel:
            run = [step for step in group if isinstance(step, PixelStep)]
            image = recolored(image, run, image if in_place else None)
            in_place = True
            continue
        for step in group:
            # What a step returns may be the image itself or belong to someone else.
            image, in_place = _checked(step.apply(image), image, step), False
    return image


def _checked(made: Image, image: Image, step: ColorStep) -> Image:
    if not isinstance(made, np.ndarray) or made.dtype != np.uint8 or made.shape != image.shape:
        got = f"{made.dtype} {made.shape}" if isinstance(made, np.ndarray) else type(made).__name__
        raise PluginError(f"colour step {type(step).__name__} must return uint8 {image.shape}, as it got, not {got}")
    return made


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
