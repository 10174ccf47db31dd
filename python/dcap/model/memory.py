"""Memory of training on one device, counted without weights and without a device.

One layer of each kind is measured on fake tensors (`dcap.model.layer_cost`), so the count takes seconds for any size.
The tests compare the count, and the peak of whole steps, with small models on the CPU. Nothing was compared with a GPU.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import astuple, dataclass, field
from typing import Any

import numpy as np
import torch

from dcap.model.layer_cost import (
    I64,
    PATCH_VALUES,
    Inputs,
    MemoryRows,
    MemoryStep,
    PerRow,
    Unit,
    call_fake,
    measure_layer,
    ready_to_count,
)
from dcap.model.lora import bare_model, layers
from dcap.model.quantization import is_quantised, quantised_bytes

MIN_8BIT_SIZE = 4096
"""Weights with fewer numbers have moments in float32, also where those of others are in 8 bits."""
MOMENT_BLOCK = 256
"""Numbers of a moment in 8 bits that share a scale."""


@dataclass(frozen=True, slots=True)
class Weights:
    """Bytes that do not depend on the data; exact. Where devices share the weights out: those of the largest part."""

    frozen: int
    """Weights that do not train, in the model's dtype."""
    trained: int
    """Weights that train, float32."""
    gradients: int
    """One float32 for each weight that trains."""
    moments: int
    """AdamW's: two float32 for each, or two bytes and a scale for each 256 numbers."""

    @classmethod
    def of(
        cls, model: torch.nn.Module, num_shares: int = 1, *, quantised: bool = False, moments_in_8_bits: bool = False
    ) -> Weights:
        """Count the parameters of an adapted model, tied ones once.

        Args:
            model: May be on the meta device.
            num_shares: Devices that share them out, each weight by its rows.
            quantised: Whether the linear layers of the language model will be in 4 bits; `model` has them as they are.
            moments_in_8_bits: As `MemoryStep`.
        """
        counts = {p: math.ceil(len(p) / num_shares) * p[0].numel() for p in model.parameters()}
        in_4_bits = {p for name, p in model.named_parameters() if quantised and is_quantised(name)}
        trained = [p for p in counts if p.requires_grad]
        frozen = sum(
            quantised_bytes(count) if p in in_4_bits else count * p.itemsize
            for p, count in counts.items()
            if not p.requires_grad
        )
        count = sum(counts[p] for p in trained)
        moments = sum(map(_moments_of_8_bits, (counts[p] for p in trained))) if moments_in_8_bits else 8 * count
        return cls(frozen, sum(counts[p] * p.itemsize for p in trained), 4 * count, moments)

    @property
    def total(self) -> int:
        """All of them."""
        return self.frozen + self.trained + self.gradients + self.moments


def _moments_of_8_bits(num_values: int) -> int:
    """Return the bytes of a weight's moments, as bitsandbytes keeps them: small ones in float32."""
    if num_values < MIN_8BIT_SIZE:
        return 8 * num_values
    return 2 * (num_values + 4 * math.ceil(num_values / MOMENT_BLOCK))


@dataclass(frozen=True, slots=True)
class MemoryEstimate:
    """Bytes of one device when its heaviest row is trained on; all but `weights` is estimated."""

    weights: Weights
    casts: int
    """Copies of trained weights in half precision, which autocast keeps through the forward pass."""
    activations: int
    """Bytes that the forward pass of the heaviest row keeps for the backward pass."""
    recomputed: int
    """Bytes that one layer keeps when activation checkpointing computes it again; 0 without checkpointing."""
    working: int
    """Most bytes that the backward pass of one layer holds at once, beyond those that the forward pass kept."""
    loss: int
    """One chunk of logits, with their gradient in half precision; and the head's gradient where it trains. With a
    teacher: its logits too, and what both are compared in."""
    patches: int
    """Patches of the row, as bytes."""
    row: int
    """Index of the heaviest row."""
    teacher: int = 0
    """Exact: weights of a teacher that is another model."""
    made_anew: int = 0
    """The largest matrix of 4 bits in the precision of the pass, as a layer makes it."""
    together: int = 0
    """Whole weights and gradients that are put together at a time, where devices share them out."""
    start: int = 0
    """Exact: the whole model, which each device holds before the weights are shared out. 0 where they are not."""

    @property
    def total(self) -> int:
        """All of it at once, or the start where that is more."""
        parts = (
            self.casts, self.activations, self.recomputed, self.working, self.loss, self.patches, self.made_anew,
            self.together, self.teacher,
        )  # fmt: skip
        return max(self.weights.total + sum(parts), self.start)


