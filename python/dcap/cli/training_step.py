"""The option ``--step`` of commands that show what training sees: where a curriculum stands."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from dcap.augment.schedule import TrainingStep
from dcap.core.errors import ConfigError

if TYPE_CHECKING:
    from dcap.data.dataset import DenseCaptionDataset
    from dcap.data.loader import RowLoader
    from dcap.train.config import RunConfig


def add_step(parser: argparse.ArgumentParser, default: str) -> None:
    """Add ``--step`` to a command; `default` says what is taken without it."""
    parser.add_argument(
        "--step",
        type=int,
        metavar="N",
        help="for augmentation.curriculum: optimiser steps made before, so one less than the step's own number in "
        f"metrics.jsonl (default: {default})",
    )


def training_step(config: RunConfig, dataset: DenseCaptionDataset, step: int | None) -> TrainingStep | None:
    """Return where a run's curriculum stands after `step` steps; None without one, and for its start.

    Raises:
        ConfigError: There is a step and no curriculum, or the step is negative or beyond the run.
    """
    phases = dataset.curriculum.phases
    if not phases and step is not None:
        raise ConfigError("--step must go with augmentation.curriculum, which this split does not have")
    if not step:
        return None
    if phases[0].config.until_step is not None:
        return TrainingStep(step)
    total = run_loader(config, dataset).total_steps
    if total is not None and step >= total:
        raise ConfigError(f"--step must be below {total}, the steps of the run, not {step}")
    return TrainingStep(step, total)


def run_loader(config: RunConfig, dataset: DenseCaptionDataset) -> RowLoader:
    """Return the loader of a run, with all rows of a step."""
    from dcap.data.loader import RowLoader
    from dcap.train.setup import accumulation, planned_steps

    training = config.training
    loader = RowLoader(dataset, accumulation=accumulation(config, 1), batch_size=training.per_device_batch_size)
    return loader.planned_for(training.max_steps or planned_steps(config, loader))
