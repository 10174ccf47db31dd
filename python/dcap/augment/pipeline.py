"""Pipeline: ops in the user's order, planned without pixels.

Owns the walk over the ops. It tracks the shapes and the visible region, and ends in one map.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from dcap.augment.color import ColorStep
from dcap.augment.config import AugmentConfig
from dcap.augment.fit import MULTIPLE
from dcap.augment.lexicon import lexicon_of
from dcap.augment.plan import AugmentResult, Interpolation, Plan
from dcap.augment.policy import NO_RULES, Copy, DropRules, Recolor, SizesCanvas, Skip, Transform, Warp
from dcap.augment.rendering import render
from dcap.augment.scene import Scene
from dcap.augment.schedule import Curriculum, TrainingStep
from dcap.augment.stages import Stage, build_stages
from dcap.augment.telemetry import Telemetry
from dcap.augment.texts import Change, Texts
from dcap.augment.walk import Walk
from dcap.augment.word_rules import NO_WORDS, Ban, WordRules
from dcap.core.config import build
from dcap.core.errors import PluginError
from dcap.core.log import get_logger
from dcap.geometry.canvas import Canvas
from dcap.geometry.shapes import ShapeArray
from dcap.geometry.tiling import TileWindow

log = get_logger(__name__)

Fit = Callable[[Canvas], Canvas]
"""The model's own resize: from the canvas after all ops to the one that the model sees."""


