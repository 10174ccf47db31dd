"""The tiny model with answers worth a measurement, and prompts for it."""

from __future__ import annotations

import numpy as np
import torch

from dcap.data.encode import Encoder, grid_thw, load_tokenizer, patchify
from dcap.demo.models import resolve_model
from dcap.geometry.canvas import Canvas
from dcap.model.config import ModelConfig
from dcap.model.generation import Generator, Prompt
from dcap.model.load import load_model


def tiny_generator(max_new_tokens: int, end_scale: float = 1.0) -> Generator:
    """Return the tiny model, ready to generate on one thread or a GPU.

    Args:
        max_new_tokens: Longest answer.
        end_scale: What the logit of the end token is multiplied by. Untrained, it is hardly ever the highest.
    """
    torch.set_num_threads(1)
    folder = resolve_model("builtin:tiny")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = load_model(ModelConfig(folder, dtype="float32"), device, for_generation=True)
    made = Generator(model, load_tokenizer(folder), max_new_tokens)
    with torch.no_grad():
        # Untrained layers add so little to their input that every answer would repeat the prompt's last token.
        for name, weight in model.named_parameters():
            if name.endswith("proj.weight"):
                weight *= 8
        model.lm_head.weight[made.end_id] *= end_scale
    return made


def mixed_prompts(generator: Generator, number: int, text: str) -> list[Prompt]:
    """Return prompts with random images of three sizes; every fourth has the text once, the others up to four times."""
    encoder, rng = Encoder(generator.tokenizer), np.random.default_rng(0)
    found = []
    for k in range(number):
        canvas = Canvas(32 * (1 + k % 3), 64)
        image = rng.integers(0, 256, (canvas.height, canvas.width, 3), np.uint8)
        ids = encoder.prompt_ids(None, text * (1 + k % 4), canvas)
        found.append(Prompt(ids, patchify(image), grid_thw(canvas)))
    return found
