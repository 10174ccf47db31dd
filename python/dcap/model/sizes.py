"""The published Qwen3-VL models by size, so that their memory can be estimated without a download.

The numbers are those of each config.json on the hub.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from dcap.model.config import ModelConfig
from dcap.model.layer_cost import MemoryRows, MemoryStep
from dcap.model.lora import attach
from dcap.model.memory import MemoryEstimate, estimate_memory
from dcap.model.patch_embedding import multiply_patches


@dataclass(frozen=True)
class PublishedSize:
    """One size of Qwen3-VL."""

    name: str
    """On the hub."""
    text: tuple[int, int, int, int]
    """Width of the language model, of its feed-forward layers, number of layers, and of attention heads."""
    vision: tuple[int, int, int]
    """The same of the vision tower, with 16 heads."""
    deepstack: tuple[int, int, int]
    """Layers of the vision tower that the language model sees."""
    tied: bool
    """Whether the output layer is the embedding."""
    key_heads: int = 8
    """Key and value heads of the language model."""
    experts: tuple[int, int, int] | None = None
    """Experts of a layer, how many of them a token takes, and the width of each. `None`: it is dense."""

    def blank(self, dtype: torch.dtype) -> Any:
        """Return the model on torch's meta device: shapes and names, and no memory."""
        from transformers import (
            Qwen3VLConfig,
            Qwen3VLForConditionalGeneration,
            Qwen3VLMoeConfig,
            Qwen3VLMoeForConditionalGeneration,
        )

        width, feed_forward, layers, heads = self.text
        vision_width, vision_feed_forward, depth = self.vision
        text = {
            "hidden_size": width, "intermediate_size": feed_forward, "num_hidden_layers": layers,
            "num_attention_heads": heads, "num_key_value_heads": self.key_heads, "head_dim": 128, "vocab_size": 151_936,
        }  # fmt: skip
        vision = {
            "depth": depth, "hidden_size": vision_width, "intermediate_size": vision_feed_forward, "num_heads": 16,
            "out_hidden_size": width, "deepstack_visual_indexes": list(self.deepstack),
        }  # fmt: skip
        kinds: tuple[Any, Any] = (Qwen3VLConfig, Qwen3VLForConditionalGeneration)
        if self.experts is not None:
            names = ("num_experts", "num_experts_per_tok", "moe_intermediate_size")
            text |= dict(zip(names, self.experts, strict=True))
            kinds = (Qwen3VLMoeConfig, Qwen3VLMoeForConditionalGeneration)
        settings_of, model_of = kinds
        settings = settings_of(text_config=text, vision_config=vision, tie_word_embeddings=self.tied)
        with torch.device("meta"):
            model = model_of._from_config(settings, dtype=dtype).eval()
        multiply_patches(model)
        return model


SIZES = (
    PublishedSize("Qwen/Qwen3-VL-8B-Instruct", (4096, 12_288, 36, 32), (1152, 4304, 27), (8, 16, 24), tied=False),
    PublishedSize("Qwen/Qwen3-VL-4B-Instruct", (2560, 9728, 36, 32), (1024, 4096, 24), (5, 11, 17), tied=True),
    PublishedSize("Qwen/Qwen3-VL-2B-Instruct", (2048, 6144, 28, 16), (1024, 4096, 24), (5, 11, 17), tied=True),
)
"""The dense sizes, the largest first."""
MIXTURES = (
    PublishedSize(
        "Qwen/Qwen3-VL-30B-A3B-Instruct", (2048, 6144, 48, 32), (1152, 4304, 27), (8, 16, 24), tied=False,
        key_heads=4, experts=(128, 8, 768),
    ),
)  # fmt: skip
"""The mixtures of experts."""


def published_memory(
    size: PublishedSize,
    config: ModelConfig,
    *,
    tokens: int,
    patches: int,
    supervised: int,
    checkpointing: bool,
    moments_in_8_bits: bool = False,
) -> MemoryEstimate:
    """Return the memory of training on one GPU.

    Args:
        size: Which model.
        config: What of it trains, and in what precision; its name does not count.
        tokens: Tokens of a row.
        patches: Vision patches of a row.
        supervised: Supervised tokens of a row.
        checkpointing: Whether layers are computed again in the backward pass.
        moments_in_8_bits: As `MemoryStep`.
    """
    dtype: torch.dtype = getattr(torch, config.dtype)
    config = replace(config, name_or_path=size.name)
    step = MemoryStep(
        dtype=dtype,
        activation_checkpointing=checkpointing,
        loss_chunk_tokens=256,
        quantised=config.quantization != "none",
        moments_in_8_bits=moments_in_8_bits,
    )
    rows = MemoryRows(*(np.array([number], np.int64) for number in (tokens, patches, supervised)))
    return estimate_memory(attach(size.blank(dtype), config), step, rows)
