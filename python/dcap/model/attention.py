"""Attention for rows that hold several samples: the choice of a kernel, its registration, and a start-up self-test.

A packed row carries ``cu_seqlens``, the bounds of its samples. Every kernel here takes the bounds and never a mask. So
no sample sees another, and no L x L matrix is built. Without bounds, a row is one causal sample. Padding on its right
needs no mask, since no real token looks to its right.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
import torch.nn.functional as F  # noqa: N812 - the usual name

from dcap.core.errors import ConfigError, TrainingError
from dcap.model.config import Attention

Kernel = Literal["flash_attention_2", "varlen", "segments"]

# "flash" in the name makes transformers hand the vision tower's bounds over in one call instead of image by image.
REGISTERED: dict[Kernel, str] = {
    "flash_attention_2": "flash_attention_2",
    "varlen": "dcap_varlen_flash",
    "segments": "dcap_segments",
}

# Largest accepted difference of packed and separate hidden states, as a share of their norm. A leak gives about 1.
TOLERANCE = {torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 6e-2}


def choose_attention(requested: Attention, device: torch.device, dtype: torch.dtype) -> Kernel:
    """Return the kernel to use on `device` for activations of `dtype`.

    ``auto`` takes the first that can run: flash-attn 2, torch's own varlen attention (both CUDA in half precision),
    and SDPA segment by segment, which runs everywhere.

    Raises:
        ConfigError: The requested kernel cannot run here.
    """
    half = device.type == "cuda" and dtype in (torch.float16, torch.bfloat16)
    available = {
        "flash_attention_2": half and _flash_attn_imports(),
        "varlen": half and _varlen_exists(),
        "segments": True,
    }
    if requested == "auto":
        return next(kernel for kernel in REGISTERED if available[kernel])
    if not available[requested]:
        need = "the flash-attn package, " if requested == "flash_attention_2" else ""
        raise ConfigError(
            f"model.attention must be auto or segments on {device.type} in {_name(dtype)}, not {requested}, which "
            f"needs {need}CUDA and half precision. Set model.attention=auto"
        )
    return requested


def _flash_attn_imports() -> bool:
    from transformers.utils import is_flash_attn_2_available

    return bool(is_flash_attn_2_available())


def _varlen_exists() -> bool:
    try:
        from torch.nn.attention import varlen
    except ImportError:
        return False
    return hasattr(varlen, "varlen_attn")


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def use_attention(model: Any, kernel: Kernel) -> None:
    """Make both towers of a Qwen3-VL use `kernel`."""
    from transformers import AttentionInterface

    AttentionInterface.register(REGISTERED["segments"], segments_attention)
    AttentionInterface.register(REGISTERED["varlen"], varlen_attention)
    name = REGISTERED[kernel]
    model.set_attn_implementation({"text_config": name, "vision_config": name})


@contextmanager
def attending_with_cache(model: Any) -> Iterator[None]:
    """Let the language model generate inside the block, whatever kernel it trains with.

    Args:
        model: A ``Qwen3VLForConditionalGeneration``, with or without adapters inside.
    """
    kernel = model.config.text_config._attn_implementation
    # flash-attn itself knows masks and caches; our own kernels know neither. The vision tower needs neither.
    if kernel in (REGISTERED["varlen"], REGISTERED["segments"]):
        model.set_attn_implementation({"text_config": "sdpa"})
    try:
        yield
    finally:
        if model.config.text_config._attn_implementation != kernel:
            model.set_attn_implementation({"text_config": kernel})


def attention_kwargs(cu_seqlens: torch.Tensor | None, longest: int | None = None) -> dict[str, Any]:
    """Return the keywords by which the model's forward learns the bounds of a packed row.

    Args:
        cu_seqlens: int32 (S + 1,) bounds of the samples. `None`: each row is one sample.
        longest: Tokens of the longest sample; computed when not given, which waits for a CUDA tensor.
    """
    if cu_seqlens is None:
        return {}
    if longest is None:
        longest = int(cu_seqlens.diff().max())
    bounds = {"cu_seq_lens_q": cu_seqlens, "cu_seq_lens_k": cu_seqlens}
    return {**bounds, "max_length_q": longest, "max_length_k": longest}


def segments_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    is_causal: bool | None = None,
    cu_seq_lens_q: torch.Tensor | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Attend within each segment by scaled dot product attention; for transformers' ``AttentionInterface``.

    Args:
        module: The attention layer; says whether it is causal when `is_causal` does not.
        query: (B, heads, L, D).
        key: (B, key heads, L, D).
        value: (B, key heads, L, D).
        attention_mask: Must be `None`.
        scaling: Factor on the scores.
        dropout: Dropout on the weights.
        is_causal: Whether a token sees only what is before it.
        cu_seq_lens_q: int32 (S + 1,) bounds of the segments. `None`: one segment.

    Returns:
        (B, L, heads, D), and None for the weights.

    Raises:
        TrainingError: The call comes from cached generation or carries a mask, for which this kernel is not made.
    """
    _refuse_generation(query, key, attention_mask)
    causal = bool(getattr(module, "is_causal", True) if is_causal is None else is_causal)
    sizes = [query.shape[2]] if cu_seq_lens_q is None else cu_seq_lens_q.diff().tolist()
    parts = (torch.split(tensor, sizes, dim=2) for tensor in (query, key, value))
    out = [
        F.scaled_dot_product_attention(q, k, v, dropout_p=dropout, is_causal=causal, scale=scaling, enable_gqa=True)
        for q, k, v in zip(*parts, strict=True)
    ]
    return torch.cat(out, dim=2).transpose(1, 2), None