@dataclass(frozen=True)
class Pipeline:
    """Augmentation of scenes; build one with `from_config`.

    ``pipeline(scene, rng)`` plans and renders; `plan` needs no pixels. Both draw the same from the same generator.
    With a curriculum, this is the pipeline of the first step; `at` returns that of another one.
    """

    stages: tuple[Stage, ...] = ()
    config: AugmentConfig = field(default_factory=AugmentConfig)
    curriculum: Curriculum = field(default_factory=Curriculum)
    values: Mapping[str, float] = field(default_factory=dict)
    """The numbers of the curriculum at this step, for the telemetry."""

    @classmethod
    def from_config(cls, config: AugmentConfig | Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> Pipeline:
        """Build from the ``augmentation:`` section, or from a bare list of ops.

        Raises:
            ConfigError: An op or parameter is unknown (the message names the nearest), an op refuses a value, or the
                curriculum names a parameter that is no number.
        """
        if not isinstance(config, AugmentConfig):
            tree = config if isinstance(config, Mapping) else {"ops": list(config)}
            config = build(AugmentConfig, tree, "augmentation")
        stages = build_stages(config)
        curriculum = Curriculum.from_config(config, stages)
        return cls(stages, config, curriculum, curriculum.values(curriculum.start))

    def at(self, when: TrainingStep) -> Pipeline:
        """Return the pipeline of a training step: itself, without a curriculum.

        Raises:
            ConfigError: The curriculum's phases are in percent, and `when` does not give the total steps.
        """
        if not self.curriculum.phases:
            return self
        setting = self.curriculum.at(when)
        return replace(
            self,
            stages=setting.stages,
            config=replace(self.config, bypass_prob=setting.bypass_prob),
            values=self.curriculum.values(setting),
        )

    def plan(
        self,
        canvas: Canvas,
        shapes: ShapeArray,
        rng: np.random.Generator | int,
        captions: Sequence[str] | None = None,
        fit: Fit | None = None,
        *,
        attributes: Sequence[Any] = (),
        summary: str | None = None,
        window: TileWindow | None = None,
        window_rules: DropRules = NO_RULES,
    ) -> AugmentResult:
        """Draw the effects of all ops on a scene and map its shapes, without pixels.

        Args:
            canvas: Extent of the decoded image.
            shapes: N shapes inside `canvas`.
            rng: The only source of chance, such as ``numpy.random.default_rng(seed)``; or the seed alone.
            captions: N texts; empty ones when not given.
            fit: The model's own resize, fused as the last geometric step. `None`: the canvas of the last op stays.
            attributes: N values of JSON, whose texts stay true as captions do; or none.
            summary: Text about the whole image, if the sample has one. Its objects are then neither dropped nor copied,
                see ``augmentation.words.summary_crop``.
            window: The part of the image that the sample shows. It is cut out before the first op. `None`: all of it.
            window_rules: Which objects of the window stay.

        Returns:
            The result, its scene without an image.

        Raises:
            PluginError: An op returned something else than an effect.
        """
        rng = np.random.default_rng(rng)
        bypassed = bool(rng.random() < self.config.bypass_prob)
        stages = () if bypassed else self.stages
        names = tuple(captions) if captions is not None else ("",) * len(shapes)
        texts = Texts(names, tuple(attributes), summary, self.config.completeness)
        rules = WordRules.of(texts, self.config.words) if stages else NO_WORDS
        if rules.swaps:
            texts = replace(texts, lexicon=lexicon_of(self.config.words))
        expands = any(stage.is_last_expansion and stage.prob == 1.0 for stage in stages)
        done = _Done(len(shapes), self.values, rules, expands)
        walk = Walk.start(canvas, shapes, texts, self.config.box_policy, self.config.split_policy)
        if window is not None:
            walk = walk.windowed(window, window_rules)
            done.num_objects = len(np.unique(walk.source_index)) + len(walk.dropped)
        for stage in stages:
            walk = done.draw(stage, walk, rng)
        walk = walk.cut().labelled()
        walk = walk if fit is None else walk.resized(fit(walk.canvas))
        plan = done.plan(walk, canvas, window, self.config.interpolation)
        telemetry = done.telemetry(walk, bypassed)
        summary = walk.texts.summary_of(walk.turn)
        scene = Scene(walk.canvas, walk.shapes, walk.captions, None, walk.attributes, summary)
        return AugmentResult(scene, walk.source_index, walk.visible_fraction, walk.is_copy, plan, telemetry)

    def log_canvas_fit(self) -> None:
        """Warn when the model's own resize changes the canvas that the last sizing op leaves.

        For an op without a multiple, such as a crop, this is logged as information. When no op sizes the canvas,
        nothing is logged.
        """
        sized = [(stage.name, stage.op.canvas_multiple) for stage in self.stages if isinstance(stage.op, SizesCanvas)]
        if not sized or sized[-1][1] % MULTIPLE == 0:
            return
        name, left = sized[-1]
        log.log(
            logging.INFO if left == 1 else logging.WARNING,
            "augmentation.ops: %s leaves sides %s; the model's own resize makes them multiples of %d, a second change "
            "of size in the same single resample",
            name,
            "of any length" if left == 1 else f"that are multiples of {left}",
            MULTIPLE,
        )

    def __call__(self, scene: Scene, rng: np.random.Generator | int, fit: Fit | None = None) -> AugmentResult:
        """Plan a scene and, when it has pixels, render it."""
        texts: dict[str, Any] = {"attributes": scene.attributes, "summary": scene.summary}
        result = self.plan(scene.canvas, scene.shapes, rng, scene.captions, fit, **texts)
        if scene.image is None:
            return result
        return replace(result, scene=replace(result.scene, image=render(scene.image, result.plan)))


@dataclass(slots=True)
class _Done:
    """All that the ops of one sample did besides moving its shapes."""

    num_objects: int
    curriculum: Mapping[str, float]
    rules: WordRules
    expands: bool
    """Whether the last expansion is sure to come, so that what waits for it is not lost."""
    color: list[ColorStep] = field(default_factory=list)
    words: list[str] = field(default_factory=list)
    applied: list[str] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    word_skips: Counter[str] = field(default_factory=Counter)

    def draw(self, stage: Stage, walk: Walk, rng: np.random.Generator) -> Walk:
        """Draw one op and return the state after it.

        Raises:
            PluginError: The op returned something else than an effect.
        """
        if rng.random() >= stage.prob:
            # Content that waited for the last expansion is cut now: a later op must not bring it back.
            return walk.cut() if stage.is_last_expansion else walk
        effect = stage.op.sample(walk, rng)
        if not isinstance(effect, Transform):
            raise PluginError(f"op {stage.name} must return a Warp, Copy, Recolor or Skip, not {effect!r}")
        effect = self._unless(self.rules.ban(effect, walk.affine, self.color)) or effect
        if isinstance(effect, Warp):
            moved = walk.warped(effect, stage.name, cut=effect.cuts or not stage.keeps_outside)
            if isinstance(moved, Walk) and self.rules.keeps_objects:
                waits = stage.keeps_outside and self.expands
                seen = moved if waits else moved.cut(effect.rules, stage.name)
                ban = self.rules.ban_of_drops(len(seen.dropped) - len(walk.dropped))
                moved = self._unless(ban) or moved
            effect = moved if isinstance(moved, Skip) else effect
            walk = walk if isinstance(moved, Skip) else moved
        if isinstance(effect, Skip):
            self.skipped.append((stage.name, effect.reason))
            return walk
        if isinstance(effect, Copy):
            walk = walk.copied(effect, stage.name)
        if isinstance(effect, Recolor):
            self.color += effect.steps
        self.applied.append(stage.name)
        self.words.append(f"{stage.name}: {effect.words}")
        return walk

    def _unless(self, ban: Ban | None) -> Skip | None:
        """Return what a ban makes of an op, and count its words. `None`: there is no ban."""
        if ban is None:
            return None
        self.word_skips.update(ban.words)
        return Skip(ban.reason)

    def plan(self, walk: Walk, source: Canvas, window: TileWindow | None, interpolation: Interpolation) -> Plan:
        """Return the plan of the sample, given its state at the end."""
        return Plan(
            source=source,
            canvas=walk.canvas,
            affine=walk.affine,
            region=walk.region,
            color=tuple(self.color),
            interpolation=interpolation if self.applied else "model",
            steps=tuple(self.words),
            pastes=walk.pastes,
            window=window,
            words=tuple(sorted(walk.changes())),
        )

    def telemetry(self, walk: Walk, bypassed: bool) -> Telemetry:
        """Return counts and reasons of the sample, given its state at the end."""
        return Telemetry(
            num_objects=self.num_objects,
            dropped=walk.dropped,
            applied=tuple(self.applied),
            skipped=tuple(self.skipped),
            padding_share=walk.padding_share(),
            bypassed=bypassed,
            num_pasted=int(walk.is_copy.sum()),
            curriculum=self.curriculum,
            word_swaps=_by_old_word(walk.changes()),
            word_skips=dict(self.word_skips),
        )


def _by_old_word(changes: Mapping[Change, int]) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for (old, _), number in changes.items():
        counts[old] += number
    return dict(counts)
