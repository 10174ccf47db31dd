"""From a config to a run that is ready to train: model, data, optimiser, checkpoints, logs."""

from __future__ import annotations

import hashlib
import json
import platform
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object

import dcap
from dcap.core.config import dump_yaml
from dcap.core.errors import TrainingError
from dcap.core.files import write_whole
from dcap.core.log import FILE_ONLY, console, get_logger
from dcap.core.words import counted
from dcap.data.config import Split
from dcap.data.dataset import DenseCaptionDataset
from dcap.data.encode import load_tokenizer
from dcap.data.epoch import EpochPlan, follows_curriculum, plan_epoch
from dcap.data.loader import EpochLoader
from dcap.model.attention import choose_attention, self_test
from dcap.model.cpu_threads import log_cpu_threads
from dcap.model.fingerprint import weights_digest
from dcap.model.flops import Utilization, count_flops, peak_tflops
from dcap.model.init_adapter import continue_adapter, find_init_adapter, load_trained
from dcap.model.load import check_source, load_model
from dcap.model.lora import attach, bare_model, enable_activation_checkpointing, trainable
from dcap.model.quantization import check_quantization
from dcap.model.saved_adapter import WEIGHTS, SavedAdapter
from dcap.model.towers import count_parameters, frozen_towers, parameter_table, rate_words
from dcap.records.checking import BadRecordList
from dcap.train.checkpoint import Checkpoints
from dcap.train.config import RunConfig
from dcap.train.data_files import INIT_ADAPTER, Files, data_files
from dcap.train.distill_config import ADAPTER_OFF, DistillConfig
from dcap.train.eval_generate import samples_to_answer
from dcap.train.loss import SupervisedLoss
from dcap.train.loss_log import LossLog
from dcap.train.optimizer import build_optimizer, check_optimizer, check_schedule, peak_rates
from dcap.train.parallel import build_accelerator, distribute
from dcap.train.ranks import on_first_rank, watched
from dcap.train.resume import Start, find_start
from dcap.train.run_folder import run_folder
from dcap.train.state import Due, RunState, check_metric
from dcap.train.step import Learner
from dcap.train.teacher import Teacher
from dcap.train.teacher_check import check_teacher, teacher_model
from dcap.train.trackers import check_packages
from dcap.train.tracking import AugmentTally, Tracker
from dcap.train.vision_distance import vision_weights

log = get_logger(__name__)

PACKAGES = (
    "torch", "transformers", "peft", "accelerate", "tokenizers", "safetensors", "numpy", "numba",
    "opencv-python-headless", "pillow", "bitsandbytes",
)  # fmt: skip


@dataclass(frozen=True)
class Run:
    """Everything that the loop acts on."""

    config: RunConfig
    learner: Learner
    loader: EpochLoader
    """The first epoch of this rank, where a curriculum starts."""
    val_loader: EpochLoader | None
    answered: tuple[int, ...]
    """Validation records that the model answers; none without ``training.eval_generate``."""
    checkpoints: Checkpoints
    tracker: Tracker
    tally: AugmentTally
    losses: LossLog
    due: Due
    start: Start
    """Where it begins."""

    def total_steps(self, state: RunState) -> int:
        """Return the steps that learning rate and curriculum are planned for.

        Without `max_steps` they are those of the first epoch, where a curriculum starts, times the epochs.
        Augmentation makes an epoch a row longer or shorter now and then; the run ends with the last epoch.
        """
        return _total_steps(self.config, self.loader, state)

    def epoch_plans(self, state: RunState) -> Iterator[EpochPlan]:
        """Yield the plan of the epoch that `state` is in, and those of the epochs after it."""
        dataset, rules = self.loader.dataset, self.config.epoch_rules(self.total_steps(state))
        plan = self.loader.plan
        if state.first_step or state.parts or follows_curriculum(dataset, rules):
            plan = plan_epoch(dataset, state.epoch, rules, first_step=state.first_step, parts=state.parts)
        while True:
            yield plan
            plan = plan_epoch(dataset, plan.epoch + 1, rules, first_step=plan.next_step)


