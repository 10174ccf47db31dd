"""Floating-point operations of a training step, counted from the shapes of the weights.

A product of a matrix with one position takes two operations per weight. The backward pass takes as many again for the
gradient of the input, where something before it trains, and as many for the gradient of the matrix, where it trains
itself. So a frozen matrix under an adapter costs 4, one that trains 6, and a frozen vision tower 2. Attention counts
each pair of positions that see each other once, so half of them in the language model. What checkpointing computes
again, norms, activations and the optimiser do not count: this is the work of the model, not that of one way to do it.

Source of the share: Chowdhery et al., "PaLM: Scaling Language Modeling with Pathways", 2022, appendix B.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import Any

import torch

from dcap.data.collate import Batch
from dcap.data.encode import IGNORE_INDEX, MERGE
from dcap.model.lora import bare_model
from dcap.model.towers import num_values

_PEAKS = {
    "B200": 2250, "H200": 989, "H100 PCIe": 756, "H100 NVL": 835, "H100": 989, "A100": 312, "L40S": 362, "L40": 181,
    "L4": 121, "A40": 150, "A10": 125, "RTX 6000 Ada": 364, "RTX A6000": 155, "RTX 5090": 209, "RTX 4090": 165,
    "RTX 3090": 71,
}  # fmt: skip
"""TFLOP/s in bfloat16 with sums in float32, without sparsity, by a part of the device's name; a longer part first."""


@dataclass(frozen=True, slots=True)
class Work:
    """What the operations of a step depend on; fillers and padding are left out."""

    tokens: int = 0
    token_pairs: int = 0
    """Sum of the squared lengths of samples."""
    supervised: int = 0
    patches: int = 0
    patch_pairs: int = 0
    """Sum of the squared numbers of patches of images."""

    @classmethod
    def of(cls, batch: Batch) -> Work:
        """Return the work of a batch."""
        # Padding has position 0, like the first token of a sample.
        padded = (batch["position_ids"][0] > 0).sum(dim=1) + 1
        lengths = batch["cu_seqlens"].diff().long() if "cu_seqlens" in batch else padded
        lengths = lengths[torch.tensor([sample.weight > 0 for sample in batch["samples"]])]
        patches = batch["image_grid_thw"].prod(dim=1) if "image_grid_thw" in batch else lengths[:0]
        return cls(
            tokens=int(lengths.sum()),
            token_pairs=int(lengths.square().sum()),
            supervised=int((batch["labels"] != IGNORE_INDEX).sum()),
            patches=int(patches.sum()),
            patch_pairs=int(patches.square().sum()),
        )

    def __add__(self, other: Work) -> Work:
        return Work(*(mine + more for mine, more in zip(astuple(self), astuple(other), strict=True)))


@dataclass(frozen=True, slots=True)
class FlopCount:
    """Operations of forward and backward pass for each part of the `Work` of a step."""

    token: float
    token_pair: float
    supervised: float
    patch: float
    patch_pair: float

    def language(self, work: Work) -> float:
        """Return the operations of the language model and its head."""
        return self.token * work.tokens + self.token_pair * work.token_pairs + self.supervised * work.supervised

    def vision(self, work: Work) -> float:
        """Return the operations of the vision tower and the aligner."""
        return self.patch * work.patches + self.patch_pair * work.patch_pairs


