"""One optimiser step over micro-batches and ranks, and one validation pass.

The loss of a step is the weighted sum over all its supervised tokens, divided once by the sum of their weights over
all micro-batches and ranks. How samples fall into rows and rows onto ranks therefore does not change it. The distance
from a teacher is added in the same way, with a denominator of its own.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, field
from functools import cached_property
from typing import Any

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
from dcap.train.distill_config import DistillConfig
from dcap.train.loss import LossOutput, SupervisedLoss, model_inputs
from dcap.train.loss_parts import LossParts
from dcap.train.optimizer import set_learning_rates
from dcap.train.out_of_memory import memory_named
from dcap.train.teacher_parts import TeacherParts
from dcap.train.token_weights import teacher_weights, visual_weights
from dcap.train.vision_distance import rows_of

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
    teacher_weight: float = 0.0
    """Sum of the weights in the distance from the teacher."""
    visual_tokens: float = 0.0
    """Visual tokens in the distances of features."""


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
    teacher_seconds: float = 0.0
    """What the forward passes of the teacher took of `seconds`."""


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
        distill: How close the model is held to its teacher, which `module` has. `None`: there is none.
        vision_weights: Weight of each distance of visual features, by its name.
    """

    accelerator: Accelerator
    module: torch.nn.Module
    parameters: Mapping[str, torch.nn.Parameter]
    optimizer: torch.optim.Optimizer
    max_grad_norm: float
    seed: int
    unproven: set[Tower]
    base_digest: str = ""
    distill: DistillConfig | None = None
    vision_weights: Mapping[str, float] = field(default_factory=dict)

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
    totals = _totals(accelerator, batches, step, learner.distill)
    if not totals.weight:
        return _nothing_to_train_on(learner, totals, step, lr_factor, stop())
    # The first number waits for the device; the others are there by then, and few.
    outputs = [output.on_host() for output in _backward(learner, batches, totals, step)]
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
        teacher_seconds=_teacher_seconds(learner),
    )


def _teacher_seconds(learner: Learner) -> float:
    teacher = learner.bare_module.teacher
    return 0.0 if teacher is None else teacher.take_seconds()


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

    With a teacher, also the distance from it as ``eval/kd/...``.

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
    parts, from_teacher = LossParts(), TeacherParts()
    for batch in batches:
        if on_some_rank(learner.accelerator, stop()):
            return None
        with memory_named(module.model, [batch], "validation"):
            output = module(**_inputs(learner, batch))
        parts.add(batch, output)
        if learner.distill is not None:
            from_teacher.add(batch, output, learner.distill)
        told(batch, output)
    parts = parts.over_ranks()
    whole = parts.whole
    if not whole.weight > 0:
        raise TrainingError("validation must have at least one supervised token of positive weight, not none")
    if not _finite(whole.loss):
        raise TrainingError(f"validation loss must be finite, not {whole.loss}")
    metrics = {"eval/loss": whole.loss, "eval/token_accuracy": whole.token_accuracy}
    metrics |= parts.validation_metrics()
    if learner.distill is None:
        return metrics
    _teacher_seconds(learner)  # those of the next step begin at 0
    return metrics | {f"eval/{k}": v for k, v in from_teacher.over_ranks().metrics(learner.distill).items()}


def seed_dropout(seed: int, step: int, rank: int) -> None:
    """Make dropout a pure function of seed, step and rank, whatever else drew random numbers in between."""
    torch.manual_seed(int(generator(seed, step, rank, _DROPOUT).integers(2**63)))


def _backward(learner: Learner, batches: Sequence[Batch], totals: Totals, step: int) -> list[LossOutput]:
    """Run forward and backward over the micro-batches; ranks exchange gradients in the last one only."""
    accelerator, outputs = learner.accelerator, []
    for i, batch in enumerate(batches):
        last = i == len(batches) - 1
        named = memory_named(learner.bare_module.model, [batch], f"step {step}")
        with named, contextlib.nullcontext() if last else accelerator.no_sync(learner.module):
            output = learner.module(**_inputs(learner, batch))
            # Ranks average their gradients, where the sum is wanted.
            loss = output.loss_sum * (accelerator.num_processes / totals.weight)
            for term, share in _further_terms(learner, output, totals):
                loss = loss + term * (accelerator.num_processes * share)
            accelerator.backward(loss)
        outputs.append(output.without_graph())
    return outputs


def _further_terms(learner: Learner, output: LossOutput, totals: Totals) -> Iterator[tuple[torch.Tensor, float]]:
    """Yield the sums of a micro-batch that are added to its loss, each with its weight over its whole denominator."""
    if learner.distill is None:
        return
    if output.compared is not None and totals.teacher_weight:
        yield output.compared.divergence_sum, learner.distill.weight / totals.teacher_weight
    for name, apart in output.vision_apart.items():
        if totals.visual_tokens:
            yield apart, learner.vision_weights[name] / rows_of(name, totals.visual_tokens)


def _inputs(learner: Learner, batch: Batch) -> dict[str, Any]:
    """Return the arguments of the module for a batch."""
    device = learner.accelerator.device
    inputs = model_inputs(batch, device)
    if learner.distill is None:
        return inputs
    weights, visual = teacher_weights(batch, learner.distill), visual_weights(batch, learner.distill)
    # Where ranks share the weights out, all must run the teacher, as a layer is put together on all of them.
    if learner.bare_module.shares_weights or bool(weights.any()) or bool(visual.any()):
        inputs["teacher_weights"] = weights.to(device, non_blocking=True)
        inputs["visual_weights"] = visual.to(device, non_blocking=True)
    return inputs


def _forget_blank_images(learner: Learner) -> None:
    """Drop the gradients of a vision side that saw no image: AdamW would make a step by the zeros of blank ones."""
    for name, parameter in learner.parameters.items():
        if tower_of(name) != "llm":
            parameter.grad = None


def _weights(batch: Batch) -> tuple[float, int]:
    """Return the weight and the number of the supervised positions that count."""
    weights = batch["loss_weights"][:, 1:][batch["labels"][:, 1:] != IGNORE_INDEX]
    return float(weights.double().sum()), int((weights > 0).sum())


def _totals(accelerator: Accelerator, batches: Sequence[Batch], step: int, distill: DistillConfig | None) -> Totals:
    sums, work = [0.0] * 8, Work()
    for batch in batches:
        images = len(batch["image_grid_thw"]) if "image_grid_thw" in batch else 0
        fillers = sum(sample.sample_id == FILLER for sample in batch["samples"])
        # A filler, in place of a missing row or image, is nothing that was trained on.
        num = sum(sample.weight > 0 for sample in batch["samples"])
        held = 0.0 if distill is None else float(teacher_weights(batch, distill)[:, 1:].double().sum())
        visual = 0.0 if distill is None else float(visual_weights(batch, distill).sum())
        counts = (*_weights(batch), num, images, held, visual, len(_unlabelled(batch)), fillers)
        sums = [a + b for a, b in zip(sums, counts, strict=True)]
        work += Work.of(batch)
    summed = _sum_over_ranks(accelerator, [*sums, *astuple(work)])
    work = Work(*map(int, summed[len(sums) :]))
    *counted, num_unlabelled, num_fillers = summed[: len(sums)]
    weight, supervised, num_samples, num_images, teacher_weight, visual_tokens = counted
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
        teacher_weight=teacher_weight,
        visual_tokens=visual_tokens,
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
