"""One optimiser step over micro-batches and ranks, and one validation pass.

The loss of a step is the weighted sum over all its supervised tokens, divided once by the sum of their weights over
all micro-batches and ranks. How samples fall into rows and rows onto ranks therefore does not change it.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, field
from functools import cached_property

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object

from dcap.core.errors import TrainingError
from dcap.core.log import get_logger
from dcap.core.random import generator
from dcap.data.collate import Batch
from dcap.data.encode import IGNORE_INDEX
from dcap.data.sample import FILLER
from dcap.model.flops import Work
from dcap.model.towers import Tower, tower_of
from dcap.train.loss import LossOutput, SupervisedLoss, model_inputs
from dcap.train.loss_parts import LossParts
from dcap.train.optimizer import set_learning_rates
from dcap.train.out_of_memory import memory_named

log = get_logger(__name__)

_DROPOUT = 7  # purpose of a generator: keeps its stream apart from those of order and augmentation


@dataclass(frozen=True, slots=True)
class Totals:
    """Size of a step, summed over micro-batches and ranks; known before the first forward pass."""

    weight: float
    supervised: int
    tokens: int
    samples: int
    images: int
    work: Work = field(default_factory=Work)


@dataclass(frozen=True, slots=True)
class StepResult:
    """Result of one optimiser step."""

    loss: float
    token_accuracy: float
    grad_norm: float
    learning_rates: Mapping[Tower, float]
    totals: Totals
    seconds: float
    stop: bool
    """Whether some rank was asked to stop."""
    outputs: tuple[LossOutput, ...] = ()
    """Loss of each micro-batch of this rank, in the memory of the host. Empty where nothing was trained."""


@dataclass(eq=False)
class Learner:
    """Everything that a step acts on.

    Args:
        accelerator: Ranks and devices.
        module: `SupervisedLoss` as Accelerate prepared it.
        parameters: The parameters that train, by name.
        optimizer: Over `parameters`.
        max_grad_norm: The global gradient norm is clipped to this.
        seed: Of dropout.
        unproven: Towers that train but had no gradient yet; the first steps empty it.
        base_digest: Digest of the weights that training began with; see `dcap.model.fingerprint`.
    """

    accelerator: Accelerator
    module: torch.nn.Module
    parameters: Mapping[str, torch.nn.Parameter]
    optimizer: torch.optim.Optimizer
    max_grad_norm: float
    seed: int
    unproven: set[Tower]
    base_digest: str = ""

    @cached_property  # Accelerate looks through all modules for it
    def bare_module(self) -> SupervisedLoss:
        """The module without Accelerate's wrappers."""
        module = self.accelerator.unwrap_model(self.module)
        assert isinstance(module, SupervisedLoss)
        return module


def optimizer_step(
    learner: Learner, batches: Sequence[Batch], step: int, lr_factor: float, stop: Callable[[], bool] = lambda: False
) -> StepResult:
    """Make one update.

    Args:
        learner: Model, optimiser and ranks.
        batches: This rank's micro-batches; every rank has the same number.
        step: Number of the step, from 1.
        lr_factor: Share of the peak learning rates.
        stop: Tells whether this rank was asked to stop; asked after the backward pass, so that a signal during it
            counts, and returned as the "or" over all ranks.

    Raises:
        TrainingError: A batch has no label, or the loss or a gradient is not finite; raised on every rank, before the
            update, with the names of the samples. Or a tower that should train got no gradient. Or the memory of the
            device is too small; raised on its rank, with the row and what to lower.
    """
    start = time.perf_counter()
    accelerator = learner.accelerator
    seed_dropout(learner.seed, step, accelerator.process_index)
    learner.module.train()
    totals = _totals(accelerator, batches, step)
    if not totals.weight:
        return _nothing_to_train_on(learner, totals, step, lr_factor, stop())
    # The first number waits for the device; the others are there by then, and few.
    outputs = [LossOutput(*(each.cpu() for each in o)) for o in _backward(learner, batches, totals.weight, step)]
    if not totals.images:
        _forget_blank_images(learner)
    sums = [sum(float(o.loss_sum) for o in outputs), sum(float(o.num_correct) for o in outputs), float(stop())]
    loss_sum, correct, stops = _sum_over_ranks(accelerator, sums)
    loss = loss_sum / totals.weight
    if not _finite(loss):
        raise TrainingError(_not_finite(batches, outputs, f"step {step}: loss", loss))
    grad_norm = float(torch.nn.utils.clip_grad_norm_(list(learner.parameters.values()), learner.max_grad_norm))
    if not _finite(grad_norm):
        raise TrainingError(_not_finite(batches, outputs, f"step {step}: gradient norm", grad_norm))
    _check_gradients(learner, totals.images > 0)
    rates = set_learning_rates(learner.optimizer, lr_factor)
    with memory_named(learner.bare_module.model, batches, f"step {step}, update"):
        learner.optimizer.step()
    learner.optimizer.zero_grad(set_to_none=True)
    return StepResult(
        loss=loss,
        token_accuracy=correct / totals.supervised,
        grad_norm=grad_norm,
        learning_rates=rates,
        totals=totals,
        seconds=time.perf_counter() - start,
        stop=stops > 0,
        outputs=tuple(outputs),
    )


