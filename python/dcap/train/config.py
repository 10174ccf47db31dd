"""RunConfig: the whole of a training run, and the ``training:`` section."""

from __future__ import annotations

import dataclasses
import os
import re
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar, get_args

from dcap.answers.formats import ANSWER_FORMATS
from dcap.augment.config import AugmentConfig
from dcap.augment.pipeline import Pipeline
from dcap.core.config import UnknownFieldError, apply_overrides, build, check_fields, read_yaml
from dcap.core.errors import ConfigError, nearest, nearest_hint
from dcap.core.words import show
from dcap.data.config import DataConfig, Split, resolve_profile
from dcap.data.epoch import EpochRules
from dcap.data.steps import RowCost
from dcap.model.config import ModelConfig
from dcap.records.files.generated import is_generated
from dcap.records.files.opening import ENDINGS, expand_sources
from dcap.records.preprocess import Chain
from dcap.train.distill_config import DistillConfig
from dcap.train.other_names import OTHER_NAMES

Schedule = Literal[
    "cosine_warmup_with_min_lr",
    "linear",
    "constant",
    "constant_with_warmup",
    "cosine",
    "cosine_with_min_lr",
    "cosine_with_restarts",
    "inverse_sqrt",
    "polynomial",
    "warmup_stable_decay",
]
SCHEDULE_PARAMS: dict[str, tuple[str, ...]] = {
    "constant_with_warmup": (),
    "cosine": ("num_cycles",),
    "cosine_with_min_lr": ("num_cycles",),
    "cosine_with_restarts": ("num_cycles",),
    "inverse_sqrt": ("timescale",),
    "polynomial": ("power",),
    "warmup_stable_decay": ("num_decay_steps", "warmup_type", "decay_type", "num_cycles"),
}
"""The schedules of transformers, and what each takes in `lr_schedule_params`."""
_MOST_PARAM = 1e9
_POLYNOMIAL_END = 1e-7
"""The floor that transformers gives ``polynomial``."""
_WEIGHTS = (1e-6, 1e6)
"""Bounds of weights in the loss: float32 must hold the sums of products with them."""
FLOORS = ("cosine_warmup_with_min_lr", "cosine_with_min_lr", "polynomial", "warmup_stable_decay")
"""The schedules that end at a floor."""
_CURVES = ("linear", "cosine", "1-sqrt")
WeightedKind = Literal["caption", "coordinate", "structure"]
TrackerName = Literal["tensorboard", "wandb", "mlflow", "swanlab"]


