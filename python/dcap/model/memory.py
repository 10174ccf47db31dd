"""Memory of training on one device, counted without weights and without a device.

One layer of each kind runs forward and backward on fake tensors, which have shapes but no numbers. The bytes that
autograd keeps are counted. So the count follows the model's own code, its adapters and autocast, and takes seconds for
any size. The tests compare it, and the peak of whole steps, with small models on the CPU; nothing was compared with a
GPU.

Fake tensors are on the CPU. Its kernels differ from CUDA's in three places, and the count corrects for them::

    attention    every kernel for packed rows keeps q, k, v, its output, and a float32 per head and position
    layer norm   CUDA's autocast runs it in float32, so that it keeps a float32 copy of its input
    dropout      CUDA keeps one byte per number
"""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import astuple, dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F  # noqa: N812 - the usual name
from torch.func import functional_call
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from dcap.augment.patches import PATCH, TEMPORAL
from dcap.model.lora import bare_model

I64 = npt.NDArray[np.int64]

PROBES = (1024, 2048)
"""Numbers of positions of the two runs. The bytes per position and the fixed bytes follow from them."""
_PATCH_VALUES = 3 * TEMPORAL * PATCH**2
_ATTENTION = "dcap_counted_flash"  # "flash": transformers hands the whole row over in one call


@dataclass(frozen=True, slots=True)
class Weights:
    """Bytes that do not depend on the data; exact."""

    frozen: int
    """Weights that do not train, in the model's dtype."""
    trained: int
    """Weights that train, float32."""
    gradients: int
    """One float32 for each weight that trains."""
    moments: int
    """Two float32 for each: AdamW's."""

    @classmethod
    def of(cls, model: torch.nn.Module) -> Weights:
        """Count the parameters of an adapted model, tied ones once; it may be on the meta device."""
        frozen = sum(p.nbytes for p in model.parameters() if not p.requires_grad)
        trained = [p for p in model.parameters() if p.requires_grad]
        count = sum(p.numel() for p in trained)
        return cls(frozen, sum(p.nbytes for p in trained), 4 * count, 8 * count)


@dataclass(frozen=True, slots=True)
class PerRow:
    """Bytes that grow with a row."""

    token: float = 0.0
    """Per token."""
    patch: float = 0.0
    """Per vision patch."""
    label: float = 0.0
    """Per supervised token."""
    fixed: float = 0.0
    """Whatever the row."""

    def __add__(self, other: PerRow) -> PerRow:
        return PerRow(*(mine + more for mine, more in zip(astuple(self), astuple(other), strict=True)))

    def __mul__(self, times: int) -> PerRow:
        return PerRow(*(times * value for value in astuple(self)))

    def at(self, rows: MemoryRows) -> I64:
        """Return the bytes for each row, int64 (R,)."""
        grown = self.token * rows.tokens + self.patch * rows.patches + self.label * rows.supervised + self.fixed
        return np.asarray(grown, np.int64)


@dataclass(frozen=True, eq=False, slots=True)
class MemoryRows:
    """Sizes of rows, padding included; int64 (R,) each."""

    tokens: I64
    patches: I64
    supervised: I64


@dataclass(frozen=True, slots=True)
class MemoryStep:
    """The settings of a step that its memory depends on.

    Args:
        dtype: Of the forward pass; below float32 it runs under autocast.
        activation_checkpointing: Whether layers are computed again in the backward pass.
        loss_chunk_tokens: Supervised positions per chunk of logits.
        cuda: Whether it is for CUDA, where layer norms and dropout keep other bytes than on the CPU.
    """

    dtype: torch.dtype
    activation_checkpointing: bool
    loss_chunk_tokens: int
    cuda: bool = True

    @property
    def half(self) -> bool:
        """Whether the forward pass runs under autocast."""
        return self.dtype.itemsize == 2


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
    """One chunk of logits, with their gradient in half precision; and the head's gradient where it trains."""
    patches: int
    """Patches of the row in float32, unless they are among its activations."""
    row: int
    """Index of the heaviest row."""

    @property
    def total(self) -> int:
        """All of it at once."""
        weights = self.weights
        fixed = weights.frozen + weights.trained + weights.gradients + weights.moments
        return fixed + self.casts + self.activations + self.recomputed + self.working + self.loss + self.patches


