"""Walk: the state of planning between two ops; every step returns a new one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from dcap.augment.plan import Paste
from dcap.augment.policy import NO_RULES, Copy, DropRules, Skip, Warp
from dcap.augment.texts import Change, Texts
from dcap.augment.turn import Turn
from dcap.core.words import counted
from dcap.geometry.affine import Affine
from dcap.geometry.canvas import MAX_PIXELS, Canvas
from dcap.geometry.clipping import Clipped, Rect, clip, difference, transform, transform_and_clip
from dcap.geometry.measures import area_or_length
from dcap.geometry.shapes import GeometryKind, ShapeArray
from dcap.geometry.tiling import TileWindow

_IDENTITY = Affine.identity()
_NOISE = 1e-9
"""A shape that lost less than this share is not cut: float noise moved it over the border."""
_PER_PART = ("source_index", "instance", "visible_fraction", "part_share", "shown_share", "is_partial")


@dataclass(frozen=True, eq=False, slots=True)
class Layer:
    """A paste, and how many instances are below it: it hides those with a smaller number."""

    paste: Paste
    instances_below: int


@dataclass(frozen=True, eq=False, slots=True)
class Walk:
    """Shapes, map and visible region after the ops so far, in the frame of `canvas`. Ops see it as `View`.

    All visible parts of a cut object stay until the end, even if ``split_policy`` is ``largest``: a later op may cut
    the part that is the largest so far. `labelled` chooses. Until then `base` and the arrays have one entry per part,
    in the order of `instance`, and `shapes` and `captions` show what the labels would be now.

    Shapes are mapped only when they are read: `base` holds them as they were before the ops of `since`. `source_index`
    and `visible_fraction` refer to the input objects. `dropped` holds a reason for each input object that is gone.
    `part_share` is the share of one part in its object's area (length), hidden or not; `shown_share` is what no layer
    hides of it; `visible_fraction` is the share that the labelled parts of the object show. `instance` separates the
    parts of an object from the parts of its copies. `is_partial` is true for a part if a crop left too little of it
    to call it complete. `texts` are those of the source.
    """

    canvas: Canvas
    base: ShapeArray
    since: Affine
    texts: Texts
    source_index: npt.NDArray[np.int64]
    instance: npt.NDArray[np.int64]
    visible_fraction: npt.NDArray[np.float64]
    part_share: npt.NDArray[np.float64]
    shown_share: npt.NDArray[np.float64]
    is_partial: npt.NDArray[np.bool_]
    affine: Affine
    region: npt.NDArray[np.float64]
    layers: tuple[Layer, ...]
    dropped: Mapping[int, str]
    box_policy: Literal["polygon", "aabb"]
    split_policy: Literal["largest", "all"]
    is_cut: bool = False
    """Whether nothing is outside the canvas."""

    @property
    def shapes(self) -> ShapeArray:
        """One per caption."""
        chosen = self._chosen()
        return self._mapped(self.base if chosen is None else self.base.take(chosen))

    @property
    def captions(self) -> tuple[str, ...]:
        """One per labelled part; words of direction follow the map so far."""
        return self.texts.captions_of(*self._told())

    @property
    def attributes(self) -> tuple[Any, ...]:
        """One per labelled part, or none; words of direction follow the map so far."""
        return self.texts.attributes_of(*self._told())

    def changes(self) -> Counter[Change]:
        """Count the words that the turn since the source changes in all texts."""
        return self.texts.changes(self._told()[0], self.turn)

    def _told(self) -> tuple[list[int], list[bool], Turn]:
        """Return the object of each labelled part, whether it is partial, and the turn since the source."""
        chosen, objects, partial = self._chosen(), self.source_index, self.is_partial
        if chosen is not None:
            objects, partial = objects[chosen], partial[chosen]
        return objects.tolist(), partial.tolist(), self.turn

    @property
    def turn(self) -> Turn:
        """What the map since the source does to left, right, top and bottom."""
        return Turn.of(self.affine)

    @property
    def pastes(self) -> tuple[Paste, ...]:
        """From the lowest to the uppermost."""
        return tuple(layer.paste for layer in self.layers)

    def _mapped(self, shapes: ShapeArray) -> ShapeArray:
        return shapes if self.since == _IDENTITY else transform(shapes, self.since, self.box_policy)

    @classmethod
    def start(
        cls,
        canvas: Canvas,
        shapes: ShapeArray,
        texts: Texts,
        box_policy: Literal["polygon", "aabb"],
        split_policy: Literal["largest", "all"],
    ) -> Walk:
        """Return the state before the first op."""
        w, h = float(canvas.width), float(canvas.height)
        region = np.array([[0.0, 0.0], [w, 0.0], [w, h], [0.0, h]])
        count = len(shapes)
        return cls(
            canvas=canvas,
            base=shapes,
            since=_IDENTITY,
            texts=texts,
            source_index=np.arange(count),
            instance=np.arange(count),
            visible_fraction=np.ones(count),
            part_share=np.ones(count),
            shown_share=np.ones(count),
            is_partial=np.zeros(count, np.bool_),
            affine=_IDENTITY,
            region=region,
            layers=(),
            dropped={},
            box_policy=box_policy,
            split_policy=split_policy,
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
            layers=_mapped_layers(self.layers, warp.affine),
            is_cut=False,
        )
        if not cut:
            return moved
        after = moved.cut(warp.rules, name)
        return self._forbidden(after, warp.rules) or after

    def windowed(self, window: TileWindow, rules: DropRules) -> Walk:
        """Return the state before the first op of a sample to which a window of the image is the whole image.

        Objects outside the window are no objects of the sample, so they are not dropped either. Of the others, what the
        window shows counts as all of the object from here on.
        """
        move = Affine.translation(-window.x, -window.y)
        moved = replace(self, canvas=window.canvas, since=move, affine=move, region=move.apply(self.region))
        after = moved.cut(rules, "the tile")
        outside = _reason(None, rules, "the tile")
        return replace(
            after,
            dropped={i: why for i, why in after.dropped.items() if why != outside},
            visible_fraction=np.ones(len(after.base)),
            part_share=after.part_share / after.visible_fraction,
            shown_share=after.shown_share / after.visible_fraction,
        )

    def _forbidden(self, after: Walk, rules: DropRules) -> Skip | None:
        if rules.min_objects:
            # Parts of one object count once. Where there are fewer objects anyway, all must remain.
            before, left = len(np.unique(self.instance)), len(np.unique(after.instance))
            if left < min(rules.min_objects, before):
                return Skip(f"{counted(left, 'object')} would remain, fewer than {min(rules.min_objects, before)}")
        if rules.skip_if_line and _line_lengths_left(after) < _line_lengths_left(self) - _NOISE:
            return Skip("a line would be cut")
        return None

    def cut(self, rules: DropRules = NO_RULES, name: str = "the border") -> Walk:
        """Return the state with everything outside the canvas cut off."""
        return self if self.is_cut else self._cut(self.canvas.rect, rules, name)

    def _cut(self, rect: Rect, rules: DropRules, name: str) -> Walk:
        clipped = transform_and_clip(self.base, self.since, rect, "all", self.box_policy)
        before = clipped.source_index
        layers = _cut_layers(self.layers, rect)
        share = self._part_share(clipped)
        shown = share * _uncovered(clipped.shapes, self.instance[before], layers)
        visible = self._of_objects(self.instance[before], shown)
        visible[visible > 1.0 - _NOISE] = 1.0
        least = self._least_of_canvas(rules, rect)[before] if rules.large_by_canvas else rules.min_coverage
        keep = (visible >= least) & (shown > 0.0)
        kept = before[keep]
        return replace(
            self,
            base=clipped.shapes if keep.all() else clipped.shapes.take(keep),
            since=_IDENTITY,
            source_index=self.source_index[kept],
            instance=self.instance[kept],
            visible_fraction=visible[keep],
            part_share=share[keep],
            shown_share=shown[keep],
            is_partial=self.is_partial[kept] | (visible[keep] < rules.completeness_threshold),
            region=_cut_region(self.region, rect),
            layers=layers,
            dropped={**self.dropped, **self._reasons(clipped, visible, self.source_index[kept], rules, name)},
            is_cut=True,
        )

    def _least_of_canvas(self, rules: DropRules, rect: Rect) -> npt.NDArray[np.float64]:
        """Return for each part before a cut the visible fraction below which it is dropped, see `large_by_canvas`."""
        x1, y1, x2, y2 = rect
        full = np.where(self.base.kinds == GeometryKind.LINE, min(x2 - x1, y2 - y1), (x2 - x1) * (y2 - y1))
        least: npt.NDArray[np.float64] = full / np.maximum(full, area_or_length(self._mapped(self.base)))
        return rules.min_coverage * least

    def _part_share(self, clipped: Clipped) -> npt.NDArray[np.float64]:
        """Return the share of each clipped part in its object, whether something hides it or not."""
        before = clipped.source_index
        share = self.part_share[before]
        cut = np.flatnonzero(clipped.visible_fraction < 1.0)
        if len(cut):
            old, new = (
                area_or_length(self._mapped(self.base.take(before[cut]))),
                area_or_length(clipped.shapes.take(cut)),
            )
            share[cut] *= np.divide(new, old, out=np.ones_like(new), where=old > 0.0)
        return share

    def _of_objects(self, instance: npt.NDArray[np.int64], shown: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return for each part the share that its object shows: by its largest part, or by all of them."""
        if self.split_policy == "all":
            return np.minimum(np.bincount(instance, shown)[instance], 1.0) if len(instance) else shown
        if not _has_parts(instance):
            return shown.copy()
        is_first = _begins(instance)
        largest = np.maximum.reduceat(shown, np.flatnonzero(is_first))
        of_part: npt.NDArray[np.float64] = largest[np.cumsum(is_first) - 1]
        return of_part

    def _chosen(self) -> npt.NDArray[np.int64] | None:
        """Return which parts are labels now. `None`: all."""
        if self.split_policy == "all" or not _has_parts(self.instance):
            return None
        # Float noise must not decide between equal parts: the first of them stays.
        large = np.flatnonzero(self.shown_share >= (1.0 - _NOISE) * self.visible_fraction)
        return large[_begins(self.instance[large])]

    def labelled(self) -> Walk:
        """Return the state in which every part is a label."""
        chosen = self._chosen()
        if chosen is None:
            return self
        return replace(
            self,
            base=self.base.take(chosen),
            **{name: getattr(self, name)[chosen] for name in _PER_PART},
        )

    def copied(self, copy: Copy, name: str) -> Walk:
        """Return the state with patches and their objects pasted over it. Each patch is a window of this state.

        An object under a patch keeps its label, unless the patch hides all of it; its visible fraction falls.

        Args:
            copy: The effect.
            name: The op's name, for the reasons of dropped objects.
        """
        after = self
        for patch in copy.patches:
            after = after._pasted(self._cut(patch.window, copy.rules, name), patch.affine)
        return after

    def _pasted(self, part: Walk, affine: Affine) -> Walk:
        """Return the state with a window of this one or of an earlier one pasted over it, mapped by `affine`."""
        below = max([int(self.instance.max(initial=-1)) + 1, *(layer.instances_below for layer in self.layers)])
        # Sorted, so that the parts of one object share the number of its copy.
        originals, copies = np.unique(part.instance, return_inverse=True)
        own = [Layer(Paste(part.affine, part.region), below)] if len(part.region) else []
        own += [
            replace(layer, instances_below=below + int(np.searchsorted(originals, layer.instances_below)))
            for layer in part.layers
        ]
        layers = self.layers + _mapped_layers(tuple(own), affine)
        base = ShapeArray.concatenate([self._mapped(self.base), transform(part.base, affine, self.box_policy)])
        instance = np.concatenate([self.instance, below + copies])
        part_share = np.concatenate([self.part_share, part.part_share])
        shown = part_share * _uncovered(base, instance, layers)
        return replace(
            self,
            base=base,
            since=_IDENTITY,
            source_index=np.concatenate([self.source_index, part.source_index]),
            instance=instance,
            visible_fraction=self._of_objects(instance, shown),
            part_share=part_share,
            shown_share=shown,
            is_partial=np.concatenate([self.is_partial, part.is_partial]),
            layers=layers,
            # A copy as large as the canvas may reach over it by float noise.
            is_cut=False,
        )

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
        return {i: _reason(share.get(i), rules, name) for i in gone}

    def resized(self, canvas: Canvas) -> Walk:
        """Return the state scaled to another canvas; nothing is cut."""
        if canvas == self.canvas:
            return self
        scale = Affine.scaling(canvas.width / self.canvas.width, canvas.height / self.canvas.height)
        shapes = self._mapped(self.base)
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
            layers=_mapped_layers(self.layers, scale),
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


