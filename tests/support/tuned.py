"""Adapters of the micro model as a run writes them, without the run; and logits to compare models by."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from dcap.answers.profile import AnswerProfile, save_profile
from dcap.core.manifest import FINAL_MARKER, seal
from dcap.data.config import DataConfig, resolve_profile
from dcap.model.config import AdapterConfig, ModelConfig, Quantization
from dcap.model.fingerprint import weights_digest
from dcap.model.load import load_model
from dcap.model.lora import attach
from dcap.model.saved_model import BaseFiles
from dcap.train.weights import save_weights
from support.batches import IMAGE_PAD, VISION_START

CPU = torch.device("cpu")
PROFILE = replace(resolve_profile(DataConfig()), answer=AnswerProfile(min_pixels=4096, max_pixels=8192))
KINDS = {
    "lora": AdapterConfig(rank=4),
    "rslora": AdapterConfig(type="rslora", rank=4, alpha=8),
    "dora": AdapterConfig(type="dora", rank=4),
    "modules_to_save": AdapterConfig(rank=4, modules_to_save=("merger", "language_model.norm")),
}


def write_tuned(
    folder: Path,
    base: Path,
    adapter: AdapterConfig,
    scale: float = 0.02,
    seed: int = 0,
    quantization: Quantization = "none",
) -> Path:
    """Write `folder` as the ``final/`` of a run on the folder `base`, all towers tuned, and return it.

    Args:
        folder: New folder.
        base: Folder of the base model.
        adapter: What is tuned.
        scale: Size of the random values that training would have added to what trains.
        seed: Of these values.
        quantization: How the base was held.
    """
    config = ModelConfig(str(base), dtype="float32", quantization=quantization, freeze_vit=False, adapter=adapter)
    bare = load_model(config, CPU)
    digest = weights_digest(bare)
    torch.manual_seed(seed)
    tuned = attach(bare, config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in tuned.named_parameters():
            if weight.requires_grad and "lora_A" not in name:
                weight += scale * torch.randn(weight.shape, generator=generator)
    folder.mkdir(parents=True)
    save_weights(tuned, folder, BaseFiles(str(base)))
    save_profile(folder, PROFILE)
    mark = {"base": str(base), "base_digest": digest, "quantization": quantization, "step": 1}
    (folder / FINAL_MARKER).write_text(json.dumps(mark))
    seal(folder, FINAL_MARKER)
    return folder


def write_half(folder: Path, base: Path) -> Path:
    """Write `folder` as the model in the folder `base`, stored in bfloat16, and return it."""
    shutil.copytree(base, folder)
    settings = json.loads((folder / "config.json").read_text())
    settings["dtype"] = settings["text_config"]["dtype"] = settings["vision_config"]["dtype"] = "bfloat16"
    (folder / "config.json").write_text(json.dumps(settings))
    weights = {name: weight.bfloat16() for name, weight in load_file(base / "model.safetensors").items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@torch.inference_mode()
def logits_of(model: Any) -> torch.Tensor:
    """Return the logits, float32 (30, V), of a prompt with an image that is always the same."""
    ids = torch.arange(100, 130)[None]
    ids[0, 3] = VISION_START
    ids[0, 4:8] = IMAGE_PAD
    patches = torch.randn(16, 1536, generator=torch.Generator().manual_seed(7))
    out = model(
        input_ids=ids,
        mm_token_type_ids=(ids == IMAGE_PAD).long(),
        pixel_values=patches,
        image_grid_thw=torch.tensor([[1, 4, 4]]),
        use_cache=False,
    )
    logits: torch.Tensor = out.logits[0].float()
    return logits


def share_apart(one: torch.Tensor, other: torch.Tensor) -> float:
    """Return the largest difference of two arrays of logits, as a share of the largest logit."""
    return float((one - other).abs().max() / one.abs().max())
