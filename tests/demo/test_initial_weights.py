"""What an untrained model tells of places."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from dcap.data.encode import Encoder, grid_thw, load_tokenizer, patchify
from dcap.demo.initial_weights import set_initial_weights
from dcap.demo.models import build_micro
from dcap.geometry.canvas import Canvas
from dcap.model.config import ModelConfig
from dcap.model.load import load_model

CANVAS, SIDE = Canvas(128, 128), 4


def box_image(rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    image = np.full((128, 128, 3), rng.integers(90, 170), np.uint8)
    (left, right), (top, bottom) = (sorted(rng.integers(0, 129, 2).tolist()) for _ in range(2))
    image[top:bottom, left:right] = rng.integers(0, 256, 3)
    return image


@torch.inference_mode()
def image_tokens(model: Any, encoder: Encoder, count: int) -> torch.Tensor:
    """What the last layer holds of each image token, (count * 16, H)."""
    rng = np.random.default_rng(0)
    ids = torch.from_numpy(encoder.prompt_ids(None, "List.", CANVAS)).repeat(count, 1)
    at = ids == encoder.image_pad_id
    out = model.model(
        input_ids=ids,
        mm_token_type_ids=at.long(),
        pixel_values=torch.from_numpy(np.concatenate([patchify(box_image(rng)) for _ in range(count)])),
        image_grid_thw=torch.tensor([grid_thw(CANVAS)] * count),
        use_cache=False,
    )
    hidden: torch.Tensor = out.last_hidden_state[at]
    return hidden


def share_told(features: torch.Tensor, values: torch.Tensor, weak: float = 0.01) -> float:
    """R2 of a ridge regression, fitted on one half and measured on the other. Directions of little spread are weak."""
    half = len(features) // 2
    scaled = (features - features[:half].mean(0)) / features[:half].std()
    wanted = values.float() - values.float().mean()
    known, new = scaled[:half], scaled[half:]
    matrix = known.T @ known / half + weak * torch.eye(known.shape[1])
    found = new @ torch.linalg.solve(matrix, known.T @ wanted[:half] / half)
    return float(1 - (found - wanted[half:]).square().mean() / wanted[half:].square().mean())


@pytest.fixture(scope="module")
def encoder(micro_folder: Path) -> Encoder:
    return Encoder(load_tokenizer(str(micro_folder)))


def test_rows_and_columns_are_told_alike(micro_folder: Path, encoder: Encoder) -> None:
    count = 60
    model = load_model(ModelConfig(str(micro_folder), dtype="float32"), torch.device("cpu"))
    hidden = image_tokens(model, encoder, count)
    rows = torch.arange(SIDE).repeat_interleave(SIDE).repeat(count)
    columns = torch.arange(SIDE).repeat(SIDE).repeat(count)
    told = (share_told(hidden, rows), share_told(hidden, columns))
    assert min(told) > 0.85
    assert abs(told[0] - told[1]) < 0.05


def test_no_layer_drowns_what_is_before_it(micro_folder: Path, encoder: Encoder) -> None:
    """The spread of what layers hold rises by less than twice over all of them."""
    model = load_model(ModelConfig(str(micro_folder), dtype="float32"), torch.device("cpu"))
    spreads: list[float] = []
    for layers in (model.model.visual.blocks, model.model.language_model.layers):
        for layer in (layers[0], layers[-1]):
            layer.register_forward_hook(lambda _, __, out: spreads.append(float(out.std())))
    image_tokens(model, encoder, 4)
    first_block, last_block, first_layer, last_layer = spreads
    assert first_block < last_block < 2 * first_block
    assert last_layer < 3 * first_layer


def test_what_is_set_and_what_is_random(tmp_path: Path) -> None:
    model = load_model(ModelConfig(str(build_micro(tmp_path)), dtype="float32"), torch.device("cpu"))
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    torch.manual_seed(1)
    set_initial_weights(model)
    moved = {name for name, weight in model.named_parameters() if not torch.equal(weight, before[name])}
    kept = ("norm", "bias", "embed_tokens", "patch_embed", "pos_embed")  # the last is the same each time
    assert not [name for name in moved if any(part in name for part in kept)]
    assert len(moved) == 4 * (7 + 4) + 4 * 2, "the linear layers of four layers, four blocks and four mergers"
