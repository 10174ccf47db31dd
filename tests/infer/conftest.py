"""Fixtures of the prediction tests: the micro model, loaded once, and a few small photos."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dcap.model.config import ModelConfig
from dcap.model.load import load_model
from dcap.model.lora import load_adapter
from support.tuned import CPU, KINDS, logits_of, write_tuned

SIZES = ((70, 100), (64, 64), (40, 130), (90, 33), (100, 70))
"""Height and width of the photos."""


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """JSONL file of five small images with one box and one polygon each."""
    rng = np.random.default_rng(0)
    lines = []
    for i, (height, width) in enumerate(SIZES):
        small = rng.integers(0, 256, (4, 4, 3), np.uint8)
        Image.fromarray(small).resize((width, height)).save(tmp_path / f"{i}.png")
        objects = [
            {"desc": f"box {i}", "bbox_2d": [3, 4, width - 5, height - 6]},
            {"desc": "half", "poly": [0, 0, width, 0, width, height]},
        ]
        lines.append({"images": [f"{i}.png"], "width": width, "height": height, "objects": objects})
    path = tmp_path / "photos.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


Tuned = Callable[[str], Path]


@pytest.fixture(scope="session")
def tuned(tmp_path_factory: pytest.TempPathFactory, micro_folder: Path) -> Tuned:
    """Return a function that gives the ``final/`` of a run of a kind of `KINDS`; it is written once."""
    folder = tmp_path_factory.mktemp("tuned")
    torch.set_num_threads(1)

    def find(kind: str) -> Path:
        final = folder / kind / "final"
        return final if final.exists() else write_tuned(final, micro_folder, KINDS[kind])

    return find


@pytest.fixture(scope="session")
def tuned_logits(tuned: Tuned, micro_folder: Path) -> Callable[[str], torch.Tensor]:
    """Return a function that gives the logits of the micro model with an adapter, not merged, in float32."""
    known: dict[str, torch.Tensor] = {}

    def find(kind: str) -> torch.Tensor:
        if kind not in known:
            bare = load_model(ModelConfig(str(micro_folder), dtype="float32"), CPU, for_generation=True)
            known[kind] = logits_of(load_adapter(bare, tuned(kind) / "adapter").eval())
        return known[kind]

    return find
