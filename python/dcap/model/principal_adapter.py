"""Adapters that begin at the largest part of the weights that they adapt: PiSSA and OLoRA.

::

    W                          weight of the base; it stays as it is
    s B0 A0                    its part where the adapter begins
    W + s B A - s B0 A0        what the layer computes: A and B train, A0 and B0 are frozen beside them
    [B, -B0] [A; A0]           the same as one ordinary adapter of twice the rank: what is saved

PEFT takes s B0 A0 out of W. Then W is rounded once more, and the saved adapter fits no published model. Here W stays,
and what is saved is LoRA on the original base.

Source: Meng et al., "PiSSA: Principal Singular Values and Singular Vectors Adaptation", 2024; Büyükakyüz, "OLoRA:
Orthonormal Low-Rank Adaptation of Large Language Models", 2024.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from dcap.core.errors import ConfigError
from dcap.model.config import AdapterInit

TRAINED = "default"
"""PEFT's name of the adapter that trains."""
START = "principal"
"""Name of the frozen adapter that takes the start of the other one away."""


@torch.no_grad()
def begin_at_principal(adapted: Any, init: AdapterInit) -> None:
    """Let the adapter of a model begin at the principal part of its weights, with a frozen one that takes it away.

    Args:
        adapted: A ``PeftModel`` with a new LoRA adapter. On torch's meta device it gets no values.
        init: Any but ``default``.

    Raises:
        ConfigError: A layer is not linear, or smaller than the rank.
    """
    from peft.tuners.lora import Linear, LoraLayer

    layers = {name: module for name, module in adapted.named_modules() if isinstance(module, LoraLayer)}
    for name, layer in layers.items():
        _check(name.removeprefix("base_model.model."), layer, isinstance(layer, Linear), init)
    settings = adapted.peft_config[TRAINED]
    adapted.add_adapter(START, replace(settings, lora_dropout=0.0, modules_to_save=None))
    for layer in layers.values():
        layer.set_adapter([TRAINED, START])
        for part in (layer.lora_A, layer.lora_B):
            part[START].requires_grad_(False)
        weight = layer.get_base_layer().weight
        if not weight.is_meta:
            a, b = principal_part(weight, layer.r[TRAINED], layer.scaling[TRAINED], init)
            for adapter, sign in ((TRAINED, 1), (START, -1)):
                layer.lora_A[adapter].weight.copy_(a)
                layer.lora_B[adapter].weight.copy_(sign * b)


def principal_part(
    weight: torch.Tensor, rank: int, scale: float, init: AdapterInit
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the matrices A and B with which an adapter begins.

    Args:
        weight: (out, in).
        rank: At most the smaller side.
        scale: The factor of B A in the layer.
        init: ``pissa``, ``pissa_niter_16`` or ``olora``.

    Returns:
        float32 (rank, in) and (out, rank).
    """
    weight = weight.detach().float()
    if init == "olora":
        q, r = torch.linalg.qr(weight)
        return r[:rank], q[:, :rank]
    if init == "pissa":
        u, s, vh = torch.linalg.svd(weight, full_matrices=False)
        u, s, vh = u[:, :rank], s[:rank], vh[:rank]
    else:
        u, s, v = torch.svd_lowrank(weight, rank, niter=16)
        vh = v.T
    root = (s / scale).sqrt()
    return root[:, None] * vh, u * root


def _check(name: str, layer: Any, is_linear: bool, init: AdapterInit) -> None:
    if not is_linear:
        raise ConfigError(f"model.adapter.init must be default where {name} is adapted, which is no linear layer")
    least = min(layer.get_base_layer().weight.shape)
    if layer.r[TRAINED] > least:
        raise ConfigError(
            f"model.adapter.rank must be at most {least}, the smaller side of {name}, with adapter.init {init}, not "
            f"{layer.r[TRAINED]}"
        )


def as_one_adapter(trained: Mapping[str, torch.Tensor], start: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the weights of the one adapter that does what two do together.

    Args:
        trained: Weights by the names that PEFT saves them under; what is no matrix A or B stays.
        start: Those of the frozen adapter.
    """
    axis = {name: 0 if ".lora_A." in name else 1 for name in start}
    both = {name: torch.cat([trained[name], value], dim=axis[name]).contiguous() for name, value in start.items()}
    return {**trained, **both}


def as_two_adapters(
    tensors: Mapping[str, torch.Tensor], start: Mapping[str, torch.Tensor]
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Return the two adapters that `as_one_adapter` made one of.

    Args:
        tensors: What `as_one_adapter` returned.
        start: Weights of the frozen adapter of the model, whose shapes say where to part.

    Raises:
        RuntimeError: The rank is not twice that of the model.
    """
    halves: dict[str, tuple[torch.Tensor, ...]] = {}
    for name, value in start.items():
        axis = 0 if ".lora_A." in name else 1
        halves[name] = torch.split(tensors[name], [value.shape[axis]] * 2, dim=axis)
    trained = {name: halves[name][0] if name in halves else value for name, value in tensors.items()}
    return trained, {name: half[1] for name, half in halves.items()}
