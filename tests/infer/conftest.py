"""Fixtures of the prediction tests: the tiny model, loaded once, and a few small photos."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

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