def prepare(config: RunConfig, closing: ExitStack) -> Run:
    """Set up a run.

    Args:
        config: The run.
        closing: Gets what must be closed at the end.

    Raises:
        ConfigError: The config asks for something that cannot work here.
        CheckpointError: The run folder belongs to another process, or its checkpoint to another run.
        MissingPackageError: The package of a tracker, or of weights or moments in few bits, is not installed.
        TrainingError: The self-test failed, there is nothing to train on, or ranks read different records.
        RecordError: A file is missing, or a record breaks the contract.
    """
    accelerator = build_accelerator(config)
    closing.enter_context(watched(accelerator))
    check_metric(config.training)
    on_first_rank(accelerator, lambda: check_packages(config.training.trackers))
    check_quantization(config.model.quantization)
    check_optimizer(config.training)
    choose_attention(config.model.attention, accelerator.device, getattr(torch, config.model.dtype))
    output = Path(config.training.output_dir)
    on_first_rank(accelerator, lambda: closing.enter_context(run_folder(output)))
    if config.distill is not None:
        check_teacher(config.model, config.distill)
    # The weights come last: a large model takes minutes to load, and the rest fails in seconds.
    source, begun = check_source(config.model), find_init_adapter(config.model)
    bad_records = BadRecordList(output)
    loader, val_loader = _loaders(config, accelerator, source, bad_records)
    if accelerator.is_main_process:
        closing.callback(_tell_bad_records, bad_records)
    check_metric(config.training, () if val_loader is None else _planned_names(val_loader))
    answered = _to_answer(config, val_loader)
    loaders = [each for each in (loader, val_loader) if each is not None]
    check_ranks_agree(loaders)
    data, start = on_first_rank(accelerator, lambda: _data_and_start(config, accelerator.num_processes, loaders, begun))
    check_schedule(_total_steps(config, loader, start.state), config.training)
    learner = build_learner(config, accelerator)
    tracker = Tracker(config, active=accelerator.is_main_process, utilization=_utilization(config, learner))
    closing.callback(tracker.close)
    return Run(
        config=config,
        learner=learner,
        loader=loader,
        val_loader=val_loader,
        answered=answered,
        checkpoints=Checkpoints(config, loader.dataset.profile, source, learner, data),
        tracker=tracker,
        tally=AugmentTally(),
        losses=LossLog(output, writes=accelerator.is_main_process, active=config.training.sample_losses),
        due=Due(config.training),
        start=start,
    )


def _utilization(config: RunConfig, learner: Learner) -> Utilization:
    accelerator, dtype = learner.accelerator, getattr(torch, config.model.dtype)
    return Utilization(
        flops=count_flops(learner.bare_module.model),
        num_devices=accelerator.num_processes,
        peak=config.training.peak_tflops or peak_tflops(accelerator.device, dtype),
    )


def _total_steps(config: RunConfig, loader: EpochLoader, state: RunState) -> int:
    training = config.training
    return training.max_steps or state.total_steps(training.num_epochs, len(loader.plan.steps))


def _data_and_start(
    config: RunConfig, num_ranks: int, loaders: Sequence[EpochLoader], begun: SavedAdapter | None
) -> tuple[dict[str, Files], Start]:
    """Return the files of each split and of the adapter that training begins with, and where the run begins."""
    data: dict[str, Files] = {}
    for each in loaders:
        data[each.dataset.split] = data_files([source.path for source in each.dataset.records.files])
    if begun is not None:
        data[INIT_ADAPTER] = data_files([begun.folder / WEIGHTS])
    return data, find_start(config, num_ranks, data)


