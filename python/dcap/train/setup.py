"""From a config to a run that is ready to train: model, data, optimiser, checkpoints, logs."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.utils import DistributedType

from dcap.core.config import dump_yaml
from dcap.core.errors import ConfigError
from dcap.core.files import write_whole
from dcap.core.log import FILE_ONLY, console, get_logger
from dcap.core.words import counted
from dcap.data.config import Split
from dcap.data.dataset import DenseCaptionDataset
from dcap.data.encode import load_tokenizer
from dcap.data.loader import RowLoader
from dcap.data.steps import RowCost
from dcap.model.attention import self_test
from dcap.model.load import check_source, load_model
from dcap.model.lora import attach, enable_activation_checkpointing, trainable
from dcap.model.towers import count_parameters, frozen_towers, parameter_table
from dcap.records.checking import BadRecordList
from dcap.train.agreement import check_ranks_agree
from dcap.train.augment_tally import AugmentTally
from dcap.train.checkpoint import Checkpoints
from dcap.train.config import RunConfig
from dcap.train.environment import write_environment
from dcap.train.loss import SupervisedLoss
from dcap.train.optimizer import build_optimizer, peak_rates
from dcap.train.selection import check_metric
from dcap.train.state import BatchChange, Due, RunState
from dcap.train.step import Learner
from dcap.train.tracking import Tracker, log_to_file

log = get_logger(__name__)


@dataclass(frozen=True)
class Run:
    """Everything that the loop acts on."""

    config: RunConfig
    learner: Learner
    loader: RowLoader
    val_loader: RowLoader | None
    checkpoints: Checkpoints
    tracker: Tracker
    tally: AugmentTally
    due: Due
    epoch_steps: int
    """Steps of the first epoch, as the curriculum starts."""
    total_steps: int
    """Steps that learning rate and curriculum are planned for. Augmentation makes an epoch a row longer or shorter now
    and then, so without `max_steps` it is that of the first epoch, as the curriculum starts, times the epochs; the run
    ends with the last epoch."""

    def resumed(self, state: RunState) -> Run:
        """Return the run as it goes on from `state`; itself, unless the rows per step changed on the way."""
        if state.change == BatchChange():
            return self
        training = self.config.training
        total = training.max_steps or state.change.total_steps(training.num_epochs, self.epoch_steps)
        loader = replace(self.loader, behind=(state.epoch, state.segments)) if state.segments else self.loader
        return replace(self, loader=loader.planned_for(total), total_steps=total)


def prepare(config: RunConfig, closing: ExitStack) -> Run:
    """Set up a run.

    Args:
        config: The run.
        closing: Gets what must be closed at the end.

    Raises:
        ConfigError: The config asks for what cannot be done here.
        TrainingError: The self-test failed, there is nothing to train on, or ranks read different records.
        RecordError: A file is missing, or a record breaks the contract.
    """
    accelerator = build_accelerator(config)
    closing.callback(accelerator.end_training)
    check_metric(config.training.best_metric)
    output = Path(config.training.output_dir)
    if accelerator.is_main_process:
        output.mkdir(parents=True, exist_ok=True)
        closing.enter_context(log_to_file(output / "train.log"))
    # The weights come last: a large model takes minutes to load, and the rest fails in seconds.
    source = check_source(config.model)
    bad_records = BadRecordList(output)
    loader, val_loader = _loaders(config, accelerator, source, bad_records)
    if accelerator.is_main_process:
        closing.callback(_tell_bad_records, bad_records)
    # Planned even where max_steps is given: a sample that does not fit stops the run here, and not after loading
    # the model, or hours later in the first validation.
    epoch_steps, total = loader.steps_per_epoch(0), planned_steps(config, loader)
    check_metric(config.training.best_metric, () if val_loader is None else _planned_names(val_loader))
    check_ranks_agree([each for each in (loader, val_loader) if each is not None])
    loader = loader.planned_for(total)
    learner = build_learner(config, accelerator)
    tracker = Tracker(output, total, accelerator.is_main_process, config.training.tensorboard)
    closing.callback(tracker.close)
    return Run(
        config=config,
        learner=learner,
        loader=loader,
        val_loader=val_loader,
        checkpoints=Checkpoints(config, loader.dataset.profile, source, learner),
        tracker=tracker,
        tally=AugmentTally(),
        due=Due(config.training),
        epoch_steps=epoch_steps,
        total_steps=total,
    )


def planned_steps(config: RunConfig, loader: RowLoader) -> int:
    """Return the steps that a run is planned for: `max_steps`, else those of the first epoch times the epochs.

    Raises:
        RecordError: A sample of the first epoch does not fit; it is planned in either case.
        TrainingError: No sample is left to train on.
    """
    epoch_steps = loader.steps_per_epoch(0)
    return config.training.max_steps or config.training.num_epochs * epoch_steps


def describe(run: Run) -> None:
    """Write config, environment and bad records into the run folder; once the run is known to be allowed."""
    accelerator, output = run.learner.accelerator, Path(run.config.training.output_dir)
    if accelerator.is_main_process:
        loaders = [loader for loader in (run.loader, run.val_loader) if loader is not None]
        BadRecordList(output).start(*(loader.dataset.records for loader in loaders))
        write_whole(output / "config.yaml", dump_yaml(run.config))
        write_environment(output, accelerator.num_processes, str(accelerator.device))


def build_accelerator(config: RunConfig) -> Accelerator:
    """Return the Accelerator; gradients are exchanged by DDP.

    Raises:
        ConfigError: Accelerate was configured for DeepSpeed, FSDP or another engine, or for its own mixed precision.
    """
    # Rows of text alone leave the vision side without gradients, which DDP must then look for.
    sees_vision = not (config.model.freeze_vit and config.model.freeze_aligner)
    ddp = DistributedDataParallelKwargs(find_unused_parameters=sees_vision, broadcast_buffers=False)
    accelerator = Accelerator(kwargs_handlers=[ddp])
    engine = accelerator.distributed_type
    known = (DistributedType.NO, DistributedType.MULTI_GPU, DistributedType.MULTI_CPU)
    if engine not in known:
        raise ConfigError(
            f"accelerate must be configured for one process or for plain data parallelism, not {engine.value}. "
            "Run accelerate config again without DeepSpeed and FSDP"
        )
    if accelerator.mixed_precision != "no":
        raise ConfigError(
            f"accelerate's mixed_precision must be no, not {accelerator.mixed_precision}: model.dtype decides. "
            "Pass --mixed_precision no"
        )
    return accelerator


def build_learner(config: RunConfig, accelerator: Accelerator) -> Learner:
    """Load, test, adapt and wrap the model, and make its optimiser.

    Raises:
        ConfigError: As `load_model` and `attach`.
        TrainingError: Packed samples see each other.
    """
    model = load_model(config.model, accelerator.device)
    log.info("packed = separate: hidden states differ by %.1e", self_test(model))
    # The same on every rank: adapters start equal everywhere, and the same however many ranks there are.
    torch.manual_seed(config.seed)
    model = attach(model, config.model)
    if config.training.activation_checkpointing:
        enable_activation_checkpointing(model)
    counts = count_parameters(model)
    rates: Mapping[Any, float] = peak_rates(config.training)
    if accelerator.is_main_process:
        console.print(parameter_table(counts, rates))
        log.info(
            "trains: %s",
            ", ".join(
                f"{c.tower} {c.trainable:,} of {c.total:,} at {rates[c.tower]:.3g}" for c in counts if c.trainable
            ),
            extra=FILE_ONLY,
        )
    for tower, rate in (("vit", config.training.vit_lr), ("aligner", config.training.aligner_lr)):
        if rate is not None and tower in frozen_towers(config.model):
            log.warning("training.%s_lr has no effect: model.freeze_%s is true", tower, tower)
    parameters = trainable(model)
    module = SupervisedLoss(model, config.training.loss_chunk_tokens, getattr(torch, config.model.dtype))
    return Learner(
        accelerator=accelerator,
        module=accelerator.prepare_model(module),
        parameters=parameters,
        optimizer=build_optimizer(model, config.training),
        max_grad_norm=config.training.max_grad_norm,
        seed=config.seed,
        unproven={count.tower for count in counts if count.trainable},
    )


def accumulation(config: RunConfig, world_size: int) -> int:
    """Return the micro-batches per optimiser step and rank that give `effective_batch_size`.

    Raises:
        ConfigError: It cannot be had with whole batches.
    """
    training = config.training
    per_pass = training.per_device_batch_size * world_size
    if training.effective_batch_size % per_pass:
        raise ConfigError(
            f"training.effective_batch_size must be a multiple of {per_pass} (per_device_batch_size x "
            f"{world_size} processes), not {training.effective_batch_size}. A run may be resumed with another one"
        )
    return training.effective_batch_size // per_pass


def _planned_names(val_loader: RowLoader) -> list[str]:
    """Return the names of the data sets of which validation has a sample, after what is too long was left out.

    Raises:
        RecordError: A sample does not fit.
        TrainingError: No sample is left.
    """
    val_loader.steps_per_epoch(0)
    mixture = val_loader.dataset.mixture
    left = np.unique([key.index for row in val_loader.rows(0) for key in row])
    return [p.entry.name for p in mixture.parts if np.searchsorted(left, p.start) < np.searchsorted(left, p.stop)]


def _loaders(
    config: RunConfig, accelerator: Accelerator, source: str, bad_records: BadRecordList
) -> tuple[RowLoader, RowLoader | None]:
    tokenizer = load_tokenizer(source, config.model.revision)
    steps = accumulation(config, accelerator.num_processes)
    cost = RowCost().frozen_vision() if config.model.freeze_vit else RowCost()

    def loader(split: Split) -> RowLoader:
        dataset = DenseCaptionDataset(config.data, split, tokenizer, augmentation=config.augmentation, seed=config.seed)
        log.info("%s: %s", split, dataset.records.summary())
        return RowLoader(
            dataset,
            rank=accelerator.process_index,
            world_size=accelerator.num_processes,
            accumulation=steps,
            batch_size=config.training.per_device_batch_size,
            pin_memory=accelerator.device.type == "cuda",
            on_skip=bad_records.add,
            cost=cost,
        )

    train = loader("train")
    if accelerator.is_main_process:
        train.dataset.pipeline.log_canvas_fit()
    return train, loader("val") if config.data.has("val") else None


def _tell_bad_records(bad_records: BadRecordList) -> None:
    if bad_records:
        log.warning("left out: %s; %s lists them", counted(len(bad_records), "bad record"), bad_records.path)
