"""The inspection of a run before it starts: its samples, its epoch, the parts that train, and the time it takes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dcap.audit.epoch_counts import EpochCounts, count_epoch, dataset_shares
from dcap.audit.format_costs import MOST_SAMPLES, format_costs
from dcap.audit.inspection_report import EpochReport, InspectionReport, ModelReport, ShownSample, TimeReport
from dcap.audit.token_runs import token_runs
from dcap.core.errors import ConfigError, ImageError
from dcap.core.log import get_logger
from dcap.data.dataset import DenseCaptionDataset
from dcap.data.epoch import EpochRules
from dcap.model.config import ModelConfig
from dcap.model.layer_cost import MemoryRows, MemoryStep
from dcap.model.load import blank_model
from dcap.model.lora import attach
from dcap.model.memory import estimate_memory
from dcap.model.towers import Tower, count_parameters

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class TrainingFacts:
    """Facts about a training run that an inspection needs."""

    model: ModelConfig
    """The model, and the parts that train."""
    step: MemoryStep
    """How a row passes through the model."""
    rates: Mapping[Tower, float]
    """Highest learning rate of each tower."""
    num_epochs: int
    """Length of the run in epochs, if `max_steps` is not given."""
    max_steps: int | None
    """Length of the run in optimiser steps."""
    tokens_per_s: float | None = None
    """Tokens per second over all devices. `None`: the report has no hours."""
    lora_plus_ratio: float | None = None
    """How many times faster the matrices B of adapters train. `None`: as fast."""


def inspect_epoch(
    dataset: DenseCaptionDataset,
    epoch: int,
    rules: EpochRules,
    training: TrainingFacts | None = None,
    *,
    num_samples: int = 2,
    max_plans: int | None = None,
) -> InspectionReport:
    """Report an epoch and, with `training`, the parts that train, their memory and the time.

    No weights are loaded, and only the images of the samples that are shown.

    Args:
        dataset: Whose samples.
        epoch: Epoch, from 0.
        rules: How the run makes rows and steps.
        training: The run. `None`: validation.
        num_samples: Number of samples that are shown token by token.
        max_plans: Plan at most this many samples, drawn by chance. `None`: all.

    Raises:
        RecordError: As `DenseCaptionDataset.plan`.
        ImageError: The image of a sample cannot be decoded, and ``data.on_bad_record`` is ``error``.
        TrainingError: No sample is left.
        WorkerError: A worker process died.
        ConfigError: `max_plans` is below 1, or there is no such model.
        PluginError: As `dcap.answers.codec.write_parts`.
    """
    counts = count_epoch(dataset, epoch, rules, max_plans)
    steps = None if training is None else counts.num_steps(rules.rows_per_step)
    found = EpochReport(
        name=f"{dataset.split} epoch {epoch}",
        plans=counts,
        shares=tuple(dataset_shares(counts, dataset)),
        steps=steps,
        curriculum_at_start=bool(dataset.curriculum.phases) and rules.total_steps is None,
        formats=format_costs(dataset, counts.choose(MOST_SAMPLES)),
    )
    samples = _shown_samples(dataset, counts, num_samples)
    if training is None or steps is None:
        return InspectionReport(samples, found, None, None)
    return InspectionReport(samples, found, _model_report(training, counts), _time_report(training, counts, steps))


def _shown_samples(dataset: DenseCaptionDataset, counts: EpochCounts, number: int) -> tuple[ShownSample, ...]:
    out = []
    for key in counts.choose(number):
        try:
            sample = dataset[key]
        except ImageError as error:
            if dataset.data.on_bad_record == "error":
                raise
            log.warning("not shown: %s", error)
            continue
        runs = token_runs(sample, dataset.planner_of(key.index).encoder.tokenizer)
        sizes = f"{len(sample.input_ids):,} tokens, {sample.num_supervised:,} supervised"
        out.append(ShownSample(f"{sample.dataset}, {sample.sample_id}, epoch {key.epoch}: {sizes}", runs))
    return tuple(out)


def _model_report(training: TrainingFacts, counts: EpochCounts) -> ModelReport:
    model = attach(blank_model(training.model), training.model)
    rows = MemoryRows(counts.row_tokens, counts.row_sums(counts.patches), counts.row_sums(counts.supervised))
    memory = estimate_memory(model, training.step, rows)
    of_row = {"tokens": rows.tokens, "patches": rows.patches, "supervised": rows.supervised}
    heaviest = {name: int(numbers[memory.row]) for name, numbers in of_row.items()}
    return ModelReport(
        counts=count_parameters(model),
        rates=training.rates,
        lora_plus_ratio=training.lora_plus_ratio,
        memory=memory,
        heaviest=heaviest,
        step=training.step,
    )


def _time_report(training: TrainingFacts, counts: EpochCounts, steps: int) -> TimeReport:
    # A step of max_steps takes as many tokens as one of this epoch; whole epochs have no rounding.
    epochs = training.max_steps / steps if training.max_steps else training.num_epochs
    return TimeReport(
        steps=training.max_steps or training.num_epochs * steps,
        epochs=epochs,
        tokens=round(epochs * counts.num_tokens),
        tokens_per_s=training.tokens_per_s,
    )


def measured_rate(folder: Path) -> float:
    """Return the tokens per second of a run so far, from its ``metrics.jsonl``.

    Lines weigh by their tokens. The first line is left out if there are others: kernels are chosen and workers start
    in it.

    Args:
        folder: The run folder.

    Raises:
        ConfigError: There is no such file, or it tells no rate.
    """
    path = folder / "metrics.jsonl"
    if not path.is_file():
        raise ConfigError(f"--run must be the folder of a run, with metrics.jsonl in it, not {folder}")
    before, parts = 0, []
    for number, text in enumerate(path.read_bytes().splitlines(), 1):
        try:
            line = json.loads(text)
            if "tokens_per_s" in line:
                parts.append((int(line["tokens"]) - before, float(line["tokens_per_s"])))
                before = int(line["tokens"])
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
            raise ConfigError(f"{path}:{number} must be JSON, as a run writes it") from None
    parts = [(tokens, rate) for tokens, rate in parts[1:] or parts if tokens > 0 and rate > 0]
    if not parts:
        raise ConfigError(f"{path} must tell tokens_per_s of at least one step")
    return float(sum(tokens for tokens, _ in parts) / sum(tokens / rate for tokens, rate in parts))
