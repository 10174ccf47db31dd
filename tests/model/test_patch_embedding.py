from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import Qwen3VLForConditionalGeneration

from dcap.demo.models import resolve_model
from dcap.model.config import ModelConfig
from dcap.model.load import blank_model
from dcap.model.patch_embedding import PatchEmbedding, multiply_patches, pixels_for

N, STEPS = 12, {"one time step": 768, "two equal time steps": 1536}


@pytest.fixture
def convolution(micro_folder: Path) -> Any:
    """The patch embedding of transformers, in float64."""
    model = Qwen3VLForConditionalGeneration.from_pretrained(resolve_model("builtin:micro"), dtype=torch.float64)
    return model.model.visual.patch_embed


def still(width: int, dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor]:
    """Patches of still images: as asked for, and with both time steps."""
    step = torch.randn(N, 3, 1, 256, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(dtype)
    both = step.expand(-1, -1, 2, -1).reshape(N, 1536)
    return both if width == 1536 else step.reshape(N, 768), both


@pytest.mark.parametrize("width", STEPS.values(), ids=STEPS)
def test_values_and_gradients_are_those_of_the_convolution(convolution: Any, width: int) -> None:
    patches, both = still(width)
    product = PatchEmbedding(deepcopy(convolution.proj))
    assert list(product.state_dict()) == list(convolution.state_dict())
    slope = torch.randn(N, convolution.embed_dim, dtype=torch.float64)
    mine, theirs = product(patches), convolution(both)
    assert torch.allclose(mine, theirs, rtol=1e-12, atol=1e-13)
    mine.backward(slope)
    theirs.backward(slope)
    for name in ("weight", "bias"):
        got, want = getattr(product.proj, name).grad, getattr(convolution.proj, name).grad
        assert got.abs().max() > 0
        assert torch.allclose(got, want, rtol=1e-11, atol=1e-12), name


def test_two_different_time_steps_are_both_seen(convolution: Any) -> None:
    video = torch.randn(N, 1536, dtype=torch.float64)
    product = PatchEmbedding(convolution.proj)
    assert torch.allclose(product(video), convolution(video), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-6), (torch.bfloat16, 2**-8)])
def test_rounding_stays_within_the_bound(convolution: Any, dtype: torch.dtype, bound: float) -> None:
    # Of the convolution with the same rounded weights, in float64.
    rounded = convolution.to(dtype)
    patches, both = still(768, dtype)
    mine = PatchEmbedding(rounded.proj)(patches).double()
    exact = deepcopy(rounded).double()(both.double())
    assert (mine - exact).abs().max() <= bound * exact.abs().max()


def test_an_adapter_around_the_convolution_still_works(convolution: Any) -> None:
    patches, both = still(768)
    holder = torch.nn.ModuleDict({"patch_embed": PatchEmbedding(deepcopy(convolution.proj))})
    adapted = get_peft_model(holder, LoraConfig(r=2, target_modules=r"patch_embed\.proj"))  # type: ignore[arg-type]
    embedding = adapted.base_model.model["patch_embed"]
    with torch.no_grad():
        embedding.proj.lora_B["default"].weight.fill_(0.01)
        got = embedding(patches)
        assert not torch.allclose(got, convolution(both), rtol=1e-3)
        assert torch.allclose(got, embedding.proj(both.view(-1, 3, 2, 16, 16)).flatten(1), rtol=1e-12, atol=1e-13)


def test_a_model_takes_one_time_step_and_transformers_own_takes_both(model: Any, micro_folder: Path) -> None:
    values = torch.randint(0, 256, (N, 768), dtype=torch.uint8)
    assert isinstance(model.model.visual.patch_embed, PatchEmbedding)
    assert isinstance(blank_model(ModelConfig(str(micro_folder))).model.visual.patch_embed, PatchEmbedding)
    plain = Qwen3VLForConditionalGeneration.from_pretrained(micro_folder, dtype=torch.float32).eval()
    grid = torch.tensor([[1, 4, 2], [1, 2, 2]])
    with torch.no_grad():
        mine = model.model.visual(pixels_for(model, values), grid_thw=grid)
        theirs = plain.model.visual(pixels_for(plain, values), grid_thw=grid)
        assert torch.allclose(mine.pooler_output, theirs.pooler_output, atol=2e-6)
        assert pixels_for(plain, values).shape == (N, 1536)
        # Made anew, it is the same model.
        multiply_patches(plain)
        assert torch.equal(
            plain.model.visual(pixels_for(plain, values), grid_thw=grid).pooler_output, mine.pooler_output
        )