def _nothing_to_train_on(learner: Learner, totals: Totals, step: int, lr_factor: float, stop: bool) -> StepResult:
    """Count a step whose images were all left out as bad ones; no weight changes."""
    log.warning("step %d: every image of it was left out, so nothing was trained", step)
    (stops,) = _sum_over_ranks(learner.accelerator, [float(stop)])
    rates = set_learning_rates(learner.optimizer, lr_factor)
    return StepResult(
        loss=0.0,
        token_accuracy=0.0,
        grad_norm=0.0,
        learning_rates=rates,
        totals=totals,
        seconds=0.0,
        stop=stops > 0,
    )


@torch.no_grad()
def validate(
    learner: Learner,
    batches: Iterable[Batch],
    stop: Callable[[], bool] = lambda: False,
    told: Callable[[Batch, LossOutput], None] = lambda *_: None,
) -> dict[str, float] | None:
    """Return ``eval/loss`` and ``eval/token_accuracy``, weighted by tokens over all ranks, and their parts.

    Args:
        learner: Model and ranks.
        batches: This rank's; every rank has the same number.
        stop: Tells whether this rank was asked to stop; asked before each batch. When some rank was, all of them
            stop and return `None`.
        told: Called with each batch and its loss, on the device.

    Raises:
        TrainingError: There is no label in the whole validation set, its loss is not finite, or the memory of the
            device is too small for a batch.
    """
    module = learner.bare_module
    module.eval()
    parts = LossParts()
    for batch in batches:
        if on_some_rank(learner.accelerator, stop()):
            return None
        with memory_named(module.model, [batch], "validation"):
            output = module(**model_inputs(batch, learner.accelerator.device))
        parts.add(batch, output)
        told(batch, output)
    parts = parts.over_ranks()
    whole = parts.whole
    if not whole.weight > 0:
        raise TrainingError("validation must have at least one supervised token of positive weight, not none")
    if not _finite(whole.loss):
        raise TrainingError(f"validation loss must be finite, not {whole.loss}")
    metrics = {"eval/loss": whole.loss, "eval/token_accuracy": whole.token_accuracy}
    return metrics | parts.validation_metrics()


def seed_dropout(seed: int, step: int, rank: int) -> None:
    """Make dropout a pure function of seed, step and rank, whatever else drew random numbers in between."""
    torch.manual_seed(int(generator(seed, step, rank, _DROPOUT).integers(2**63)))


def _backward(learner: Learner, batches: Sequence[Batch], total_weight: float, step: int) -> list[LossOutput]:
    """Run forward and backward over the micro-batches; ranks exchange gradients in the last one only."""
    accelerator, outputs = learner.accelerator, []
    for i, batch in enumerate(batches):
        last = i == len(batches) - 1
        named = memory_named(learner.bare_module.model, [batch], f"step {step}")
        with named, contextlib.nullcontext() if last else accelerator.no_sync(learner.module):
            output = learner.module(**model_inputs(batch, accelerator.device))
            # Ranks average their gradients, where the sum is wanted.
            accelerator.backward(output.loss_sum * (accelerator.num_processes / total_weight))
        outputs.append(output._replace(loss_sum=output.loss_sum.detach()))
    return outputs


def _forget_blank_images(learner: Learner) -> None:
    """Drop the gradients of a vision side that saw no image: AdamW would make a step by the zeros of blank ones."""
    for name, parameter in learner.parameters.items():
        if tower_of(name) != "llm":
            parameter.grad = None


