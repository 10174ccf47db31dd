"""A small Qwen3-VL with a mixture of experts, as the 30B model has one."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch

NUM_EXPERTS, TAKEN, WIDTH = 4, 2, 32


def expert_settings(dense: Any) -> Any:
    """Return the settings of a mixture of experts with the dimensions of a dense model, from its ``config``."""
    from transformers import Qwen3VLMoeConfig

    parts = {name: getattr(dense, name).to_dict() for name in ("text_config", "vision_config")}
    for part in parts.values():
        part.pop("model_type")
    parts["text_config"] |= {
        "num_experts": NUM_EXPERTS, "num_experts_per_tok": TAKEN, "moe_intermediate_size": WIDTH,
        "decoder_sparse_step": 1, "mlp_only_layers": [],
    }  # fmt: skip
    ids = {name: value for name, value in dense.to_dict().items() if name.endswith("_token_id")}
    return Qwen3VLMoeConfig(**parts, **ids, tie_word_embeddings=dense.tie_word_embeddings)


def build_experts(dense: Path, folder: Path) -> Path:
    """Write a random mixture of experts with the dimensions and the tokenizer of a dense model into a new folder."""
    from transformers import AutoConfig, Qwen3VLMoeForConditionalGeneration

    shutil.copytree(dense, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Qwen3VLMoeForConditionalGeneration(expert_settings(AutoConfig.from_pretrained(dense)))
    model.save_pretrained(folder)
    return folder
