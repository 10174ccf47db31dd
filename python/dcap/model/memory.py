"""Memory of training on one device, estimated from the model's structure: nothing is loaded, nothing is run.

Weights, gradients and AdamW's moments are exact. What the forward pass keeps for the backward pass is counted tensor
by tensor as autograd keeps it with transformers 5.23 and peft 0.21; the tests compare it, and the peak of whole steps,
with small models on the CPU. H is the width, A and K that of all query and key heads, I that of the MLP, V and J those
of a vision block; c are the bytes of the forward pass (2 in half precision), s those of the residual stream (4 where
the token embedding trains), n those of a layer norm's input (4 on CUDA, where autocast runs it in float32, else c).

::

    language layer, per token     4(2H + A + K)       inputs of the four RMS norms, which work in float32
                                  c(2A + 2K + 3I)     rotated q and k, v, attention's output; inputs of SiLU and product
    vision block, per patch       2nV + c(6V + J)     inputs of both norms; qkv whole, rotated q and k, output; of GELU
    merger, per patch             nV + cV             inputs of its norm and of GELU
    norm that trains              sH or c(A + K)      what its weight is multiplied with
    linear that trains            c x inputs          for the weight's gradient; in float32 q, k, v share one, and so do
                                                      gate and up, in half precision autocast makes each its own
      with LoRA                   c x rank            between A and B
      with LoRA dropout           1 x inputs          the mask on CUDA; on the CPU 4, and nothing is shared
      with DoRA                   2c x outputs        and, whatever the row, c(inputs^2 + inputs x rank) for an identity
                                                      matrix by which peft multiplies out the adapter
    checkpointing                 sH and cV           the inputs of layers and blocks, frozen ones too, in place of the
                                                      above; one layer at a time is recomputed
    loss, per supervised token    sH                  gradient of the hidden states
"""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from dcap.augment.patches import PATCH, TEMPORAL
from dcap.model.lora import adapter_of, bare_model, trained_linears
from dcap.model.towers import tower_of

I64 = npt.NDArray[np.int64]

_PATCH_VALUES = 3 * TEMPORAL * PATCH**2
_SHARED = {"k_proj": "q_proj", "v_proj": "q_proj", "up_proj": "gate_proj"}
"""Layers that read the same tensor as another one."""


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

    def at(self, rows: Rows) -> I64:
        """Return the bytes for each row, int64 (R,)."""
        grown = self.token * rows.tokens + self.patch * rows.patches + self.label * rows.supervised + self.fixed
        return np.asarray(grown, np.int64)


@dataclass(frozen=True, eq=False, slots=True)
class Rows:
    """What rows hold, padding included; int64 (R,) each."""

    tokens: I64
    patches: I64
    supervised: I64


@dataclass(frozen=True, slots=True)
class Step:
    """How a step is made, as far as memory depends on it.

    Args:
        dtype: Of the forward pass.
        activation_checkpointing: Whether layers are computed again in the backward pass.
        loss_chunk_tokens: Supervised positions per chunk of logits.
        cuda: Whether it is for CUDA, where masks and layer norms take other bytes than on the CPU.
    """

    dtype: torch.dtype
    activation_checkpointing: bool
    loss_chunk_tokens: int
    cuda: bool = True

    @property
    def width(self) -> int:
        """Bytes of a number of the forward pass: c."""
        return self.dtype.itemsize

    @property
    def norm_width(self) -> int:
        """Bytes of a number that a layer norm takes in: n."""
        return 4 if self.cuda else self.width


