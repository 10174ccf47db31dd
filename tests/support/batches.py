"""Synthetic batches of the trainer's format: random words and pixels, real positions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from dcap.data.collate import Batch, SampleInfo
from dcap.data.encode import mrope_positions
from dcap.data.tokens import TokenKind

NUM_WORDS, PAD, VISION_START, IMAGE_PAD = 256, 256, 265, 268
"""Of ``builtin:micro``: the bytes, and ids of control tokens."""


@dataclass(frozen=True)
class FakeSample:
    """One sample: tensors of its own length, and a name."""

    name: str
    input_ids: torch.Tensor
    labels: torch.Tensor
    position_ids: torch.Tensor
    kinds: torch.Tensor
    pixel_values: torch.Tensor
    grids: list[tuple[int, int, int]]
    weight: float = 1.0
    dataset: str = "fake"

    @property
    def token_kinds(self) -> torch.Tensor:
        """Every third supervised token is a caption, a coordinate, or structure; the others are prompt or image."""
        return torch.where(self.labels == -100, self.kinds, TokenKind.CAPTION + self.labels % 3).to(torch.uint8)


def fake_sample(
    seed: int, images: Sequence[tuple[int, int]] = ((4, 4),), prompt: int = 5, answer: int = 6, weight: float = 1.0
) -> FakeSample:
    """Return a sample of `images` (patch rows, patch columns), `prompt` words and `answer` supervised words."""
    random = torch.Generator().manual_seed(seed)
    ids = torch.randint(0, NUM_WORDS, (1,), generator=random).tolist()
    kinds = [0]
    for rows, columns in images:
        count = rows * columns // 4
        ids += [VISION_START, *[IMAGE_PAD] * count]
        kinds += [0, *[1] * count]
    words = torch.randint(0, NUM_WORDS, (prompt + answer,), generator=random).tolist()
    ids, kinds = ids + words, kinds + [0] * len(words)
    labels = [-100] * (len(ids) - answer) + ids[len(ids) - answer :]
    grids = [(1, rows, columns) for rows, columns in images]
    types = torch.tensor(kinds)
    patches = sum(rows * columns for rows, columns in images)
    return FakeSample(
        name=f"fake.jsonl:{seed}",
        input_ids=torch.tensor(ids),
        labels=torch.tensor(labels),
        position_ids=torch.from_numpy(mrope_positions(types.numpy(), grids)),
        kinds=types,
        pixel_values=torch.randn(patches, 3, 1, 256, generator=random).expand(-1, -1, 2, -1).reshape(patches, 1536),
        grids=grids,
        weight=weight,
    )


def packed(samples: Sequence[FakeSample]) -> Batch:
    """Return the samples in one row."""
    batch: Batch = {
        "input_ids": torch.cat([s.input_ids for s in samples])[None],
        "labels": torch.cat([s.labels for s in samples])[None],
        "position_ids": torch.cat([s.position_ids for s in samples], dim=1)[:, None],
        "mm_token_type_ids": torch.cat([s.kinds for s in samples])[None],
        "token_kinds": torch.cat([s.token_kinds for s in samples])[None],
        "loss_weights": torch.cat([torch.full((len(s.input_ids),), s.weight) for s in samples])[None],
        "cu_seqlens": torch.tensor([0, *(len(s.input_ids) for s in samples)]).cumsum(0).int(),
    }
    return _with_images(batch, samples)


def padded(samples: Sequence[FakeSample]) -> Batch:
    """Return the samples as rows, padded on the right."""
    longest = max(len(s.input_ids) for s in samples)

    def rows(tensors: Sequence[torch.Tensor], fill: float) -> torch.Tensor:
        pads = [torch.nn.functional.pad(t, (0, longest - t.shape[-1]), value=fill) for t in tensors]
        return torch.stack(pads, dim=-2)

    batch: Batch = {
        "input_ids": rows([s.input_ids for s in samples], PAD),
        "labels": rows([s.labels for s in samples], -100),
        "position_ids": rows([s.position_ids for s in samples], 0),
        "mm_token_type_ids": rows([s.kinds for s in samples], 0),
        "token_kinds": rows([s.token_kinds for s in samples], 0),
        "loss_weights": rows([torch.full((len(s.input_ids),), s.weight) for s in samples], 0.0),
    }
    return _with_images(batch, samples)


def _with_images(batch: Batch, samples: Sequence[FakeSample]) -> Batch:
    grids = [grid for s in samples for grid in s.grids]
    if grids:
        batch["pixel_values"] = torch.cat([s.pixel_values for s in samples])
        batch["image_grid_thw"] = torch.tensor(grids)
    batch["samples"] = [SampleInfo(s.dataset, s.name, s.weight, int((s.labels != -100).sum())) for s in samples]
    return batch
