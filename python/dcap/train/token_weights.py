"""The weight of each token: in the loss by its kind, and in the distance from a teacher."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from dcap.data.collate import Batch
from dcap.data.encode import IGNORE_INDEX
from dcap.data.tokens import TokenKind
from dcap.train.distill_config import DistillConfig


def sample_of_token(batch: Batch) -> torch.Tensor:
    """Return the sample that each token of a batch belongs to, int64 (B, L), with the padding of its row."""
    if "cu_seqlens" in batch:
        return torch.arange(len(batch["samples"])).repeat_interleave(batch["cu_seqlens"].diff())[None]
    return torch.arange(len(batch["samples"]))[:, None].expand_as(batch["labels"])


def weighted_by_kind(batch: Batch, token_weights: Mapping[str, float]) -> Batch:
    """Return a batch whose tokens weigh by their kind too.

    Args:
        batch: In the memory of the host.
        token_weights: By name of the `TokenKind`, in lower case; a kind that is not named has 1.
    """
    if not token_weights:
        return batch
    by_kind = torch.tensor([token_weights.get(kind.name.lower(), 1.0) for kind in TokenKind])
    return batch | {"loss_weights": batch["loss_weights"] * by_kind[batch["token_kinds"].long()]}


def teacher_weights(batch: Batch, config: DistillConfig) -> torch.Tensor:
    """Return the weight of each label in the distance from the teacher, float32 (B, L); 0 where there is no label.

    It is the weight of the kind of token x the loss weight of the sample, if its data set takes part.

    Args:
        batch: In the memory of the host.
        config: Says what takes part.
    """
    kinds = torch.zeros(len(TokenKind))
    for kind in (TokenKind.CAPTION, TokenKind.COORDINATE, TokenKind.STRUCTURE):
        kinds[kind] = getattr(config.tokens, kind.name.lower())
    samples = torch.tensor(
        [s.weight if not config.sources or s.dataset in config.sources else 0.0 for s in batch["samples"]]
    )
    weights = samples[sample_of_token(batch)] * kinds[batch["token_kinds"].long()]
    return torch.where(batch["labels"] != IGNORE_INDEX, weights, 0.0)


def visual_weights(batch: Batch, config: DistillConfig) -> torch.Tensor:
    """Return the weight of each visual token in the distances of features, float32 (tokens,): 1, or 0 for those of a
    data set that takes no part. Empty where nothing visual is compared.

    Args:
        batch: In the memory of the host.
        config: Says what takes part.
    """
    if config.vision is None:
        return torch.zeros(0)
    takes_part = torch.tensor([float(not config.sources or s.dataset in config.sources) for s in batch["samples"]])
    return takes_part[sample_of_token(batch)[batch["mm_token_type_ids"] == 1]]