def estimate_memory(model: Any, step: MemoryStep, rows: MemoryRows) -> MemoryEstimate:
    """Return the memory of training on one device.

    Args:
        model: From `dcap.model.lora.attach`; may be on the meta device.
        step: How a step is made.
        rows: All rows; the heaviest counts.
    """
    cost = measure_step(model, step)
    head = bare_model(model).lm_head.weight
    logits = head.shape[0] * ((6 if step.half else 4) + step.has_teacher * _COMPARED_BYTES)
    again = _largest(cost.layers, rows) if step.activation_checkpointing else np.zeros(len(rows.tokens), np.int64)
    parts = {
        "activations": cost.kept.at(rows),
        "recomputed": again,
        "working": _largest(cost.working, rows),
        "loss": np.minimum(step.loss_chunk_tokens, rows.supervised) * logits
        + (1 + step.has_teacher) * _gradient_bytes(head),
        "patches": PATCH_VALUES * rows.patches,
    }
    row = int(np.argmax(sum(parts.values())))
    largest = {name: int(each[row]) for name, each in parts.items()} | {"teacher": step.teacher_bytes}
    if step.num_shares == 1:
        weights = Weights.of(model, quantised=step.quantised, moments_in_8_bits=step.moments_in_8_bits)
        return MemoryEstimate(weights=weights, casts=cost.casts, row=row, made_anew=_made_anew(model, step), **largest)
    whole, shares = Weights.of(model), Weights.of(model, step.num_shares)
    return MemoryEstimate(
        weights=shares,
        casts=_casts_of_a_layer(model, step) if step.activation_checkpointing else cost.casts,
        row=row,
        together=_together(model, whole, step),
        start=whole.frozen + whole.trained,
        **largest,
    )


def _made_anew(model: torch.nn.Module, step: MemoryStep) -> int:
    matrices = [p.numel() for name, p in model.named_parameters() if step.quantised and is_quantised(name)]
    return step.dtype.itemsize * max(matrices, default=0)


def _together(model: Any, whole: Weights, step: MemoryStep) -> int:
    """Return the bytes of whole weights and gradients at the worst moment of the backward pass.

    A layer that runs is whole while the weights of the next one arrive, and its gradients are copied to be exchanged.
    What is in no layer is whole all the time, and its gradients are copied last.
    """
    each = [Weights.of(layer) for layer in layers(model)]
    weights, gradients = [one.frozen + one.trained for one in each], [one.gradients for one in each]
    rest = whole.frozen + whole.trained - sum(weights)
    rest_gradients = whole.gradients - sum(gradients)
    fetched = 2 * max(weights) if step.reshards else sum(weights)
    return rest + rest_gradients + max(fetched + 2 * max(gradients), rest_gradients)


def _casts_of_a_layer(model: Any, step: MemoryStep) -> int:
    """Return the bytes of copies in half precision where no copy outlives its layer."""
    parts = (*layers(model), bare_model(model).lm_head)
    return max(Weights.of(part).gradients for part in parts) // 2 if step.half else 0


def _largest(costs: Sequence[PerRow], rows: MemoryRows) -> I64:
    """Return the most bytes of any of the costs for each row: layers are never at work at the same time."""
    zero = np.zeros(len(rows.tokens), np.int64)
    return np.asarray(np.max([zero, *(cost.at(rows) for cost in costs)], axis=0), np.int64)


def _gradient_bytes(head: torch.Tensor) -> int:
    """Return the bytes of the head's gradient, which the loss takes on the spot where the head trains."""
    return 4 * int(head.numel()) if head.requires_grad else 0


_COMPARED_BYTES = 5 * 4
"""Of each logit, in float32: those of the teacher, both distributions, the student's logarithms, and a product."""


@dataclass(frozen=True, slots=True)
class StepCost:
    """Bytes of the forward and backward pass of a row, without weights."""

    kept: PerRow
    """Bytes that the forward pass keeps for the backward pass."""
    layers: tuple[PerRow, ...]
    """Bytes that a layer keeps, for each kind of layer."""
    working: tuple[PerRow, ...]
    """Most bytes that a layer's backward pass holds at once, for each kind of layer."""
    casts: int
    """Copies of trained weights in half precision."""


def measure_step(model: Any, step: MemoryStep) -> StepCost:
    """Run one layer of each kind on fake tensors, and return the bytes of the whole model.

    Args:
        model: From `dcap.model.lora.attach`; may be on the meta device. It is left as it was.
        step: How a step is made.
    """
    from torch._subclasses.fake_tensor import FakeTensorMode

    base = bare_model(model)
    with ready_to_count(base), FakeTensorMode():
        vision = _measure_vision(base, step)
        language = _measure_language(base, step, sees_gradient=vision.gives_gradient)
    head, stream = base.lm_head.weight, base.get_input_embeddings().weight
    gradients = 1 + step.has_teacher  # of the labels, and of the distance
    states = gradients + step.has_teacher  # and the teacher's own
    hidden_gradient = PerRow(
        label=states * stream.element_size() * stream.shape[1], fixed=gradients * _gradient_bytes(head)
    )
    return StepCost(
        kept=vision.kept + language.kept + hidden_gradient,
        layers=(*vision.layers, *language.layers),
        working=(*vision.working, *language.working),
        casts=vision.casts + language.casts + (2 * int(head.numel()) if head.requires_grad and step.half else 0),
    )