@dataclass(frozen=True)
class EvalGenerateConfig:
    """Validation by answers: the model answers validation samples, and the answers are scored."""

    samples: int = 200
    """Number of validation samples to answer, spread evenly over all of them. Summaries are not asked for."""
    every: int = 1
    """Answer at every N-th validation, and at the last one."""
    batch_size: int = 8
    """Answers per device at a time."""
    max_new_tokens: int = 2048
    """Stop an answer after this many tokens."""

    def __post_init__(self) -> None:
        check_fields(self)
        for name in ("samples", "every", "batch_size", "max_new_tokens"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, not {getattr(self, name)}")


@dataclass(frozen=True)
class TrainingConfig:
    """Optimiser, schedule, checkpoints and logs."""

    output_dir: str
    """Folder of the run: checkpoints, metrics, logs, the resolved config."""
    num_epochs: int = 1
    """Passes over the training records. `max_steps` wins where both are given."""
    max_steps: int | None = None
    """Stop after this many optimiser steps. `null`: stop after `num_epochs`."""
    per_device_batch_size: int = 1
    """Samples per forward pass and device. With `data.packing` it must be 1: one row."""
    effective_batch_size: int = 8
    """Rows (packing) or samples (padding) per optimiser step, over all devices. The number of micro-batches follows
    from it. It must be a multiple of `per_device_batch_size` times the number of devices. A resumed run may use another
    value, except with a curriculum in percent and no `max_steps`."""
    optimizer: Literal["adamw", "adamw8bit"] = "adamw"
    """``adamw8bit``: AdamW with its moments in 8 bits, by bitsandbytes, which takes a quarter of their memory. Weights
    with fewer than 4096 numbers keep theirs in float32. It needs the extra ``quantized``."""
    learning_rate: float = 1e-4
    """Peak learning rate of the language model, and of a tower that has no rate of its own."""
    vit_lr: float | None = None
    """Peak learning rate of the vision tower. `null`: `learning_rate`."""
    aligner_lr: float | None = None
    """Peak learning rate of the aligner. `null`: `learning_rate`."""
    lora_plus_ratio: float | None = None
    """LoRA+: the matrices B of adapters, which begin at 0, train at this many times the rate of their tower. Commonly 4
    to 16, with a lower `learning_rate`. `null`: 1."""
    lr_schedule: Schedule = "cosine_warmup_with_min_lr"
    """How the learning rate falls after the warmup. ``cosine_warmup_with_min_lr``: to the floor, which the last step
    has. ``linear``: towards 0, which comes right after the last step. ``constant``: not at all. The others are the
    schedules of transformers by name, with its value at each step: their warmup begins with a step at rate 0."""
    lr_schedule_params: dict[str, float | str] = field(default_factory=dict)
    """What a schedule of transformers takes: `num_cycles` (the cosines), `power` (``polynomial``), `timescale`
    (``inverse_sqrt``), `num_decay_steps`, `warmup_type` and `decay_type` (``warmup_stable_decay``)."""
    warmup_ratio: float = 0.03
    """The learning rate rises linearly from 0 during this share of all steps. `warmup_steps` wins where it is given."""
    warmup_steps: int | None = None
    """The learning rate rises linearly from 0 during this many steps. `null`: `warmup_ratio` of all steps."""
    min_lr: float | None = None
    """Floor of the learning rate, for the part of the model whose peak is `learning_rate`. A part with a peak of its
    own ends at the same share of it. `null`: `min_lr_ratio`. Schedules with a floor: ``cosine_warmup_with_min_lr``,
    ``cosine_with_min_lr``, ``polynomial`` and ``warmup_stable_decay``."""
    min_lr_ratio: float | None = None
    """Floor of the learning rate, as a share of the peak. `null`: `min_lr`. Without both: 0.1 for the two cosines, and
    what transformers takes for the other schedules (0, and a rate of 1e-7 for ``polynomial``)."""
    weight_decay: float = 0.0
    """Weight decay of AdamW. It never acts on biases, norms or embeddings."""
    adam_betas: tuple[float, float] = (0.9, 0.95)
    """Decays of the two moments of AdamW."""
    adam_eps: float = 1e-8
    """Epsilon of AdamW."""
    max_grad_norm: float = 1.0
    """Largest norm of the gradient of all parameters together. A larger gradient is scaled down to it."""
    label_smoothing: float = 0.0
    """Share of each label that is spread evenly over all tokens, at least 0 and below 1, as in torch's
    ``cross_entropy``. Validation, the loss by kind and the losses of single samples are without it."""
    token_weights: dict[str, float] = field(default_factory=dict)
    """Weight in the loss of each kind of token, such as ``{coordinate: 2.0}``: ``caption``, ``coordinate`` and
    ``structure``. A kind that is not named has 1. The loss is the weighted mean: its denominator is the sum of the
    weights. Validation has no such weights."""
    activation_checkpointing: bool = False
    """Recompute activations in the backward pass. This takes less memory and about a third more time."""
    peak_tflops: float | None = None
    """What one device can do at most in `model.dtype`, in 1e12 operations per second; for ``mfu`` in metrics.jsonl.
    `null`: as its maker says, for usual GPUs."""
    parallel: Literal["ddp", "fsdp"] = "ddp"
    """How several processes train together. ``ddp``: each holds the whole model. ``fsdp``: each holds a part of every
    weight, gradient and moment, and layers are put together when they run. It is for models that do not fit one
    device, above all in full tuning: it takes less memory and more exchange."""
    fsdp_reshard: bool = True
    """With ``fsdp``: let go of a layer's weights after its forward pass, and fetch them again for the backward pass.
    ``false``: keep them in between, which takes more memory and less exchange."""
    loss_chunk_tokens: int = 256
    """Supervised tokens whose logits are in memory at a time (256: 150 MiB). The loss does not depend on it."""
    log_steps: int = 1
    """Log every N steps."""
    eval_steps: int | None = None
    """Validate every N steps. `null`: at the end of each epoch."""
    eval_limit: int | None = None
    """Most validation records. They are chosen by a hash of their image's path: the same ones in each validation, and
    in runs with another `seed`. `null`: all."""
    eval_generate: EvalGenerateConfig | None = None
    """Let the model answer samples in validations, which gives ``eval/f1`` and other scores. `null`: no answers. It
    takes much longer than the loss, and changes nothing of the training."""
    save_steps: int | None = None
    """Save a checkpoint every N steps. `null`: at the end of each epoch."""
    save_total_limit: int = 2
    """Number of newest checkpoints to keep. The best one is kept as well."""
    save_delay_steps: int = 0
    """Save no checkpoint before this step, not even the best."""
    save_delay_epochs: float = 0.0
    """Save no checkpoint before this many epochs, not even the best."""
    best_metric: str | None = "eval/loss"
    """Validation metric that decides which checkpoint is the best. `null`: no checkpoint is kept as the best."""
    best_mode: Literal["min", "max"] | None = None
    """``min``: a smaller `best_metric` is better. ``max``: a larger one. `null`: ``min`` for a loss and for
    ``eval/repeats``, ``max`` for others."""
    resume: str = "auto"
    """``auto``: go on from the newest checkpoint in `output_dir`, if there is one. ``none``: start anew. A path: go on
    from that checkpoint."""
    on_changed_data: Literal["error", "restart_epoch"] = "error"
    """A training file changed between a run and its resume. ``error``: stop. ``restart_epoch``: go on from the
    checkpoint, and begin its epoch anew with the new records."""
    sample_losses: bool = True
    """Keep the loss of each sample and object of the two newest epochs, and of the newest validation, in ``losses/`` of
    the run folder, for ``dcap audit --losses``. An epoch of a million samples with ten objects takes about 500 MB."""
    trackers: tuple[TrackerName, ...] = ("tensorboard",)
    """Where metrics go beside metrics.jsonl: ``tensorboard`` (events in `output_dir`), ``wandb``, ``mlflow`` and
    ``swanlab``. Each reads its key and its server from its own environment variables. ``[]``: nowhere else."""

    @property
    def rows_per_step(self) -> int:
        """Rows (packing) or batches (padding) per optimiser step over all devices."""
        return self.effective_batch_size // self.per_device_batch_size

    def accumulation(self, num_ranks: int) -> int:
        """Return the micro-batches per optimiser step and rank that give `effective_batch_size`.

        Args:
            num_ranks: Number of processes.

        Raises:
            ConfigError: No whole number of batches gives it.
        """
        per_pass = self.per_device_batch_size * num_ranks
        if self.effective_batch_size % per_pass:
            nearest = per_pass * max(1, round(self.effective_batch_size / per_pass))
            raise ConfigError(
                f"training.effective_batch_size must be a multiple of {per_pass} (per_device_batch_size x "
                f"{num_ranks} processes), not {self.effective_batch_size}. Set it to {nearest}, with which a run may "
                "also be resumed, or start another number of processes"
            )
        return self.effective_batch_size // per_pass

    def __post_init__(self) -> None:
        check_fields(self)
        for name in ("num_epochs", "per_device_batch_size", "effective_batch_size", "loss_chunk_tokens", "log_steps"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, not {getattr(self, name)}")
        for name in ("max_steps", "eval_steps", "eval_limit", "save_steps", "save_total_limit"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name} must be at least 1, not {value}")
        for name in ("weight_decay", "warmup_steps", "save_delay_steps", "save_delay_epochs"):
            value = getattr(self, name)
            if value is not None and value < 0:
                raise ConfigError(f"{name} must be at least 0, not {value}")
        if not all(0.0 <= beta < 1.0 for beta in self.adam_betas) or self.adam_eps <= 0:
            raise ConfigError(
                f"adam_betas must be within 0..1 and adam_eps above 0, not {self.adam_betas} and {self.adam_eps}"
            )
        if len(set(self.trackers)) < len(self.trackers):
            raise ConfigError(f"trackers must name each tracker once, not {', '.join(self.trackers)}")
        for name in ("warmup_ratio", "min_lr_ratio"):
            value = getattr(self, name)
            if value is not None and not 0.0 <= value <= 1.0:
                raise ConfigError(f"{name} must be within 0..1, not {value}")
        for name in ("learning_rate", "vit_lr", "aligner_lr", "max_grad_norm", "lora_plus_ratio", "peak_tflops"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ConfigError(f"{name} must be above 0, not {value}")
        self._check_schedule()
        if not 0.0 <= self.label_smoothing < 1.0:
            raise ConfigError(f"label_smoothing must be at least 0 and below 1, not {self.label_smoothing}")
        for kind, weight in self.token_weights.items():
            if kind not in get_args(WeightedKind):
                kinds = get_args(WeightedKind)
                raise ConfigError(
                    f"token_weights must name {', '.join(kinds[:-1])} or {kinds[-1]}, not {show(kind)}"
                    f"{nearest_hint(str(kind), kinds)}"
                )
            if not _WEIGHTS[0] <= weight <= _WEIGHTS[1]:
                raise ConfigError(
                    f"token_weights.{kind} must be within {_WEIGHTS[0]:g}..{_WEIGHTS[1]:g}, not {weight:g}"
                )
        if self.lora_plus_ratio is not None and self.lora_plus_ratio > _WEIGHTS[1]:
            raise ConfigError(f"lora_plus_ratio must be at most {_WEIGHTS[1]:g}, not {self.lora_plus_ratio:g}")

    @property
    def floor(self) -> float | None:
        """The floor of the learning rate as a share of the peak. `None`: that of the schedule."""
        return self.min_lr_ratio if self.min_lr is None else self.min_lr / self.learning_rate

    def _check_schedule(self) -> None:
        name, floors = self.lr_schedule, ", ".join(FLOORS)
        if self.min_lr is not None:
            if self.min_lr_ratio is not None:
                raise ConfigError(
                    f"min_lr_ratio must be null where min_lr is given, not {self.min_lr_ratio}: both say where the "
                    "learning rate ends. Give one of them"
                )
            if not 0.0 <= self.min_lr <= self.learning_rate:
                raise ConfigError(
                    f"min_lr must be within 0 and learning_rate {self.learning_rate:g}, not {self.min_lr:g}"
                )
        if self.floor is not None and name not in FLOORS:
            given = "min_lr_ratio" if self.min_lr is None else "min_lr"
            raise ConfigError(f"{given} must be null with lr_schedule {name}, which has no floor. Take one of {floors}")
        known = SCHEDULE_PARAMS.get(name, ())
        for key, value in self.lr_schedule_params.items():
            where = f"lr_schedule_params.{key}"
            if key not in known:
                takes = f"takes {', '.join(known)}" if known else "takes none"
                raise ConfigError(f"{where} must be a parameter of lr_schedule {name}, which {takes}")
            if key.endswith("_type"):
                if value not in _CURVES:
                    raise ConfigError(f"{where} must be one of {', '.join(_CURVES)}, not {show(value)}")
                continue
            whole = key in ("num_decay_steps", "timescale") or (key, name) == ("num_cycles", "cosine_with_restarts")
            if isinstance(value, str) or not 0 < value <= _MOST_PARAM or (whole and value % 1):
                raise ConfigError(
                    f"{where} must be {'a whole number' if whole else 'a number'} above 0 and at most "
                    f"{_MOST_PARAM:g}, not {show(value)}"
                )
        end = _POLYNOMIAL_END if self.floor is None else self.floor * self.learning_rate
        if name == "polynomial" and end >= self.learning_rate:
            raise ConfigError(
                f"min_lr must be below learning_rate {self.learning_rate:g} with lr_schedule polynomial, not {end:g}"
                + (", which it is where none is given" if self.floor is None else "")
            )
        if name == "warmup_stable_decay" and "num_decay_steps" not in self.lr_schedule_params:
            raise ConfigError(
                "lr_schedule_params.num_decay_steps must be given with lr_schedule warmup_stable_decay: the steps in "
                "which the learning rate falls, at the end of the run"
            )


@dataclass(frozen=True)
class RunConfig:
    """One training run."""

    model: ModelConfig
    """The model, and the parts of it that train."""
    data: DataConfig
    """Where samples come from and how they become rows."""
    training: TrainingConfig
    """Optimiser, schedule, checkpoints and logs."""
    augmentation: AugmentConfig = field(default_factory=AugmentConfig)
    """How training samples are changed."""
    distill: DistillConfig | None = None
    """Hold the model close to what it was, by a further term of the loss. `null`: no such term."""
    seed: int = 0
    """Seed of all random choices: order, augmentation, initial adapter weights, dropout."""

    def limit_of(self, split: Split) -> int | None:
        """Return how many records of a split are used at most. `None`: all."""
        return self.data.limit if split == "train" else self.training.eval_limit

    def epoch_rules(self, total_steps: int | None = None) -> EpochRules:
        """Return how samples become rows and steps.

        Args:
            total_steps: Steps of the whole run, for a curriculum. `None`: the curriculum stays at its start.
        """
        cost = RowCost().frozen_vision() if self.model.freeze_vit else RowCost()
        return EpochRules(self.training.rows_per_step, self.training.per_device_batch_size, total_steps, cost)

    def __post_init__(self) -> None:
        check_fields(self)
        if self.seed < 0:
            raise ConfigError(f"seed must be at least 0, not {self.seed}")
        if not self.data.has("train"):
            raise ConfigError("data.train, or an entry of data.mixture, must name at least one file of records")
        if self.training.eval_generate is not None and not self.data.has("val"):
            raise ConfigError("training.eval_generate must be null where data.val names no file. Name one")
        if self.training.eval_generate is not None and self.training.parallel == "fsdp":
            raise ConfigError(
                "training.eval_generate must be null with training.parallel fsdp, as no rank holds the whole model to "
                "answer with. Set it to null, and let dcap predict and dcap evaluate answer with the checkpoints"
            )
        if self.training.parallel == "fsdp":
            self._check_shared_out()
        if self.model.dtype == "float16":
            raise ConfigError(
                "model.dtype must be bfloat16 or float32 for training, not float16, whose gradients vanish"
            )
        if self.training.lora_plus_ratio is not None and self.model.adapter.type == "full":
            raise ConfigError("training.lora_plus_ratio must be null with model.adapter.type full, which has no B")
        if self.distill is not None:
            self.distill.check_model(self.model)
            if self.training.parallel == "fsdp":
                raise ConfigError(
                    "distill must be null with training.parallel fsdp, as a teacher of shared weights is not supported "
                    "yet. Set training.parallel=ddp"
                )
            self.distill.check_sources([entry.name for entry in self.data.entries("train")])
        per_device = self.training.per_device_batch_size
        if self.data.packing and per_device != 1:
            raise ConfigError(
                f"training.per_device_batch_size must be 1 with data.packing, not {per_device}. "
                "Make rows longer with data.global_max_length instead"
            )

    def _check_shared_out(self) -> None:
        """Refuse weights and moments of bitsandbytes: ranks cannot divide them."""
        if self.model.quantization != "none":
            raise ConfigError(
                f"model.quantization must be none with training.parallel fsdp, not {self.model.quantization}, whose "
                "weights of 4 bits cannot be shared out. Set training.parallel=ddp, where each device holds all of them"
            )
        if self.training.optimizer != "adamw":
            raise ConfigError(
                f"training.optimizer must be adamw with training.parallel fsdp, not {self.training.optimizer}, whose "
                "state cannot be shared out. With fsdp each device holds a part of the moments of adamw already"
            )


def load_run_config(path: str | Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Read a YAML config with its ``extends`` and command-line overrides.

    Raises:
        ConfigError: The file cannot be read; a field is unknown, missing or wrong; or something that the config names
            does not exist. The message has the dotted path.
    """
    path = Path(path)
    if path.name.endswith(ENDINGS):
        raise ConfigError(
            f"{path}: config must be YAML, not a file of records. Name the records in a config, as data.train; dcap "
            "guide training shows one."
        )
    tree = read_yaml(path)
    if "names" in tree and not {"model", "data", "training"} & tree.keys():
        raise ConfigError(
            f"{path}: config must be that of a run, and this looks like one of YOLO. Convert its data: dcap "
            f"convert yolo {path} -o NEW.jsonl"
        )
    return build_checked(RunConfig, tree, overrides, path.name, _check_files)


def build_run_config(tree: dict[str, Any], overrides: Sequence[str], source: str) -> RunConfig:
    """Build a run's config and check all of it that can be checked without a model; arguments as `build_checked`.

    Raises:
        ConfigError: As `build_checked`.
    """
    return build_checked(RunConfig, tree, overrides, source)


class _WithSamples(Protocol):
    @property
    def data(self) -> DataConfig: ...
    @property
    def augmentation(self) -> AugmentConfig: ...


C = TypeVar("C", bound=_WithSamples)


def build_checked(
    cls: type[C],
    tree: dict[str, Any],
    overrides: Sequence[str],
    source: str,
    check: Callable[[C], None] = lambda _: None,
) -> C:
    """Build a config with the sections of samples, and check what they name.

    Args:
        cls: `RunConfig`, or another dataclass with its ``data`` and ``augmentation``.
        tree: Mapping from YAML.
        overrides: Command-line items such as ``seed=1``.
        source: Where `tree` came from, for messages.
        check: A further check; the paths of its errors are looked up in the overrides too.

    Raises:
        ConfigError: As `dcap.core.config`, or an op, preprocessor, answer format or prompt set does not exist or
            does not take its parameters; the message starts with the override that is wrong, or with `source`.
    """
    changed = apply_overrides(tree, overrides)
    try:
        config = build(cls, changed)
        _check_named(config.data, config.augmentation)
        check(config)
    except ConfigError as error:
        blamed = [item for item in overrides if _is_blamed(item.partition("=")[0], error, tree)]
        origin = f"override {blamed[-1]}" if blamed else source
        raise ConfigError(f"{origin}: {_with_name_meant(error, cls)}") from None
    return config


def _with_name_meant(error: ConfigError, cls: type) -> str:
    """Return a message that names the field which was meant: of another section, or known elsewhere by that name."""
    if isinstance(error, UnknownFieldError):
        places = [path for path in field_paths(cls) if path.split(".")[-1] == error.key]
        meant = places[0] if len(places) == 1 else OTHER_NAMES.get(error.key)
        if meant is not None:
            return f"{error.problem}; did you mean {meant}?"
        if "params" in error.known and nearest(error.key, error.known, likeness=0.7) is None:
            return f"{error.problem}; put it in params, as params: {{{error.key}: ...}}"
    return str(error)


def field_paths(cls: type, prefix: str = "") -> Iterator[str]:
    """Yield the dotted paths of all fields of a config dataclass that are not sections."""
    for name, hint in typing.get_type_hints(cls).items():
        if isinstance(hint, type) and dataclasses.is_dataclass(hint):
            yield from field_paths(hint, f"{prefix}{name}.")
        else:
            yield prefix + name


def _check_named(data: DataConfig, augmentation: AugmentConfig) -> None:
    """Make everything that the config names, as the run will. A mistake then fails before slow imports and reads."""
    Pipeline.from_config(augmentation)
    Chain.from_config(data.preprocessors)
    for each in (data, *map(data.of_entry, data.mixture)):
        ANSWER_FORMATS.get(each.answer.format, "data.answer.format")
        resolve_profile(each)


def _check_files(config: RunConfig) -> None:
    """Refuse a config whose records are not there."""
    data = config.data
    for split in get_args(Split):
        entries = {f"data.mixture[{i}].{split}": entry for i, entry in enumerate(data.mixture)}
        named = [(where, name) for where, entry in entries.items() for name in entry.files(split)]
        if not data.mixture:
            named = [(f"data.{split}", name) for entry in data.entries(split) for name in entry.files(split)]
        for where, name in named:
            try:
                missing = not all(os.path.exists(path) or is_generated(path) for path in expand_sources([name]))
            except ConfigError as error:
                raise ConfigError(f"{where}: {error}") from None
            if missing:
                text = f"{where} must name files that exist, not {show(name)}"
                raise ConfigError(f"{text}. Relative paths start at the current folder.")


def _is_blamed(path: str, error: ConfigError, tree: Mapping[str, Any]) -> bool:
    """Whether the override of a field, and not the file, is what an error is about."""
    if _is_about(str(error), path):
        return True
    if not isinstance(error, UnknownFieldError):
        return False
    # A section that is no field: its name is new, or it stands in the file too.
    field = f"{error.section}.{error.key}" if error.section else error.key
    section: Any = tree
    for name in field.split("."):
        section = section.get(name) if isinstance(section, Mapping) else None
    return path.startswith((f"{field}.", f"{field}[")) and section is None


def _is_about(message: str, path: str) -> bool:
    return re.match(re.escape(path) + r"(?!\w)", message) is not None