def estimate_memory(model: Any, step: MemoryStep, rows: MemoryRows) -> MemoryEstimate:
    """Return the memory of training on one device.

    Args:
        model: From `dcap.model.lora.attach`; may be on the meta device.
        step: How a step is made.
        rows: All rows; the heaviest counts.
    """
    cost = measure_step(model, step)
    head = bare_model(model).lm_head.weight
    logits = head.shape[0] * (6 if step.half else 4)
    again = _largest(cost.layers, rows) if step.activation_checkpointing else np.zeros(len(rows.tokens), np.int64)
    parts = {
        "activations": cost.kept.at(rows),
        "recomputed": again,
        "working": _largest(cost.working, rows),
        "loss": np.minimum(step.loss_chunk_tokens, rows.supervised) * logits + _gradient_bytes(head),
        "patches": (0 if cost.keeps_patches else 4 * _PATCH_VALUES) * rows.patches,
    }
    row = int(np.argmax(sum(parts.values())))
    largest = {name: int(each[row]) for name, each in parts.items()}
    return MemoryEstimate(weights=Weights.of(model), casts=cost.casts, row=row, **largest)


def _largest(costs: Sequence[PerRow], rows: MemoryRows) -> I64:
    """Return the most bytes of any of the costs for each row: layers are never at work at the same time."""
    zero = np.zeros(len(rows.tokens), np.int64)
    return np.asarray(np.max([zero, *(cost.at(rows) for cost in costs)], axis=0), np.int64)


def _gradient_bytes(head: torch.Tensor) -> int:
    """Return the bytes of the head's gradient, which the loss takes on the spot where the head trains."""
    return 4 * int(head.numel()) if head.requires_grad else 0


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
    keeps_patches: bool
    """Whether the kept bytes include the patches of the row, float32."""


def measure_step(model: Any, step: MemoryStep) -> StepCost:
    """Run one layer of each kind on fake tensors, and return the bytes of the whole model.

    Args:
        model: From `dcap.model.lora.attach`; may be on the meta device. It is left as it was.
        step: How a step is made.
    """
    from torch._subclasses.fake_tensor import FakeTensorMode

    base = bare_model(model)
    with _ready_to_count(base), FakeTensorMode():
        vision = _measure_vision(base, step)
        language = _measure_language(base, step, sees_gradient=vision.gives_gradient)
    head, stream = base.lm_head.weight, base.get_input_embeddings().weight
    hidden_gradient = PerRow(label=stream.element_size() * stream.shape[1], fixed=_gradient_bytes(head))
    return StepCost(
        kept=vision.kept + language.kept + hidden_gradient,
        layers=(*vision.layers, *language.layers),
        working=(*vision.working, *language.working),
        casts=vision.casts + language.casts + (2 * int(head.numel()) if head.requires_grad and step.half else 0),
        keeps_patches=vision.keeps_patches,
    )


Unit = Literal["token", "patch"]
"""Unit of a position of a module."""
Inputs = Callable[[int], tuple[torch.Tensor, dict[str, Any]]]
"""Gives a module's first argument and its keywords for a number of positions."""


@dataclass(slots=True)
class _Tower:
    """Sums over the modules of one tower."""

    unit: Unit
    step: MemoryStep
    gives_gradient: bool
    """Whether the output of the modules so far depends on a weight that trains."""
    kept: PerRow = PerRow()
    layers: list[PerRow] = field(default_factory=list)
    working: list[PerRow] = field(default_factory=list)
    casts: int = 0
    keeps_patches: bool = False

    def add(self, module: torch.nn.Module, inputs: Inputs, count: int = 1) -> None:
        """Add `count` modules like this one, which are never checkpointed."""
        cost = _measure(module, inputs, self.unit, self.step, sees_gradient=self.gives_gradient)
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
            cost = _measure(examples[kind], inputs, self.unit, self.step, sees_gradient=kind[1])
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
        turns = _call(text.rotary_emb, hidden, torch.empty(3, 1, length, dtype=torch.int64))
        return hidden, {"position_embeddings": turns, "attention_mask": None}

    tower = _Tower("token", step, sees_gradient or embedding.requires_grad)
    tower.add_layers(text.layers, layer_inputs)
    tower.add(text.norm, states)
    return tower