def varlen_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    is_causal: bool | None = None,
    cu_seq_lens_q: torch.Tensor | None = None,
    max_length_q: int | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Attend within each segment by torch's variable-length attention: one CUDA call for the whole row.

    Args and Returns are those of `segments_attention`; `max_length_q` is the longest segment.

    Raises:
        TrainingError: The call comes from cached generation or carries a mask, for which this kernel is not made.
    """
    from torch.nn.attention.varlen import varlen_attn

    _refuse_generation(query, key, attention_mask)
    batch, _heads, length, _dim = query.shape
    causal = bool(getattr(module, "is_causal", True) if is_causal is None else is_causal)
    if cu_seq_lens_q is None:
        cu_seq_lens_q = torch.arange(batch + 1, dtype=torch.int32, device=query.device) * length
        max_length_q = length
    longest = int(cu_seq_lens_q.diff().max()) if max_length_q is None else int(max_length_q)
    bounds = cu_seq_lens_q.to(query.device, torch.int32)
    q, k, v = (tensor.transpose(1, 2).flatten(0, 1) for tensor in (query, key, value))
    out = varlen_attn(
        q,
        k,
        v,
        bounds,
        bounds,
        longest,
        longest,
        scale=scaling,
        window_size=(-1, 0) if causal else (-1, -1),
        enable_gqa=query.shape[1] != key.shape[1],
    )
    assert isinstance(out, torch.Tensor)
    return out.reshape(batch, length, *out.shape[1:]), None


def _refuse_generation(query: torch.Tensor, key: torch.Tensor, mask: torch.Tensor | None) -> None:
    if mask is not None or query.shape[2] != key.shape[2]:
        raise TrainingError(
            "attention for packed rows must be called without a mask or a cache, as in training, not for "
            "generation. Load the model with for_generation=True"
        )


@torch.no_grad()
def self_test(model: Any) -> float:
    """Check on the model itself that two samples give the same result in one row and alone.

    Args:
        model: A Qwen3VLForConditionalGeneration, with or without adapters inside.

    Returns:
        The difference, as a share of the norm of the hidden states.

    Raises:
        TrainingError: The samples see each other.
    """
    device = next(model.parameters()).device
    dtype = model.model.language_model.layers[0].input_layernorm.weight.dtype  # linear layers may be quantised
    was_training = model.training
    model.eval()
    try:
        samples = [_probe(model, device, start, images) for start, images in ((100, 1), (120, 0), (140, 2))]
        alone = torch.cat([_hidden(model, [sample], dtype) for sample in samples], dim=1)
        packed = _hidden(model, samples, dtype)
    finally:
        model.train(was_training)
    difference = float((packed - alone).norm() / alone.norm())
    # "not <=" also catches NaN.
    if not difference <= TOLERANCE[dtype]:
        raise TrainingError(
            f"samples in one row must give what they give alone, but hidden states differ by {difference:.2g} "
            f"({_name(dtype)} allows {TOLERANCE[dtype]:.2g}). Set model.attention=segments, or data.packing=false"
        )
    return difference


def _probe(model: Any, device: torch.device, start: int, images: int) -> dict[str, torch.Tensor]:
    """Return one sample of 6 text tokens and `images` images of 4 x 4 patches, with 4-row positions."""
    config = model.config
    ids, kinds = [start + i for i in range(6)], [0] * 6
    for _ in range(images):
        ids[3:3] = [config.vision_start_token_id, *[config.image_token_id] * 4]
        kinds[3:3] = [0, 1, 1, 1, 1]
    input_ids, types = torch.tensor([ids], device=device), torch.tensor([kinds], device=device)
    sample = {"input_ids": input_ids}
    grid = None
    if images:
        grid = torch.tensor([[1, 4, 4]] * images, device=device)
        width = 3 * config.vision_config.temporal_patch_size * config.vision_config.patch_size**2
        noise = torch.randn(16 * images, width, generator=torch.Generator().manual_seed(start))
        sample |= {"pixel_values": noise.to(device), "image_grid_thw": grid}
    positions, _ = model.model.get_rope_index(input_ids, types, image_grid_thw=grid)
    text = torch.arange(len(ids), device=device)[None, None]
    return sample | {"position_ids": torch.cat([text, positions])}


def _hidden(model: Any, samples: list[dict[str, torch.Tensor]], dtype: torch.dtype) -> torch.Tensor:
    """Return the last hidden states, float32 (1, L, H), of samples laid end to end in one row."""
    lengths = [0, *(sample["input_ids"].shape[1] for sample in samples)]
    bounds = torch.tensor(lengths).cumsum(0).int().to(samples[0]["input_ids"].device)
    inputs = {name: torch.cat([s[name] for s in samples], dim=-1) for name in ("input_ids", "position_ids")}
    for name in ("pixel_values", "image_grid_thw"):
        parts = [sample[name] for sample in samples if name in sample]
        inputs |= {name: torch.cat(parts)} if parts else {}
    with torch.autocast(bounds.device.type, dtype=dtype, enabled=dtype != torch.float32):
        out = model.model(**inputs, use_cache=False, **attention_kwargs(bounds))
    hidden: torch.Tensor = out.last_hidden_state.float()
    return hidden