def _weights(batch: Batch) -> tuple[float, int]:
    """Return the weight and the number of the supervised positions that count."""
    weights = batch["loss_weights"][:, 1:][batch["labels"][:, 1:] != IGNORE_INDEX]
    return float(weights.double().sum()), int((weights > 0).sum())


def _totals(accelerator: Accelerator, batches: Sequence[Batch], step: int) -> Totals:
    sums, work = [0.0] * 6, Work()
    for batch in batches:
        images = len(batch["image_grid_thw"]) if "image_grid_thw" in batch else 0
        fillers = sum(sample.sample_id == FILLER for sample in batch["samples"])
        # A filler, in place of a missing row or image, is nothing that was trained on.
        num = sum(sample.weight > 0 for sample in batch["samples"])
        counts = (*_weights(batch), num, images, len(_unlabelled(batch)), fillers)
        sums = [a + b for a, b in zip(sums, counts, strict=True)]
        work += Work.of(batch)
    summed = _sum_over_ranks(accelerator, [*sums, *astuple(work)])
    work = Work(*map(int, summed[len(sums) :]))
    *counted, num_unlabelled, num_fillers = summed[: len(sums)]
    weight, supervised, num_samples, num_images = counted
    # Where all images of a row were bad, the row is a filler. A step may consist of fillers alone.
    if num_unlabelled or not (weight > 0 or num_fillers):
        local = [n for b in batches for n in (_unlabelled(b) if num_unlabelled else _names(b))]
        names = ", ".join(gather_object(local))
        raise TrainingError(f"step {step}: a sample must have at least one supervised token, not none: look at {names}")
    return Totals(
        weight=weight,
        supervised=int(supervised),
        tokens=work.tokens,
        samples=int(num_samples),
        images=int(num_images),
        work=work,
    )


def _names(batch: Batch) -> list[str]:
    return [sample.sample_id for sample in batch["samples"]]


def _unlabelled(batch: Batch) -> list[str]:
    if not (batch["labels"] != IGNORE_INDEX).any():
        return _names(batch)
    return [sample.sample_id for sample in batch["samples"] if not sample.num_supervised]


def _sum_over_ranks(accelerator: Accelerator, values: Sequence[float]) -> list[float]:
    tensor = torch.tensor([float(v) for v in values], dtype=torch.float64, device=accelerator.device)
    summed: list[float] = accelerator.reduce(tensor, "sum").tolist()
    return summed


def on_some_rank(accelerator: Accelerator, flag: bool) -> bool:
    """Whether `flag` is set on at least one rank; all of them must ask."""
    return _sum_over_ranks(accelerator, [float(flag)])[0] > 0


def _finite(value: float) -> bool:
    return value - value == 0.0


def _not_finite(batches: Sequence[Batch], outputs: Sequence[LossOutput], what: str, value: float) -> str:
    """Return the message of a stop. It names the samples with a bad loss or, if none is known, all of the step."""
    names = gather_object([n for b, o in zip(batches, outputs, strict=True) for n in samples_at_fault(b, o)])
    names = names or gather_object([name for batch in batches for name in _names(batch)])
    return f"{what} must be finite, not {value}: look at {', '.join(names)}. The update was not made"


def samples_at_fault(batch: Batch, output: LossOutput) -> list[str]:
    """Return the samples of a batch that have a non-finite loss."""
    bad = output.positions[~output.token_loss.isfinite()].cpu()
    if "cu_seqlens" in batch:
        index = torch.bucketize(bad[:, 1].contiguous(), batch["cu_seqlens"][1:].long(), right=True)
    else:
        index = bad[:, 0]
    return [batch["samples"][i].sample_id for i in sorted(set(index.tolist()))]


def _check_gradients(learner: Learner, had_images: bool) -> None:
    """Stop in the first step that should reach a tower and does not; without images only the language model is."""
    expected = {tower for tower in learner.unproven if had_images or tower == "llm"}
    if not expected:
        return
    # At the start B = 0, so LoRA's A has a zero gradient while its B does not: one of a tower is enough.
    alive = {
        tower_of(name)
        for name, p in learner.parameters.items()
        if p.grad is not None and tower_of(name) in expected and bool(p.grad.any())
    }
    if expected - alive:
        dead = sorted(expected - alive)[0]
        raise TrainingError(
            f"the {dead} must get a gradient in its first step, but every one is zero or missing. "
            f"Set model.freeze_{dead}=true, or check model.adapter"
        )
    learner.unproven -= expected