@dataclass(frozen=True, slots=True)
class MemoryEstimate:
    """Bytes of one device when its heaviest row is trained on; all but `weights` is estimated."""

    weights: Weights
    casts: int
    """Copies of trained matrices in half precision, which autocast keeps through the forward pass."""
    activations: int
    """What the forward pass of the heaviest row keeps for the backward pass."""
    recomputed: int
    """What one layer keeps when activation checkpointing computes it again; 0 without."""
    working: int
    """Gradients inside one MLP, 3cI per token, alive at once."""
    loss: int
    """One chunk of logits, with their gradient in half precision; and the head's gradient where it trains."""
    patches: int
    """Patches of the row in float32, unless they are among its activations."""
    row: int
    """Which row is the heaviest."""

    @property
    def total(self) -> int:
        """All of it at once."""
        weights = self.weights
        fixed = weights.frozen + weights.trained + weights.gradients + weights.moments
        return fixed + self.casts + self.activations + self.recomputed + self.working + self.loss + self.patches


def estimate_memory(model: Any, step: Step, rows: Rows) -> MemoryEstimate:
    """Return what training takes on one device.

    Args:
        model: From `dcap.model.lora.attach`; may be on the meta device.
        step: How a step is made.
        rows: All rows; the heaviest counts.
    """
    text = bare_model(model).config.text_config
    parts = {
        "activations": kept_for_backward(model, step).at(rows),
        "recomputed": _recomputed(model, step, rows),
        "working": 3 * step.width * text.intermediate_size * rows.tokens,
        "loss": np.minimum(step.loss_chunk_tokens, rows.supervised) * text.vocab_size * (4 if step.width == 4 else 6)
        + _head_gradient(model),
        "patches": _PATCH_VALUES * (0 if step.width == 4 and _embeds(model) else 4) * rows.patches,
    }
    row = int(np.argmax(sum(parts.values())))
    largest = {name: int(each[row]) for name, each in parts.items()}
    return MemoryEstimate(weights=Weights.of(model), casts=_casts(model, step), row=row, **largest)


def kept_for_backward(model: Any, step: Step) -> PerRow:
    """Return what the forward pass keeps for the backward pass, weights and their copies apart.

    Args:
        model: From `dcap.model.lora.attach`.
        step: How a step is made.
    """
    base = bare_model(model)
    stream = _stream(base)
    text, vision = base.config.text_config, base.config.vision_config
    # After the layers: the last norm's input, and its normalised form where its weight trains.
    norm = base.model.language_model.norm.weight
    out = PerRow(token=text.hidden_size * (4 + stream * norm.requires_grad), label=stream * text.hidden_size)
    out += PerRow(patch=step.width * _PATCH_VALUES * _embeds(model), fixed=_head_gradient(model)) + _mergers(base, step)
    if step.activation_checkpointing:
        layers, blocks = text.hidden_size * text.num_hidden_layers, vision.hidden_size * vision.depth
        return out + PerRow(token=stream * layers, patch=step.width * blocks)
    out += PerRow(token=2 * text.head_dim * stream)  # cosines and sines of the positions
    for layer in base.model.language_model.layers:
        out += _language_layer(layer, text, step, stream)
    if _trains(base, "vit"):
        out += PerRow(patch=8 * vision.hidden_size / vision.num_heads)
        for block in base.model.visual.blocks:
            out += _vision_block(block, vision, step)
    return out


def _recomputed(model: Any, step: Step, rows: Rows) -> I64:
    """Return the bytes of a language layer or a vision block, whichever are more: they are never alive together."""
    base = bare_model(model)
    config = base.config
    if not step.activation_checkpointing:
        return np.zeros(len(rows.tokens), np.int64)
    layer = _language_layer(base.model.language_model.layers[0], config.text_config, step, _stream(base)).at(rows)
    if not _trains(base, "vit"):
        return layer
    return np.maximum(layer, _vision_block(base.model.visual.blocks[0], config.vision_config, step).at(rows))


