"""The option ``--step`` of commands that show what training sees: where a curriculum stands."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from dcap.augment.schedule import TrainingStep
from dcap.core.errors import ConfigError

if TYPE_CHECKING:
    from dcap.data.dataset import DenseCaptionDataset
    from dcap.train.config import RunConfig


def add_step(parser: argparse.ArgumentParser) -> None:
    """Add ``--step`` to a command."""
    parser.add_argument(
        "--step", type=int, metavar="N", help="optimiser steps made before; augmentation.curriculum goes by them"
    )


def training_step(
    config: RunConfig, dataset: DenseCaptionDataset, step: int | None, default: int | None = None
) -> TrainingStep | None:
    """Return where a run's curriculum stands after `step` steps; None without one.

    Args:
        config: The run.
        dataset: Its samples.
        step: As given on the command line.
        default: Taken for a curriculum when nothing was given.

    Raises:
        ConfigError: There is a curriculum and no step, or the reverse, or the step is negative.
    """
    phases = dataset.planner.pipeline.curriculum.phases
    if not phases:
        if step is not None:
            raise ConfigError("--step must go with augmentation.curriculum, which this split does not have")
        return None
    step = default if step is None else step
    if step is None or step < 0:
        raise ConfigError("--step must say how many steps were made, 0 or more: augmentation.curriculum goes by them")
    if phases[0].config.until_step is not None:
        return TrainingStep(step)
    from dcap.data.loader import RowLoader
    from dcap.train.setup import accumulation, planned_steps

    loader = RowLoader(dataset, accumulation=accumulation(config, 1), batch_size=config.training.per_device_batch_size)
    return TrainingStep(step, planned_steps(config, loader))