def write_run_files(run: Run) -> None:
    """Write config, environment and bad records into the run folder; once the run is known to be allowed."""
    accelerator, output = run.learner.accelerator, Path(run.config.training.output_dir)
    if accelerator.is_main_process:
        loaders = [loader for loader in (run.loader, run.val_loader) if loader is not None]
        BadRecordList(output).start(*(loader.dataset.records for loader in loaders))
        write_whole(output / "config.yaml", dump_yaml(run.config))
        write_environment(output, accelerator.num_processes, str(accelerator.device))


def build_learner(config: RunConfig, accelerator: Accelerator) -> Learner:
    """Load, test, adapt and wrap the model, and make its optimiser.

    Raises:
        ConfigError: The model cannot be loaded, or an adapter does not fit it.
        TrainingError: Packed samples see each other.
    """
    begun = find_init_adapter(config.model)
    model = load_trained(config.model, accelerator.device, begun)
    base_digest = weights_digest(model)
    log_cpu_threads(accelerator.device)
    log.info("packed = separate: hidden states differ by %.1e", self_test(model))
    # The same on every rank: adapters start equal everywhere, and the same however many ranks there are.
    torch.manual_seed(config.seed)
    model = attach(model, config.model)
    continue_adapter(model, base_digest, config.model, begun)
    if config.training.activation_checkpointing:
        enable_activation_checkpointing(model)
    counts = count_parameters(model)
    rates, ratio = peak_rates(config.training), config.training.lora_plus_ratio
    if accelerator.is_main_process:
        console.print(parameter_table(counts, rates, ratio))
        log.info(
            "trains: %s",
            ", ".join(
                f"{c.tower} {c.trainable:,} of {c.total:,} at {rate_words(rates[c.tower], ratio)}"
                for c in counts
                if c.trainable
            ),
            extra=FILE_ONLY,
        )
    for tower, rate in (("vit", config.training.vit_lr), ("aligner", config.training.aligner_lr)):
        if rate is not None and tower in frozen_towers(config.model):
            log.warning("training.%s_lr has no effect: model.freeze_%s is true", tower, tower)
    training = config.training
    dtype = getattr(torch, config.model.dtype)
    teacher = None if config.distill is None else _teacher(config, config.distill, model, accelerator.device)
    module = SupervisedLoss(model, training.loss_chunk_tokens, dtype, training.label_smoothing, teacher)
    module = distribute(module, accelerator, training)
    return Learner(
        accelerator=accelerator,
        module=module,
        parameters=trainable(model),
        optimizer=build_optimizer(model, config.training),
        max_grad_norm=config.training.max_grad_norm,
        seed=config.seed,
        unproven={count.tower for count in counts if count.trainable},
        base_digest=base_digest,
        distill=config.distill,
        vision_weights=_vision_weights(config, model),
    )


def _teacher(config: RunConfig, distill: DistillConfig, student: Any, device: torch.device) -> Teacher:
    elsewhere = None if distill.teacher == ADAPTER_OFF else load_model(teacher_model(config.model, distill), device)
    return Teacher(student, distill, getattr(torch, config.model.dtype), elsewhere)


def _vision_weights(config: RunConfig, model: Any) -> dict[str, float]:
    if config.distill is None or config.distill.vision is None:
        return {}
    return vision_weights(config.distill.vision, len(bare_model(model).config.vision_config.deepstack_visual_indexes))


def _planned_names(val_loader: EpochLoader) -> list[str]:
    """Return the names of the data sets that have a validation sample which is not too long."""
    plan, parts = val_loader.plan, val_loader.dataset.mixture.parts
    left = plan.samples.index[np.unique(np.concatenate(plan.rows))]
    return [p.entry.name for p in parts if np.searchsorted(left, p.start) < np.searchsorted(left, p.stop)]


def _to_answer(config: RunConfig, val_loader: EpochLoader | None) -> tuple[int, ...]:
    """Return the validation records that the model answers."""
    wanted = config.training.eval_generate
    if wanted is None or val_loader is None:
        return ()
    return tuple(samples_to_answer(val_loader.dataset, val_loader.plan, wanted).tolist())