def _cut_layers(layers: tuple[Layer, ...], rect: Rect) -> tuple[Layer, ...]:
    cut = (replace(x, paste=replace(x.paste, region=_cut_region(x.paste.region, rect))) for x in layers)
    return tuple(layer for layer in cut if len(layer.paste.region))


def _mapped_layers(layers: tuple[Layer, ...], affine: Affine) -> tuple[Layer, ...]:
    return tuple(replace(layer, paste=layer.paste.mapped(affine)) for layer in layers)


def _uncovered(
    shapes: ShapeArray, instance: npt.NDArray[np.int64], layers: tuple[Layer, ...]
) -> npt.NDArray[np.float64]:
    """Return the share of each shape that no layer above it hides."""
    share = np.ones(len(shapes))
    if not layers:
        return share
    lowest = np.searchsorted([layer.instances_below for layer in layers], instance, side="right")
    for k in np.unique(lowest[lowest < len(layers)]).tolist():
        under = np.flatnonzero(lowest == k)
        covers = ShapeArray.concatenate([_polygon(layer.paste.region) for layer in layers[k:]])
        left = difference(shapes.take(under), covers, "largest")
        share[under] = 0.0
        share[under[left.source_index]] = left.visible_fraction
    return share


def _has_parts(instance: npt.NDArray[np.int64]) -> bool:
    """Whether any object has several parts; they are neighbours."""
    return bool((instance[1:] == instance[:-1]).any())


def _begins(instance: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Return which parts are the first of their object."""
    is_first = np.ones(len(instance), np.bool_)
    np.not_equal(instance[1:], instance[:-1], out=is_first[1:])
    return is_first


def _reason(visible: float | None, rules: DropRules, name: str) -> str:
    if visible is None:
        return f"outside the canvas after {name}"
    if visible == 0.0:
        return f"hidden by copies after {name}"
    return f"{visible:.0%} visible after {name}, less than {rules.min_coverage:.0%}"


def _line_lengths_left(walk: Walk) -> float:
    is_line = walk.base.kinds == GeometryKind.LINE
    # All parts of a line have its fraction; it counts once.
    _, first = np.unique(walk.instance[is_line], return_index=True)
    return float(walk.visible_fraction[is_line][first].sum())
