"""Walk: the state of planning between two ops; every step returns a new one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from dcap.augment.config import Completeness
from dcap.augment.plan import Paste
from dcap.augment.policy import NO_RULES, Copy, DropRules, Skip, Warp
from dcap.core.words import counted
from dcap.geometry.affine import Affine
from dcap.geometry.canvas import MAX_PIXELS, Canvas
from dcap.geometry.clipping import Clipped, Rect, clip, transform, transform_and_clip, visible_fraction
from dcap.geometry.measures import area_or_length
from dcap.geometry.shapes import GeometryKind, ShapeArray

_IDENTITY = Affine.identity()
_NOISE = 1e-9
"""A shape that lost less than this share is not cut: float noise moved it over the border."""


@dataclass(frozen=True, eq=False, slots=True)
class Walk:
    """Shapes, map and visible region after the ops so far, in the frame of `canvas`. Ops see it as `View`.

    Shapes are mapped only when they are read: `base` holds them as they were before the ops of `since`. `source_index`
    and `visible_fraction` refer to the input objects. `dropped` holds a reason for each input object that is gone.
    `part_share` is the share of one part in its object's area (length); `visible_fraction` is the share of all kept
    parts together. `instance` separates the parts of an object from the parts of its copies.
    """

    canvas: Canvas
    base: ShapeArray
    since: Affine
    captions: tuple[str, ...]
    source_index: npt.NDArray[np.int64]
    instance: npt.NDArray[np.int64]
    visible_fraction: npt.NDArray[np.float64]
    part_share: npt.NDArray[np.float64]
    affine: Affine
    region: npt.NDArray[np.float64]
    pastes: tuple[Paste, ...]
    dropped: Mapping[int, str]
    box_policy: Literal["polygon", "aabb"]
    split_policy: Literal["largest", "all"]
    completeness: Completeness | None
    is_cut: bool = False
    """Whether nothing is outside the canvas."""

    @property
    def shapes(self) -> ShapeArray:
        """One per caption."""
        return self._mapped(self.base)

    def _mapped(self, shapes: ShapeArray) -> ShapeArray:
        return shapes if self.since == _IDENTITY else transform(shapes, self.since, self.box_policy)

    @classmethod
    def start(
        cls,
        canvas: Canvas,
        shapes: ShapeArray,
        captions: tuple[str, ...],
        box_policy: Literal["polygon", "aabb"],
        split_policy: Literal["largest", "all"],
        completeness: Completeness | None = None,
    ) -> Walk:
        """Return the state before the first op."""
        w, h = float(canvas.width), float(canvas.height)
        region = np.array([[0.0, 0.0], [w, 0.0], [w, h], [0.0, h]])
        count = len(shapes)
        return cls(
            canvas=canvas,
            base=shapes,
            since=_IDENTITY,
            captions=captions,
            source_index=np.arange(count),
            instance=np.arange(count),
            visible_fraction=np.ones(count),
            part_share=np.ones(count),
            affine=_IDENTITY,
            region=region,
            pastes=(),
            dropped={},
            box_policy=box_policy,
            split_policy=split_policy,
            completeness=completeness,
        )

    def warped(self, warp: Warp, name: str, cut: bool) -> Walk | Skip:
        """Return the state after `warp`, or why its rules forbid it.

        Args:
            warp: The effect.
            name: The op's name, for the reasons of dropped objects.
            cut: Whether content outside the new canvas is cut off now.
        """
        if warp.canvas.num_pixels > MAX_PIXELS:
            return Skip(f"the canvas would have {warp.canvas.num_pixels} pixels, more than {MAX_PIXELS}")
        moved = replace(
            self,
            canvas=warp.canvas,
            since=warp.affine @ self.since,
            affine=warp.affine @ self.affine,
            region=warp.affine.apply(self.region),
            pastes=tuple(paste.mapped(warp.affine) for paste in self.pastes),
            is_cut=False,
        )
        if not cut:
            return moved
        after = moved.cut(warp.rules, name)
        return self._forbidden(after, warp.rules) or after

    def _forbidden(self, after: Walk, rules: DropRules) -> Skip | None:
        if rules.min_objects:
            # Parts of one object count once. Where there are fewer objects anyway, all must remain.
            before, left = len(np.unique(self.instance)), len(np.unique(after.instance))
            if left < min(rules.min_objects, before):
                return Skip(f"{counted(left, 'object')} would remain, fewer than {min(rules.min_objects, before)}")
        if rules.skip_if_line and _line_lengths_left(after) < _line_lengths_left(self):
            return Skip("a line would be cut")
        return None

    def cut(self, rules: DropRules = NO_RULES, name: str = "the border") -> Walk:
        """Return the state with everything outside the canvas cut off."""
        return self if self.is_cut else self._cut(self.canvas.rect, rules, name)

    def _cut(self, rect: Rect, rules: DropRules, name: str) -> Walk:
        clipped = transform_and_clip(self.base, self.since, rect, self.split_policy, self.box_policy)
        source = self.source_index[clipped.source_index]
        visible, part_share = self._shares(clipped)
        visible[visible > 1.0 - _NOISE] = 1.0
        keep = visible >= rules.min_coverage
        kept = source[keep]
        captions = [self.captions[i] for i in clipped.source_index[keep]]
        if self.completeness is not None:
            for i in np.flatnonzero(visible[keep] < rules.completeness_threshold):
                captions[i] = self.completeness.rewrite(captions[i])
        return replace(
            self,
            base=clipped.shapes if keep.all() else clipped.shapes.take(keep),
            since=_IDENTITY,
            captions=tuple(captions),
            source_index=kept,
            instance=self.instance[clipped.source_index][keep],
            visible_fraction=visible[keep],
            part_share=part_share[keep],
            region=_cut_region(self.region, rect),
            pastes=_cut_pastes(self.pastes, rect),
            dropped={**self.dropped, **self._reasons(clipped, visible, kept, rules, name)},
            is_cut=True,
        )

    def _shares(self, clipped: Clipped) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Return visible fraction and part share of each clipped shape."""
        before = clipped.source_index
        # A cut may remove one part of an object and keep another, or the rules keep only the largest part. So each part
        # counts by itself, and an object counts by its labelled parts.
        share = self.part_share[before]
        cut = np.flatnonzero(clipped.visible_fraction < 1.0)
        if len(cut):
            old, new = (
                area_or_length(self._mapped(self.base.take(before[cut]))),
                area_or_length(clipped.shapes.take(cut)),
            )
            share[cut] *= np.divide(new, old, out=np.ones_like(new), where=old > 0.0)
        return _summed(self.instance[before], share), share

    def copied(self, copy: Copy, name: str) -> Walk:
        """Return the state with patches and their objects pasted over it. Each patch is a window of this state.

        An object under a patch keeps its label; its visible fraction falls.

        Args:
            copy: The effect.
            name: The op's name, for the reasons of dropped objects.
        """
        after = self
        for patch in copy.patches:
            part = self._cut(patch.window, copy.rules, name)
            layers = (Paste(self.affine, part.region), *part.pastes)
            # Sorted, so that the parts of one object share the number of its copy.
            instance = np.unique(part.instance, return_inverse=True)[1] + after.instance.max(initial=-1) + 1
            covered = after._covered(patch.target)
            after = replace(
                covered,
                base=ShapeArray.concatenate([after.shapes, transform(part.base, patch.affine, self.box_policy)]),
                since=_IDENTITY,
                captions=after.captions + part.captions,
                source_index=np.concatenate([after.source_index, part.source_index]),
                instance=np.concatenate([after.instance, instance]),
                visible_fraction=np.concatenate([covered.visible_fraction, part.visible_fraction]),
                part_share=np.concatenate([covered.part_share, part.part_share]),
                pastes=after.pastes + tuple(layer.mapped(patch.affine) for layer in layers if len(layer.region)),
                # A copy as large as the canvas may reach over it by float noise.
                is_cut=False,
            )
        return after

    def _covered(self, rect: Rect) -> Walk:
        """Return the state with everything inside `rect` hidden; no shape changes."""
        left = 1.0 - visible_fraction(self.shapes, rect)
        share = self.part_share * left
        return replace(self, visible_fraction=_summed(self.instance, share), part_share=share)

    def _reasons(
        self,
        clipped: Clipped,
        visible: npt.NDArray[np.float64],
        kept: npt.NDArray[np.int64],
        rules: DropRules,
        name: str,
    ) -> dict[int, str]:
        gone = sorted(set(self.source_index.tolist()).difference(kept.tolist()))
        if not gone:
            return {}
        share = dict(zip(self.source_index[clipped.source_index].tolist(), visible.tolist(), strict=True))
        return {
            i: f"{share[i]:.0%} visible after {name}, less than {rules.min_coverage:.0%}"
            if i in share
            else f"outside the canvas after {name}"
            for i in gone
        }

    def resized(self, canvas: Canvas) -> Walk:
        """Return the state scaled to another canvas; nothing is cut."""
        if canvas == self.canvas:
            return self
        scale = Affine.scaling(canvas.width / self.canvas.width, canvas.height / self.canvas.height)
        shapes = self.shapes
        xy = scale.apply(shapes.xy)
        np.maximum(xy, 0.0, out=xy)
        np.minimum(xy, np.array([canvas.width, canvas.height], np.float64), out=xy)
        return replace(
            self,
            canvas=canvas,
            base=ShapeArray.trusted(xy, shapes.offsets, shapes.kinds),
            since=_IDENTITY,
            affine=scale @ self.affine,
            region=scale.apply(self.region),
            pastes=tuple(paste.mapped(scale) for paste in self.pastes),
        )

    @property
    def is_copy(self) -> npt.NDArray[np.bool_]:
        """Whether each shape was pasted, bool, one per shape. The instance of an input object is its own index."""
        return np.not_equal(self.instance, self.source_index)

    def padding_share(self) -> float:
        """Share of the canvas that shows no source pixel."""
        if len(self.region) < 3:
            return 1.0
        area = float(area_or_length(_polygon(self.region))[0])
        return min(max(1.0 - area / self.canvas.num_pixels, 0.0), 1.0)