def _measure_vision(base: Any, step: MemoryStep) -> _Tower:
    visual, width = base.model.visual, base.config.vision_config.hidden_size

    def patches(length: int) -> tuple[torch.Tensor, dict[str, Any]]:
        return torch.empty(length, _PATCH_VALUES), {}

    def states(length: int) -> tuple[torch.Tensor, dict[str, Any]]:
        return torch.empty(length, width, dtype=step.dtype), {}

    def block_inputs(length: int) -> tuple[torch.Tensor, dict[str, Any]]:
        hidden, _ = states(length)
        turns = _call(visual.rotary_pos_emb, hidden, torch.empty(length, 2, dtype=torch.int64))
        bounds = torch.empty(2, dtype=torch.int32)
        return hidden, {"position_embeddings": turns, "cu_seqlens": bounds, "max_seqlen": length}

    tower = _Tower("patch", step, gives_gradient=False)
    tower.add(visual.patch_embed, patches)
    tower.keeps_patches = tower.kept.patch >= 4 * _PATCH_VALUES
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


class _Cost(NamedTuple):
    """Bytes of one module."""

    kept: PerRow
    """Bytes that autograd saves, without weights and their copies, and without tensors that all layers share."""
    shared: PerRow
    """Bytes that autograd saves of the keywords, which all layers share."""
    inputs: PerRow
    """The first argument."""
    working: PerRow
    """Most bytes that the backward pass holds at once, beyond the kept ones."""
    casts: int
    """Copies of weights in half precision."""


def _measure(module: torch.nn.Module, inputs: Inputs, unit: Unit, step: MemoryStep, *, sees_gradient: bool) -> _Cost:
    """Run a module with two numbers of positions. Its bytes per position and its fixed bytes follow from them."""
    low, high = PROBES
    first, second = (_run(module, *inputs(length), step, sees_gradient) for length in PROBES)

    def per_row(name: str) -> PerRow:
        slope = (second[name] - first[name]) / (high - low)
        fixed = first[name] - slope * low
        return PerRow(token=slope, fixed=fixed) if unit == "token" else PerRow(patch=slope, fixed=fixed)

    grown = {name: per_row(name) for name in ("kept", "shared", "inputs", "working")}
    return _Cost(**grown, casts=first["casts"])


def _run(
    module: torch.nn.Module, hidden: torch.Tensor, keywords: dict[str, Any], step: MemoryStep, sees_gradient: bool
) -> dict[str, int]:
    """Run a module forward and backward on fake tensors, and return the bytes that `_Cost` names."""
    weights = _fake_weights(module)
    places = {_place(each) for each in weights.values()}
    shared = {_place(each) for each in tree_leaves(keywords) if isinstance(each, torch.Tensor)}
    hidden.requires_grad_(sees_gradient)
    live = _LiveBytes(casts_of={_place(each) for each in weights.values() if each.requires_grad})
    saved: list[weakref.ref[torch.Tensor]] = []

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        saved.append(weakref.ref(tensor))
        return tensor

    for tensor in (hidden, *weights.values()):
        live.add(tensor)
    with live, _autocast(step), torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        out = functional_call(module, weights, (hidden,), keywords)
        casts = dict(live.casts)  # while autocast still has them
    out = out[0] if isinstance(out, tuple) else out
    # Tensors that a dead end of the graph saved, such as DoRA's norm, are freed again.
    still = {_place(each): each.untyped_storage().nbytes() for ref in saved if (each := ref()) is not None}
    left_out = places | shared | casts.keys()
    kept = sum(count for place, count in still.items() if place not in left_out)
    before, live.most = live.now, live.now
    if out.requires_grad:
        with live:
            out.backward(torch.empty_like(out))
    return {
        "kept": kept,
        "shared": sum(count for place, count in still.items() if place in shared),
        "inputs": hidden.nbytes,
        "working": live.most - before,
        "casts": sum(casts.values()),
    }