@dataclass(slots=True)
class _Tower:
    """Sums over the modules of one tower."""

    unit: Unit
    step: MemoryStep
    gives_gradient: bool
    """Whether the output of the modules so far depends on a weight that trains."""
    kept: PerRow = field(default_factory=PerRow)
    layers: list[PerRow] = field(default_factory=list)
    working: list[PerRow] = field(default_factory=list)
    casts: int = 0

    def add(self, module: torch.nn.Module, inputs: Inputs, count: int = 1) -> None:
        """Add `count` modules like this one, which are never checkpointed."""
        cost = measure_layer(module, inputs, self.unit, self.step, sees_gradient=self.gives_gradient)
        self.kept += cost.kept * count
        self.casts += cost.casts * count

    def add_layers(self, layers: Sequence[torch.nn.Module], inputs: Inputs) -> None:
        """Add the layers, one after the other; one of each kind is run."""
        counts: Counter[tuple[Hashable, bool]] = Counter()
        examples: dict[tuple[Hashable, bool], torch.nn.Module] = {}
        for layer in layers:
            kind = (_kind(layer), self.gives_gradient)
            counts[kind] += 1
            examples[kind] = layer
            self.gives_gradient |= _trains(layer)
        shared = PerRow()
        for kind, count in counts.items():
            cost = measure_layer(examples[kind], inputs, self.unit, self.step, sees_gradient=kind[1])
            checkpointed = self.step.activation_checkpointing and cost.kept != PerRow()
            self.kept += (cost.inputs if checkpointed else cost.kept) * count
            self.casts += cost.casts * count
            self.layers.append(cost.kept)
            self.working.append(cost.working)
            shared = max(shared, cost.shared, key=astuple)
        self.kept += shared


def _measure_language(base: Any, step: MemoryStep, sees_gradient: bool) -> _Tower:
    text, embedding = base.model.language_model, base.get_input_embeddings().weight

    def states(length: int) -> tuple[torch.Tensor, dict[str, Any]]:
        return torch.empty(1, length, embedding.shape[1], dtype=embedding.dtype), {}

    def layer_inputs(length: int) -> tuple[torch.Tensor, dict[str, Any]]:
        hidden, _ = states(length)
        turns = call_fake(text.rotary_emb, hidden, torch.empty(3, 1, length, dtype=torch.int64))
        return hidden, {"position_embeddings": turns, "attention_mask": None}

    tower = _Tower("token", step, sees_gradient or embedding.requires_grad)
    tower.add_layers(text.layers, layer_inputs)
    tower.add(text.norm, states)
    return tower


def _measure_vision(base: Any, step: MemoryStep) -> _Tower:
    visual, width = base.model.visual, base.config.vision_config.hidden_size

    def patches(length: int) -> tuple[torch.Tensor, dict[str, Any]]:
        return torch.empty(length, PATCH_VALUES), {}

    def states(length: int) -> tuple[torch.Tensor, dict[str, Any]]:
        return torch.empty(length, width, dtype=step.dtype), {}

    def block_inputs(length: int) -> tuple[torch.Tensor, dict[str, Any]]:
        hidden, _ = states(length)
        turns = call_fake(visual.rotary_pos_emb, hidden, torch.empty(length, 2, dtype=torch.int64))
        bounds = torch.empty(2, dtype=torch.int32)
        return hidden, {"position_embeddings": turns, "cu_seqlens": bounds, "max_seqlen": length}

    tower = _Tower("patch", step, gives_gradient=False)
    tower.add(visual.patch_embed, patches)
    tower.gives_gradient = _trains(visual.patch_embed) or _trains(visual.pos_embed)
    tower.add_layers(visual.blocks, block_inputs)
    mergers = (visual.merger, *visual.deepstack_merger_list)
    kinds = [_kind(merger) for merger in mergers]
    for kind, count in Counter(kinds).items():
        tower.add(mergers[kinds.index(kind)], states, count)
    tower.gives_gradient |= any(map(_trains, mergers))
    return tower


def _trains(module: torch.nn.Module) -> bool:
    return any(p.requires_grad for p in module.parameters())


def _kind(module: torch.nn.Module) -> Hashable:
    """Return what modules have in common that cost the same."""
    weights = tuple((name, p.shape, p.dtype, p.requires_grad) for name, p in module.named_parameters())
    return weights, tuple(each.p for each in module.modules() if isinstance(each, torch.nn.Dropout))