def _polygon(points: npt.NDArray[np.float64]) -> ShapeArray:
    if len(points) < 3:
        return ShapeArray.empty()
    return ShapeArray.trusted(points.copy(), np.array([0, len(points)]), np.array([GeometryKind.POLYGON], np.uint8))


def _cut_region(region: npt.NDArray[np.float64], rect: Rect) -> npt.NDArray[np.float64]:
    if len(region) and (region >= rect[:2]).all() and (region <= rect[2:]).all():
        return region
    left = clip(_polygon(region), rect).shapes
    return left.points(0) if len(left) else np.empty((0, 2))


def _cut_pastes(pastes: tuple[Paste, ...], rect: Rect) -> tuple[Paste, ...]:
    cut = (replace(paste, region=_cut_region(paste.region, rect)) for paste in pastes)
    return tuple(paste for paste in cut if len(paste.region))


def _summed(instance: npt.NDArray[np.int64], share: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """For each part: the share of its object that all parts together show."""
    return np.minimum(np.bincount(instance, share)[instance], 1.0) if len(instance) else share


def _line_lengths_left(walk: Walk) -> float:
    is_line = walk.base.kinds == GeometryKind.LINE
    # All parts of a line have its fraction; it counts once.
    _, first = np.unique(walk.instance[is_line], return_index=True)
    return float(walk.visible_fraction[is_line][first].sum())