def _language_layer(layer: Any, text: Any, step: Step, stream: int) -> PerRow:
    c, hidden, inner = step.width, text.hidden_size, text.intermediate_size
    queries, keys = (n * text.head_dim for n in (text.num_attention_heads, text.num_key_value_heads))
    token = 4 * (2 * hidden + queries + keys) + c * (2 * queries + 2 * keys + 3 * inner)
    # One float32 per norm (a norm per head), and the logarithm of each head's sum.
    token += 4 * (2 + 2 * text.num_attention_heads + text.num_key_value_heads)
    attention = layer.self_attn
    for norm, size in (
        (layer.input_layernorm, stream * hidden),
        (layer.post_attention_layernorm, stream * hidden),
        (attention.q_norm, c * queries),
        (attention.k_norm, c * keys),
    ):
        token += size * norm.weight.requires_grad
    linear = _linears(layer, step)
    return PerRow(token=token + linear.token, fixed=linear.fixed)


def _vision_block(block: Any, vision: Any, step: Step) -> PerRow:
    c, hidden = step.width, vision.hidden_size
    patch = 2 * step.norm_width * hidden + c * (6 * hidden + vision.intermediate_size) + 4 * (4 + vision.num_heads)
    linear = _linears(block, step)
    return PerRow(patch=patch + linear.token, fixed=linear.fixed)


def _mergers(base: Any, step: Step) -> PerRow:
    """Return what the aligner keeps; its merged tokens are 4 patches each and 4 times as wide."""
    sees_gradient = _trains(base, "vit")
    out = PerRow()
    if not (sees_gradient or _trains(base, "aligner")):
        return out
    width, merged = base.config.vision_config.hidden_size, base.config.vision_config.spatial_merge_size**2
    for merger in (base.model.visual.merger, *base.model.visual.deepstack_merger_list):
        norm_trains = any(p.requires_grad for p in merger.norm.parameters())
        linear = _linears(merger, step)
        patch = step.width * width + linear.token / merged
        patch += step.norm_width * width * (sees_gradient or norm_trains)
        out += PerRow(patch=patch, fixed=linear.fixed)
    return out


def _linears(block: torch.nn.Module, step: Step) -> PerRow:
    """Return what the linear layers that train keep, per position as `token`."""
    c = step.width
    token, fixed, counted = 0.0, 0.0, set()
    for name, linear in trained_linears(block):
        adapter = adapter_of(linear)
        same = _SHARED.get(name, name) if c == 4 and not adapter.dropout else name
        token += c * linear.in_features * (same not in counted) + c * adapter.rank
        counted.add(same)
        if adapter.dropout:
            token += (1 if step.cuda else 4) * linear.in_features
        if adapter.dora:
            token += 2 * c * linear.out_features
            fixed += c * linear.in_features * (linear.in_features + adapter.rank)
    return PerRow(token=token, fixed=fixed)


def _casts(model: Any, step: Step) -> int:
    """Return the bytes of what autocast casts: trained matrices but embeddings, which are looked up."""
    base = bare_model(model)
    embeddings = {id(each.weight) for each in (base.get_input_embeddings(), base.model.visual.pos_embed)}
    looked_up = embeddings - {id(base.lm_head.weight)}
    cast = [p for p in model.parameters() if p.requires_grad and p.ndim >= 2 and id(p) not in looked_up]
    return sum(2 * p.numel() for p in cast) if step.width == 2 else 0


def _head_gradient(model: Any) -> int:
    """Return the bytes of the head's gradient, which the loss takes on the spot where the head trains."""
    head = bare_model(model).lm_head.weight
    return 4 * int(head.numel()) if head.requires_grad else 0


def _embeds(model: Any) -> bool:
    """Whether the vision tower's first convolution trains; it then keeps the patches."""
    return bool(bare_model(model).model.visual.patch_embed.proj.weight.requires_grad)


def _stream(base: Any) -> int:
    """Return the bytes of a number of the residual stream: those of the token embedding."""
    return int(base.get_input_embeddings().weight.element_size())


def _trains(base: Any, tower: str) -> bool:
    return any(p.requires_grad for name, p in base.named_parameters() if tower_of(name) == tower)
