"""The config of a first run, as YAML whose comments say where its numbers come from."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dcap.core.files import write_whole
from dcap.demo.models import BUILTIN_TINY
from dcap.train.sizing import F64, HEADROOM, LEAST_PIXELS, Facts, Lengths, Machine, counting_model, round_tokens

_SMALL = 8
"""Side of an object, in pixels of the model's image, below which it can hardly be seen."""
_MANY_POINTS = 40
"""Points of an outline beyond which it is worth to simplify it."""
_FEW_VAL = 500
"""Validation records that are used at most."""

_AUGMENTATION = """
augmentation:                     # moves pixels and shapes together; validation is never augmented
  bypass_prob: 0.3
  ops:
    # - {name: hflip, prob: 0.5}  # where no text must be read; words such as left and right follow
    - name: random_crop
      prob: 0.3
      params: {scale: [0.6, 1.0], min_coverage: 0.3}
    - name: color_jitter
      prob: 0.5
      params: {brightness: 0.2, contrast: 0.2, saturation: 0.2, hue: 0.02}
"""


@dataclass(frozen=True)
class FirstConfig:
    """All that the config of a first run is made of."""

    name: str
    """Name of the run."""
    train: tuple[str, ...]
    """Files of training records."""
    val: tuple[str, ...]
    """Files of validation records."""
    num_val: int
    """Validation records in all."""
    facts: Facts
    """Of the training records."""
    lengths: Lengths
    """Of the training samples, at `max_pixels`."""
    max_pixels: int
    """Largest image that the model sees."""
    machine: Machine
    """Model, row and memory."""
    seed: int = 0
    """Seed of the run."""
    skips_bad_records: bool = False
    """Whether bad records are left out, and not an error."""

    @property
    def rows_per_epoch(self) -> float:
        """Rows of an epoch, about."""
        return max(1.0, float(self.lengths.tokens.mean()) * self.facts.num_records / self.machine.row)

    @property
    def rows_per_step(self) -> int:
        """Rows of an optimiser step: 8, and fewer where an epoch would have less than 20 steps."""
        return int(min(8, max(1, self.rows_per_epoch // 20)))

    @property
    def num_epochs(self) -> int:
        """Passes over the data: 2 to 20, for 300 steps or more."""
        return int(min(20, max(2, math.ceil(300 * self.rows_per_step / self.rows_per_epoch))))

    @property
    def max_new_tokens(self) -> int:
        """Longest answer with headroom, for prediction."""
        return round_tokens(float((self.lengths.tokens - self.lengths.image).max()) * HEADROOM)

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps of an epoch, about."""
        return math.ceil(self.rows_per_epoch / self.rows_per_step)

    def text(self, path: Path) -> str:
        """Return the config as YAML with comments; `path` is the file that it becomes."""
        head = f"""\
# A first run, written by dcap init: its numbers come from the data and the machine.
#
#   dcap train {shlex.quote(str(path))}
#
# dcap train --help explains every field, dcap guide training the rest. Paths start at the folder that dcap runs in.
"""
        return head + self._model() + self._data() + _AUGMENTATION + self._training() + f"\nseed: {self.seed}\n"

    def _model(self) -> str:
        machine = self.machine
        return f"""
model:
  # {machine.note[:1].upper()}{machine.note[1:]}.
  name_or_path: {_text(machine.model)}
  dtype: {machine.dtype}
  freeze_vit: true                # LoRA on the language model and the aligner
  adapter: {{type: lora, rank: 16, alpha: 32}}
"""

    def _data(self) -> str:
        facts, skip = self.facts, "  on_bad_record: skip\n" if self.skips_bad_records else ""
        looked = "" if facts.num_looked_at == facts.num_records else f", of {facts.num_looked_at:,} that were drawn"
        counted = "as planned" if self.lengths.counted else "at most, by their bytes, since no tokenizer is installed"
        if self.lengths.counted and counting_model(self.machine.model) == self.machine.model != BUILTIN_TINY:
            counted += ", a byte each; Qwen3-VL has fewer"
        return f"""
data:
  train: {_files(self.train)}
  val: {_files(self.val)}
{skip}  # limit: 500                    # train on a part, to try; chosen by hash, so it stays the same part
  num_workers: {0 if self.machine.dtype == "float32" else 4}
  # Samples have {_range(self.lengths.tokens)} tokens, {counted}{looked}.
  # The longest gets {HEADROOM - 1:.0%} more, for augmentation. A row holds several samples.
  global_max_length: {self.machine.row}
  overlong: drop_objects          # a sample that is still longer loses its least visible objects; the log counts them
  answer:
    # Records have {_range(facts.objects)} objects. Images have {_range(facts.pixels)} pixels; 1024 are one token.
    max_pixels: {self.max_pixels}
    min_pixels: {min(LEAST_PIXELS, self.max_pixels)}
{self._small_objects()}{self._many_points()}"""

    def _training(self) -> str:
        machine, lines = self.machine, list[str]()
        if machine.memory_gib is not None:
            lines.append(f"# The peak of the memory is about {machine.memory_gib:.1f} GiB; see dcap inspect.")
        lines.append(f"activation_checkpointing: {str(machine.checkpointing).lower()}")
        if self.num_val > _FEW_VAL:
            lines.append(f"eval_limit: {_FEW_VAL}                 # of {self.num_val:,} validation records")
        if self.steps_per_epoch > 2 * _FEW_VAL:
            lines += ["eval_steps: 500", "save_steps: 500"]
        lines.append(f"# eval_generate: {{samples: 50, max_new_tokens: {self.max_new_tokens}}}   # scores of answers")
        lines.append("# trackers: [tensorboard, wandb]")
        more = "\n".join(f"  {line}" for line in lines)
        return f"""
training:
  output_dir: {_text(f"runs/{self.name}")}
  num_epochs: {self.num_epochs}
  # Rows per optimiser step, over all GPUs. An epoch has about {self.steps_per_epoch:,} steps.
  effective_batch_size: {self.rows_per_step}
  learning_rate: {"1e-3" if machine.dtype == "float32" else "1e-4"}
{more}
"""

    def _small_objects(self) -> str:
        """Return a comment where many objects become too small to be seen."""
        shrink = math.sqrt(min(1.0, self.max_pixels / float(np.median(self.facts.pixels))))
        if not len(self.facts.sides):
            return ""
        small = float((self.facts.sides * shrink < _SMALL).mean())
        if small < 0.05:
            return ""
        return f"""\
    # {small:.0%} of the objects are smaller than {_SMALL} pixels in such an image. Raise max_pixels, or cut large
    # images into tiles: data.tiles, dcap guide large_images.
"""

    def _many_points(self) -> str:
        """Return a comment where outlines make answers long."""
        most = float(np.quantile(self.facts.points, 0.95)) if len(self.facts.points) else 0.0
        if most < _MANY_POINTS:
            return ""
        return f"""\
    # max_polygon_points: 16        # 5% of the outlines have {most:,.0f} points or more, which makes answers long
"""

    def write(self, path: Path) -> None:
        """Write the config, whole."""
        write_whole(path, self.text(path))


def _range(values: F64) -> str:
    """Return least, median and most of some numbers, in words."""
    if not len(values):
        return "no"
    least, middle, most = (f"{value:,.0f}" for value in (values.min(), float(np.median(values)), values.max()))
    return most if least == most else f"{least} to {most} (median {middle})"


def _text(value: str) -> str:
    """Return a text as YAML."""
    return json.dumps(value)


def _files(files: Sequence[str]) -> str:
    return _text(files[0]) if len(files) == 1 else json.dumps(list(files))
