"""Configs and small data sets for tests of the data set, the collators and the loader."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dcap.augment.config import AugmentConfig
from dcap.core.config import build
from dcap.data.config import DataConfig, Split
from dcap.data.dataset import DenseCaptionDataset

AUGMENTATION = {
    "ops": [
        {"name": "hflip", "prob": 0.5},
        {"name": "rotate", "params": {"max_deg": 15}},
        {"name": "random_crop", "prob": 0.5},
        {"name": "expand_to_fit_affine", "params": {"max_pixels": 100_000}},
        {"name": "color_jitter", "params": {"brightness": 0.2, "saturation": 0.2}},
    ]
}
PHOTOS = "builtin:photos/train.jsonl"


def data_config(**fields: Any) -> DataConfig:
    """A ``data:`` section with the bundled photos, unless `fields` name others."""
    tree = {
        "train": PHOTOS,
        "val": "builtin:photos/val.jsonl",
        "global_max_length": 6000,
        "num_workers": 0,
        "answer": {"max_pixels": 90_000},
        **fields,
    }
    return build(DataConfig, tree)


def make_dataset(
    model: Path, augmentation: Any = None, *, split: Split = "train", seed: int = 0, **fields: Any
) -> DenseCaptionDataset:
    """The data set of `data_config`; augmented by `AUGMENTATION`, unless another is given."""
    pipeline = build(AugmentConfig, AUGMENTATION if augmentation is None else augmentation)
    return DenseCaptionDataset(data_config(**fields), split, str(model), augmentation=pipeline, seed=seed)


def records(folder: Path, *items: dict[str, Any]) -> str:
    (folder / "r.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
    return str(folder / "r.jsonl")


def photo(folder: Path, name: str = "a.png", **extra: Any) -> dict[str, Any]:
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (80, 120, 3), dtype=np.uint8)).save(folder / name)
    objects = [{"desc": f"thing {i}", "bbox_2d": [i, i, 40 + i, 40 + i]} for i in range(20)]
    return {"images": [name], "width": 120, "height": 80, "objects": objects, **extra}
