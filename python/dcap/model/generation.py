"""Greedy generation for a batch of prompts. Each prompt gets the tokens that it would get alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from dcap.core.errors import ConfigError
from dcap.data.encode import END, IMAGE_PAD, PAD


@dataclass(frozen=True, eq=False, slots=True)
class Prompt:
    """One question about one image.

    Attributes:
        input_ids: int64 (L,), image placeholders included.
        pixel_values: float32 (N, 1536) patches.
        grid_thw: Patch grid of the image: frames, rows, columns.
    """

    input_ids: npt.NDArray[np.int64]
    pixel_values: npt.NDArray[np.float32]
    grid_thw: tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Generated:
    """One answer of the model.

    Attributes:
        text: The answer without the end token. Other special tokens stay.
        token_ids: The tokens of the text.
        finished: False when it was stopped before it ended by itself.
    """

    text: str
    token_ids: tuple[int, ...]
    finished: bool

    @property
    def num_tokens(self) -> int:
        """Tokens of the text."""
        return len(self.token_ids)


class Generator:
    """A model, its tokenizer and a bound on answers.

    Args:
        model: A ``Qwen3VLForConditionalGeneration`` in eval mode, on its device.
        tokenizer: Its tokenizer.
        max_new_tokens: Stop an answer after this many tokens.

    Raises:
        ConfigError: `max_new_tokens` is not positive.
    """

    def __init__(self, model: Any, tokenizer: Any, max_new_tokens: int) -> None:
        if max_new_tokens < 1:
            raise ConfigError(f"max_new_tokens must be at least 1, not {max_new_tokens}")
        from transformers import GenerationConfig

        self.model = model
        self.tokenizer = tokenizer
        self.max_new_tokens = max_new_tokens
        self.image_id, self.pad_id, self.end_id = map(tokenizer.convert_tokens_to_ids, (IMAGE_PAD, PAD, END))
        # The published settings sample with a temperature, but predictions must be the same every time.
        self.model.generation_config = GenerationConfig(
            do_sample=False,
            max_new_tokens=max_new_tokens,
            eos_token_id=[self.end_id, self.pad_id],
            pad_token_id=self.pad_id,
        )

    @torch.inference_mode()
    def generate(self, prompts: Sequence[Prompt]) -> list[Generated]:
        """Return one answer per prompt, in order.

        ::

            pad pad  q1  q1  q1 | answer 1
            q2  q2   q2  q2  q2 | answer 2      left padding: every answer starts in the same column
        """
        batch = self.batch(prompts)
        length = batch["input_ids"].shape[1]
        ids = self.model.generate(**batch)[:, length:]
        return [self._read(row) for row in ids.tolist()]

    def batch(self, prompts: Sequence[Prompt]) -> dict[str, torch.Tensor]:
        """Return the prompts as one left-padded batch on the model's device."""
        length = max(len(prompt.input_ids) for prompt in prompts)
        ids = np.full((len(prompts), length), self.pad_id, np.int64)
        mask = np.zeros((len(prompts), length), np.int64)
        for row, prompt in enumerate(prompts):
            ids[row, length - len(prompt.input_ids) :] = prompt.input_ids
            mask[row, length - len(prompt.input_ids) :] = 1
        tensors = {
            "input_ids": torch.from_numpy(ids),
            "attention_mask": torch.from_numpy(mask),
            # Without it the image's tokens would get plain text positions, and no error.
            "mm_token_type_ids": torch.from_numpy((ids == self.image_id).astype(np.int64)),
            "pixel_values": torch.from_numpy(np.concatenate([prompt.pixel_values for prompt in prompts])),
            "image_grid_thw": torch.tensor([prompt.grid_thw for prompt in prompts], dtype=torch.int64),
        }
        return {name: tensor.to(self.model.device) for name, tensor in tensors.items()}

    def _read(self, row: list[int]) -> Generated:
        ends = [i for i, token in enumerate(row) if token in (self.end_id, self.pad_id)]
        answer = row[: ends[0]] if ends else row
        text = self.tokenizer.decode(answer, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return Generated(text, tuple(answer), bool(ends))