def _loaders(
    config: RunConfig, accelerator: Accelerator, source: str, bad_records: BadRecordList
) -> tuple[EpochLoader, EpochLoader | None]:
    """Return the first epoch of training, and validation.

    Both are planned here even where `max_steps` is given: a sample that does not fit stops the run now, and not after
    the model is loaded, or hours later in the first validation.
    """
    config.training.accumulation(accelerator.num_processes)
    tokenizer = load_tokenizer(source, config.model.revision)

    def loader(split: Split) -> EpochLoader:
        dataset = DenseCaptionDataset(
            config.data,
            split,
            tokenizer,
            augmentation=config.augmentation,
            seed=config.seed,
            limit=config.limit_of(split),
        )
        log.info("%s: %s", split, dataset.records.summary())
        if accelerator.is_main_process:
            dataset.pipeline.log_canvas_fit()
        return EpochLoader(
            dataset,
            plan_epoch(dataset, 0, config.epoch_rules()),
            rank=accelerator.process_index,
            num_ranks=accelerator.num_processes,
            pin_memory=accelerator.device.type == "cuda",
            on_skip=bad_records.add,
        )

    return loader("train"), loader("val") if config.data.has("val") else None


def _tell_bad_records(bad_records: BadRecordList) -> None:
    if bad_records:
        log.warning("left out: %s; %s lists them", counted(len(bad_records), "bad record"), bad_records.path)


def check_ranks_agree(loaders: Sequence[EpochLoader]) -> None:
    """Compare the records and the planned rows of all ranks, which must all call it.

    Each rank reads and plans by itself. A rank may read fewer records, for example if its machine lacks an image and
    ``data.on_bad_record: skip`` leaves the record out. It would then take wrong rows and wait for ever at the end of
    the epoch.

    Args:
        loaders: Of each split.

    Raises:
        TrainingError: They differ; on every rank.
    """
    for loader in loaders:
        ranks = gather_object([(len(loader.dataset), rows_digest(loader))])
        if len(set(ranks)) > 1:
            split, counts = loader.dataset.split, ", ".join(str(count) for count, _ in ranks)
            raise TrainingError(
                f"{split}: records and their lengths must be the same on every rank, but differ; by rank there are "
                f"{counts} records. Look for files or images that only some machines have, and for other versions"
            )


def rows_digest(loader: EpochLoader) -> str:
    """Return a digest of the records of a loader and of the costs of the planned rows."""
    records, digest = loader.dataset.records, hashlib.sha256()
    arrays: list[npt.NDArray[np.int32 | np.int64]] = [records.file_index, records.row_index]
    for array in (*arrays, *(step.costs for step in loader.plan.steps)):
        digest.update(np.int64(len(array)).tobytes() + array.tobytes())
    return digest.hexdigest()


def environment(world_size: int, device: str) -> dict[str, Any]:
    """Return versions, kernel backend, git commit and hardware of this process."""
    from dcap.kernels import BACKEND

    return {
        "dcap": dcap.__version__,
        "backend": BACKEND,
        "git_commit": git_commit(Path.cwd()),
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "world_size": world_size,
        "device": device,
        "cpu_threads": torch.get_num_threads(),
        "packages": {name: _version(name) for name in PACKAGES},
    }


def write_environment(folder: Path, world_size: int, device: str) -> None:
    """Write ``environment.json`` into `folder`."""
    text = json.dumps(environment(world_size, device), indent=2)
    write_whole(folder / "environment.json", text + "\n")


def git_commit(folder: Path) -> str | None:
    """Return the commit that `folder` is at, or None when it is in no repository or git is not installed."""
    try:
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        log.debug("no git commit: %s", error)
        return None
    return done.stdout.strip()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
