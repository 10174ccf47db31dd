"""The data set that a command shows, from a run's config or from records alone, and the moment of its curriculum."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dcap.augment.config import AugmentConfig
from dcap.augment.schedule import TrainingStep
from dcap.core.config import config_files, to_tree
from dcap.core.errors import ConfigError, MissingPackageError
from dcap.core.log import get_logger
from dcap.data.config import DataConfig, Split
from dcap.data.dataset import DenseCaptionDataset
from dcap.data.encode import Tokenizer, load_tokenizer
from dcap.data.epoch import EpochRules, plan_epoch
from dcap.model.config import ModelConfig
from dcap.records.files.opening import expand_sources
from dcap.train.config import RunConfig, build_checked, load_run_config

log = get_logger(__name__)


@dataclass(frozen=True)
class RecordsConfig:
    """Config of records without a run: any length, and no augmentation unless it is given."""

    data: DataConfig
    """Where samples come from."""
    model: ModelConfig = field(default_factory=lambda: ModelConfig("builtin:tiny"))
    """The model whose tokenizer is used."""
    augmentation: AugmentConfig = field(default_factory=AugmentConfig)
    """Augmentation of training samples."""
    seed: int = 0
    """Seed of augmentation."""

    def limit_of(self, _split: Split) -> int | None:
        """Return how many records are used at most; both splits are the same ones. `None`: all."""
        return self.data.limit

    @classmethod
    def of(cls, train: Sequence[str], val: Sequence[str], overrides: Sequence[str], source: str) -> RecordsConfig:
        """Return the config of files of records.

        Args:
            train: Files of the training split.
            val: Files of the validation split.
            overrides: Command-line items such as ``seed=1``.
            source: Name of the source, for messages.

        Raises:
            ConfigError: An override is wrong.
        """
        data = {"train": list(train), "val": list(val), "global_max_length": 1_000_000}
        return build_checked(cls, {"data": data}, overrides, source)


def load_config(
    sources: Sequence[str], overrides: Sequence[str], command: str, *, for_val: bool = False
) -> RunConfig | RecordsConfig:
    """Return a run's config, or that of records alone.

    Args:
        sources: One YAML file, or files of records.
        overrides: Command-line items such as ``seed=1``.
        command: Name of the command, for messages.
        for_val: Whether records alone are the validation split too.

    Raises:
        ConfigError: A YAML file is not the only source, or the config is wrong.
    """
    configs = [source for source in sources if Path(source).suffix in (".yaml", ".yml")]
    if len(sources) == len(configs) == 1:
        return load_run_config(configs[0], overrides)
    if configs or not sources:
        raise ConfigError(f"{command} must be given one config, or files of records, not " + " ".join(sources))
    return RecordsConfig.of(sources, sources if for_val else (), overrides, command)


def run_inputs(config: str, data: DataConfig, *splits: Split) -> list[Path]:
    """Return the files that a command with a config reads: the config, what it extends, and its records.

    Args:
        config: The config file.
        data: Its ``data:`` section.
        splits: Splits whose records are read.

    Raises:
        ConfigError: A name means no file.
    """
    names = [name for split in splits for entry in data.entries(split) for name in entry.files(split)]
    return [*config_files(Path(config)), *(path for name in names for path in expand_sources([name]))]


def open_dataset(config: RunConfig | RecordsConfig, split: Split, *, needs_tokens: bool = True) -> DenseCaptionDataset:
    """Return a split's samples, and log what was read.

    Args:
        config: Where they come from.
        split: Which of them.
        needs_tokens: False: where the packages of a tokenizer are not installed, tokens are not counted, and a warning
            says so.

    Raises:
        ConfigError: As `DenseCaptionDataset`.
        RecordError: As `DenseCaptionDataset`.
        MissingPackageError: As `DenseCaptionDataset`.
    """
    tokenizer: Tokenizer | None = None
    try:
        tokenizer = load_tokenizer(config.model.name_or_path, config.model.revision)
    except MissingPackageError as error:
        if needs_tokens:
            raise
        log.warning("tokens are not counted: %s", error)
    dataset = DenseCaptionDataset(
        config.data,
        split,
        tokenizer,
        augmentation=config.augmentation,
        seed=config.seed,
        limit=config.limit_of(split),
    )
    dataset.pipeline.log_canvas_fit()
    log.info("%s: %s", split, dataset.records.summary())
    return dataset


def sample_settings(config: RunConfig | RecordsConfig) -> dict[str, Any]:
    """Return the settings that the samples of a config depend on, as plain data."""
    data = {name: value for name, value in to_tree(config.data).items() if name != "num_workers"}
    return {
        "data": data,
        "augmentation": to_tree(config.augmentation),
        "seed": config.seed,
        "model": [config.model.name_or_path, config.model.revision],
        "limit": [config.limit_of("train"), config.limit_of("val")],
    }


def add_step(parser: argparse.ArgumentParser, default: str) -> None:
    """Add ``--step`` to a command. `default` says in words what happens without it."""
    parser.add_argument(
        "--step",
        type=int,
        metavar="N",
        help="with augmentation.curriculum: samples as after N optimiser steps, which step N + 1 of metrics.jsonl "
        f"trains on (default: {default})",
    )


def training_step(
    config: RunConfig | RecordsConfig, dataset: DenseCaptionDataset, step: int | None
) -> TrainingStep | None:
    """Return the moment of a run's curriculum after `step` steps. `None`: no curriculum, or its start.

    Raises:
        ConfigError: There is a step and no curriculum, the step is negative or beyond the run, or the curriculum is in
            percent and there is no run.
    """
    phases = dataset.curriculum.phases
    if not phases and step is not None:
        raise ConfigError("--step must go with augmentation.curriculum, which this split does not have")
    if not step:
        return None
    if phases[0].config.until_step is not None:
        return TrainingStep(step)
    if isinstance(config, RecordsConfig):
        raise ConfigError("--step must go with a run's config where the curriculum is in percent of its steps")
    total = planned_rules(config, dataset).total_steps
    if total is not None and step >= total:
        raise ConfigError(f"--step must be below {total}, the steps of the run, not {step}")
    return TrainingStep(step, total)


def planned_rules(config: RunConfig, dataset: DenseCaptionDataset) -> EpochRules:
    """Return how a run makes rows and steps. With a curriculum, all steps of the run are planned first."""
    rules, training = config.epoch_rules(), config.training
    training.accumulation(1)
    if not dataset.curriculum.phases:
        return rules
    total = training.max_steps or training.num_epochs * len(plan_epoch(dataset, 0, rules).steps)
    return config.epoch_rules(total)