def _call(module: torch.nn.Module, *args: torch.Tensor) -> Any:
    return functional_call(module, _fake_weights(module), args)


def _fake_weights(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Return a fake tensor for each weight and buffer; those that train have a gradient already."""
    fake: dict[str, torch.Tensor] = {}
    for name, weight in module.named_parameters():
        each = torch.nn.Parameter(torch.empty(weight.shape, dtype=weight.dtype), requires_grad=weight.requires_grad)
        if weight.requires_grad:
            each.grad = torch.empty_like(each)
        fake[name] = each
    return fake | {name: torch.empty(each.shape, dtype=each.dtype) for name, each in module.named_buffers()}


def _place(tensor: torch.Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


class _LiveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Tracks the bytes of all live tensors, their maximum, and which tensors are casts of weights."""

    def __init__(self, casts_of: set[int]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.casts_of = casts_of
        self.casts: dict[int, int] = {}
        self.alive: dict[int, int] = {}
        self.now = self.most = 0

    def add(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage._cdata not in self.alive:
            self.alive[storage._cdata] = storage.nbytes()
            self.now += storage.nbytes()
            self.most = max(self.most, self.now)
            weakref.finalize(storage, self._drop, storage._cdata)

    def _drop(self, place: int) -> None:
        self.now -= self.alive.pop(place)
        self.casts.pop(place, None)  # the next storage may be at the same place

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = function(*args, **(kwargs or {}))
        if function is torch.ops.aten._to_copy.default and _place(args[0]) in self.casts_of:
            self.casts[_place(out)] = out.untyped_storage().nbytes()
        for leaf in tree_leaves(out):
            if isinstance(leaf, torch.Tensor):
                self.add(leaf)
        return out


@contextmanager
def _autocast(step: MemoryStep) -> Iterator[None]:
    """Run as a step on the device would, although fake tensors are on the CPU."""
    with ExitStack() as stack:
        if step.half:
            stack.enter_context(torch.autocast("cpu", dtype=step.dtype))
        if step.cuda:
            stack.enter_context(_AsOnCuda(step.half))
        yield


class _AsOnCuda(TorchFunctionMode):
    """Makes layer norm and dropout keep what they keep on CUDA."""

    def __init__(self, half: bool) -> None:
        super().__init__()
        self.half = half

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if function is F.layer_norm and self.half:
            return F.layer_norm(args[0].float(), *args[1:], **kwargs)
        if function is F.dropout:
            given = dict(zip(("input", "p", "training", "inplace"), args, strict=False)) | kwargs
            return torch.native_dropout(given["input"], given.get("p", 0.5), given.get("training", True))[0]
        return function(*args, **kwargs)


@contextmanager
def _ready_to_count(base: Any) -> Iterator[None]:
    """Put the model into training mode, without checkpointing, and with an attention that only keeps tensors."""
    from transformers import AttentionInterface

    AttentionInterface.register(_ATTENTION, _attend)
    parts = ("text_config", "vision_config")
    before, training = {part: getattr(base.config, part)._attn_implementation for part in parts}, base.training
    checkpointed = [each for each in base.modules() if getattr(each, "gradient_checkpointing", False)]
    try:
        base.train()
        base.set_attn_implementation(dict.fromkeys(parts, _ATTENTION))
        for each in checkpointed:
            each.gradient_checkpointing = False
        yield
    finally:
        for each in checkpointed:
            each.gradient_checkpointing = True
        base.set_attn_implementation(before)
        base.train(training)


def _attend(_: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *args: Any, **__: Any) -> Any:
    apply: Any = _Attention.apply
    return apply(query, key, value), None


class _Attention(torch.autograd.Function):
    """Attention's inputs, outputs and memory, without its arithmetic."""

    @staticmethod
    def forward(ctx: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        out = torch.empty_like(query.transpose(1, 2), memory_format=torch.contiguous_format)
        ctx.save_for_backward(query, key, value, out, query.new_empty(query.shape[:3], dtype=torch.float32))
        return out

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(torch.empty_like(each) for each in ctx.saved_tensors[:3])