def count_flops(model: Any) -> FlopCount:
    """Count the operations of a model.

    Args:
        model: From `dcap.model.lora.attach`; may be on the meta device.
    """
    base = bare_model(model)
    vision, language = base.config.vision_config, base.config.text_config
    visual, text = base.model.visual, base.model.language_model
    flow = _Flow()
    patch = flow.through(visual.patch_embed) / vision.temporal_patch_size
    flow.trains |= _trains(visual.pos_embed)
    merged, patch_pair = 0.0, 0.0
    mergers = dict(zip(visual.deepstack_visual_indexes, visual.deepstack_merger_list, strict=True))
    sees_vision = False
    for index, block in enumerate(visual.blocks):
        patch += flow.through(block.norm1, block.attn.qkv)
        patch_pair += flow.pairs(4 * vision.hidden_size)
        patch += flow.through(block.attn.proj, block.norm2, block.mlp.linear_fc1, block.mlp.linear_fc2)
        if index in mergers:
            branch = _Flow(flow.trains)
            merged += branch.through(mergers[index].norm, mergers[index].linear_fc1, mergers[index].linear_fc2)
            sees_vision |= branch.trains
    merged += flow.through(visual.merger.norm, visual.merger.linear_fc1, visual.merger.linear_fc2)
    flow.trains |= sees_vision or _trains(base.get_input_embeddings())
    token, token_pair = 0.0, 0.0
    for layer in text.layers:
        attention, mlp = layer.self_attn, layer.mlp
        flow.trains |= _trains(layer.input_layernorm)
        token += flow.beside(attention.q_proj, attention.k_proj, attention.v_proj)
        flow.trains |= _trains(attention.q_norm) or _trains(attention.k_norm)
        # Half of the pairs are masked.
        token_pair += flow.pairs(4 * language.num_attention_heads * attention.head_dim) / 2
        token += flow.through(attention.o_proj, layer.post_attention_layernorm)
        if hasattr(mlp, "experts"):
            share = language.num_experts_per_tok / language.num_experts
            token += flow.through(mlp.gate) + share * flow.through(mlp.experts)
        else:
            token += flow.beside(mlp.gate_proj, mlp.up_proj) + flow.through(mlp.down_proj)
    flow.trains |= _trains(text.norm)
    supervised = flow.through(base.lm_head)
    return FlopCount(
        token=token,
        token_pair=token_pair,
        supervised=supervised,
        patch=patch + merged / MERGE**2,
        patch_pair=patch_pair,
    )


def peak_tflops(device: torch.device, dtype: torch.dtype) -> float | None:
    """Return what a device can do at most, in 1e12 operations per second, or `None` where it is not known.

    Args:
        device: Known are usual GPUs.
        dtype: Of the products; known is half precision.
    """
    if device.type != "cuda" or dtype == torch.float32:
        return None
    name = torch.cuda.get_device_name(device)
    return next((float(peak) for part, peak in _PEAKS.items() if part in name), None)


@dataclass(frozen=True, slots=True)
class Utilization:
    """How much of what the devices can do the model gets.

    Args:
        flops: Of the model.
        num_devices: Those that share the work of a step.
        peak: What one of them can do at most, in 1e12 operations per second; `None`: not known.
    """

    flops: FlopCount
    num_devices: int
    peak: float | None

    def metrics(self, work: Work, seconds: float) -> dict[str, float]:
        """Return ``tflops`` of each device, and where the peak is known the shares ``mfu`` and ``mfu_language``.

        Args:
            work: Over all devices.
            seconds: That it took, waiting included.
        """
        language, vision = self.flops.language(work), self.flops.vision(work)
        unit = max(seconds, 1e-9) * self.num_devices * 1e12
        found = {"tflops": (language + vision) / unit}
        if self.peak is not None:
            found |= {"mfu": found["tflops"] / self.peak, "mfu_language": language / unit / self.peak}
        return found


@dataclass(slots=True)
class _Flow:
    """The way of activations through the model."""

    trains: bool = False
    """Whether something so far trains, so that a gradient goes back through what follows."""

    def through(self, *modules: torch.nn.Module) -> float:
        """Return the operations per position of modules one after the other."""
        total = 0.0
        for module in modules:
            total += self.beside(module)
        return total

    def beside(self, *modules: torch.nn.Module) -> float:
        """Return the operations per position of modules that read the same."""
        total = sum(_products(module, self.trains) for module in modules)
        self.trains |= any(map(_trains, modules))
        return total

    def pairs(self, forward: float) -> float:
        """Return the operations per pair of an attention whose forward pass has `forward` of them."""
        return forward * (3 if self.trains else 1)


def _products(module: torch.nn.Module, flows: bool) -> float:
    """Return the operations per position of the matrices of one layer, with its adapters."""
    # PEFT keeps the original of a module that trains in full beside it.
    matrices = {n: p for n, p in module.named_parameters() if p.ndim > 1 and "original_module." not in n}
    total = 0.0
    for name, weight in matrices.items():
        first = matrices.get(name.replace("lora_B", "lora_A")) if "lora_B" in name else None
        passes_on = flows or (first is not None and first.requires_grad)
        total += num_values(weight) * (2 + 2 * passes_on + 2 * weight.requires_grad)
    return total


def _trains(module: torch.nn.Module) -> bool:
    return any(p.requires_grad for p in module.parameters())
