"""Memory of one layer in training, counted on fake tensors: without weights and without a device.

The layer runs forward and backward on fake tensors, which have shapes but no numbers. The bytes that autograd keeps are
counted. So the count follows the model's own code, its adapters and autocast.

Fake tensors are on the CPU. Its kernels differ from CUDA's in some places, and the count corrects for them::

    attention    every kernel for packed rows keeps q, k, v, its output, and a float32 per head and position
    layer norm   CUDA's autocast runs it in float32, so that it keeps a float32 copy of its input
    dropout      CUDA keeps one byte per number
    experts      the product of tokens with the matrices of their experts has no fake form in float32
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import astuple, dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F  # noqa: N812 - the usual name
from torch.func import functional_call
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from dcap.augment.patches import PATCH

I64 = npt.NDArray[np.int64]

PROBES = (1024, 2048)
"""Numbers of positions of the two runs. The bytes per position and the fixed bytes follow from them."""
PATCH_VALUES = 3 * PATCH**2
"""Numbers of a patch as the vision tower takes it, one time step."""
_ATTENTION = "dcap_counted_flash"  # "flash": transformers hands the whole row over in one call


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
        num_shares: Devices that share the weights out, by FSDP. 1: each holds all of them.
        reshards: Whether those let go of a layer's weights between its forward and its backward pass.
        quantised: Whether the linear layers of the language model are in 4 bits.
        moments_in_8_bits: Whether the optimiser keeps its moments in 8 bits.
        has_teacher: Whether the loss has a distance from a teacher.
        teacher_bytes: Weights of the teacher, where it is not the model with its adapters off.
    """

    dtype: torch.dtype
    activation_checkpointing: bool
    loss_chunk_tokens: int
    cuda: bool = True
    num_shares: int = 1
    reshards: bool = True
    quantised: bool = False
    moments_in_8_bits: bool = False
    has_teacher: bool = False
    teacher_bytes: int = 0

    @property
    def half(self) -> bool:
        """Whether the forward pass runs under autocast."""
        return self.dtype.itemsize == 2


Unit = Literal["token", "patch"]
"""Unit of a position of a module."""
Inputs = Callable[[int], tuple[torch.Tensor, dict[str, Any]]]
"""Gives a module's first argument and its keywords for a number of positions; fake tensors."""


class LayerCost(NamedTuple):
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


def measure_layer(
    module: torch.nn.Module, inputs: Inputs, unit: Unit, step: MemoryStep, *, sees_gradient: bool
) -> LayerCost:
    """Run a module with two numbers of positions. Its bytes per position and its fixed bytes follow from them.

    Args:
        module: A layer of a model that is `ready_to_count`; its weights may be on the meta device.
        inputs: Its inputs.
        unit: What a position is.
        step: How a step is made.
        sees_gradient: Whether the input needs a gradient.
    """
    low, high = PROBES
    first, second = (_run(module, *inputs(length), step, sees_gradient) for length in PROBES)

    def per_row(name: str) -> PerRow:
        slope = (second[name] - first[name]) / (high - low)
        fixed = first[name] - slope * low
        return PerRow(token=slope, fixed=fixed) if unit == "token" else PerRow(patch=slope, fixed=fixed)

    grown = {name: per_row(name) for name in ("kept", "shared", "inputs", "working")}
    return LayerCost(**grown, casts=first["casts"])


def _run(
    module: torch.nn.Module, hidden: torch.Tensor, keywords: dict[str, Any], step: MemoryStep, sees_gradient: bool
) -> dict[str, int]:
    """Run a module forward and backward on fake tensors, and return the bytes that `LayerCost` names."""
    weights = _fake_weights(module)
    places = {storage_of(each) for each in weights.values()}
    shared = {storage_of(each) for each in tree_leaves(keywords) if isinstance(each, torch.Tensor)}
    hidden.requires_grad_(sees_gradient)
    live = LiveBytes(casts_of={storage_of(each) for each in weights.values() if each.requires_grad})
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
    still = {storage_of(each): each.untyped_storage().nbytes() for ref in saved if (each := ref()) is not None}
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


def call_fake(module: torch.nn.Module, *args: torch.Tensor) -> Any:
    """Return what a module gives for fake tensors, whatever its own weights are."""
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


def storage_of(tensor: torch.Tensor) -> int:
    """Return the place of a tensor's memory, which its views share."""
    return int(tensor.untyped_storage()._cdata)


class LiveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Tracks the bytes of all live tensors, their maximum, and which tensors are casts of weights.

    Args:
        casts_of: Storages of the weights.

    Attributes:
        alive: Bytes of each live storage.
        casts: Those that are casts of weights.
        now: Bytes of all live storages.
        most: Most of them at any time.
    """

    def __init__(self, casts_of: Collection[int]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.casts_of = casts_of
        self.casts: dict[int, int] = {}
        self.alive: dict[int, int] = {}
        self.now = self.most = 0

    def add(self, tensor: torch.Tensor) -> None:
        """Count a tensor that was there before."""
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
        if function is torch.ops.aten._to_copy.default and storage_of(args[0]) in self.casts_of:
            self.casts[storage_of(out)] = out.untyped_storage().nbytes()
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
        stack.enter_context(_AsInTraining(step))
        yield


class _AsInTraining(TorchFunctionMode):
    """Makes layer norm and dropout keep what they keep on CUDA, and counts products with experts.

    Args:
        step: Says whether it is for CUDA, and in what precision.
    """

    def __init__(self, step: MemoryStep) -> None:
        super().__init__()
        self.step = step

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if function is torch._grouped_mm:
            product: Any = _ExpertProduct.apply
            return product(*args[:2])
        if not self.step.cuda:
            return function(*args, **kwargs)
        if function is F.layer_norm and self.step.half:
            return F.layer_norm(args[0].float(), *args[1:], **kwargs)
        if function is F.dropout:
            given = dict(zip(("input", "p", "training", "inplace"), args, strict=False)) | kwargs
            return torch.native_dropout(given["input"], given.get("p", 0.5), given.get("training", True))[0]
        return function(*args, **kwargs)


class _ExpertProduct(torch.autograd.Function):
    """Inputs and output of tokens times the matrices of their experts, without the arithmetic."""

    @staticmethod
    def forward(ctx: Any, tokens: torch.Tensor, matrices: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(tokens, matrices)
        return tokens.new_empty(len(tokens), matrices.shape[-1])

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        return torch.empty_like(ctx.saved_tensors[0]), None


@contextmanager
def ready_to_count(base: Any) -> Iterator[None]:
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
