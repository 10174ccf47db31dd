"""The loss of a model: cross-entropy at the supervised positions, and there the distance from a teacher.

The head runs on these positions alone, in chunks (`dcap.train.chunked_loss`).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import nn

from dcap.data.collate import Batch
from dcap.data.encode import IGNORE_INDEX
from dcap.model.attention import attention_kwargs
from dcap.model.lora import bare_model
from dcap.model.patch_embedding import pixels_for
from dcap.train.chunked_loss import Compared, chunked_loss
from dcap.train.teacher import Teacher
from dcap.train.vision_distance import vision_distances


class LossOutput(NamedTuple):
    """Sums over the supervised positions of one batch; nothing is averaged before the whole step is known."""

    loss_sum: torch.Tensor
    """float32 (): sum of weight x cross-entropy, in training with label smoothing."""
    num_correct: torch.Tensor
    """int64 (): number of positions with a positive weight whose likeliest token is the label."""
    correct: torch.Tensor
    """bool (n,): whether the likeliest token is the label, whatever the weight of the position."""
    token_loss: torch.Tensor
    """float32 (n,): cross-entropy of each supervised position, without gradient and label smoothing."""
    positions: torch.Tensor
    """int64 (n, 2): row and column of each supervised position."""
    weight_sum: torch.Tensor
    """float32 (): sum of the weights of the supervised positions."""
    compared: Compared | None = None
    """How far the model is from its teacher. `None`: it has none."""
    vision_apart: Mapping[str, torch.Tensor] = MappingProxyType({})
    """float32 () by name: sum of each distance of visual features; see `dcap.train.vision_distance`."""

    @property
    def loss(self) -> torch.Tensor:
        """float32 (): mean cross-entropy of this batch, weighted; for a step of one batch."""
        return self.loss_sum / self.weight_sum

    def without_graph(self) -> LossOutput:
        """Return the same numbers, from which no gradient can be taken."""
        compared = self.compared and self.compared._replace(divergence_sum=self.compared.divergence_sum.detach())
        apart = {name: each.detach() for name, each in self.vision_apart.items()}
        return self._replace(loss_sum=self.loss_sum.detach(), compared=compared, vision_apart=apart)

    def on_host(self) -> LossOutput:
        """Return the same in the memory of the host."""
        moved: dict[str, Any] = {k: v.cpu() for k, v in self._asdict().items() if isinstance(v, torch.Tensor)}
        moved["compared"] = self.compared and Compared(*(each.cpu() for each in self.compared))
        return self._replace(**moved, vision_apart={name: each.cpu() for name, each in self.vision_apart.items()})


def next_token_targets(labels: torch.Tensor, weights: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the supervised positions, their labels and their weights.

    The hidden state of position t predicts the token of t + 1. The first token of each sample carries no label, so
    nothing is predicted across a boundary.

    Args:
        labels: int64 (B, L), -100 where unsupervised.
        weights: float32 (B, L), of each label.

    Returns:
        int64 (n, 2) rows and columns of the predicting positions, int64 (n,) labels, float32 (n,) weights.
    """
    positions = (labels[:, 1:] != IGNORE_INDEX).nonzero()
    rows, columns = positions.unbind(1)
    return positions, labels[rows, columns + 1], weights[rows, columns + 1]


class SupervisedLoss(nn.Module):
    """The model together with its loss: what Accelerate wraps, so that its forward pass is a whole training pass.

    Args:
        model: Qwen3-VL, bare or with adapters.
        chunk_tokens: Positions per chunk of logits.
        dtype: Precision of the forward pass; below float32 it runs under autocast, the loss stays float32.
        label_smoothing: Share of each label that is spread evenly over all tokens, while the module trains.
        teacher: Whom the model is compared with. `None`: nobody.

    Attributes:
        shares_weights: Whether ranks share the weights out. They put a layer together at the same time, so all must run
            the same layers: where a batch has no image, the vision side runs on a blank one, times 0. And no copy of a
            weight in half precision outlives its layer.

    Example:
        out = loss(**model_inputs(batch, device))
        out.loss.backward()
    """

    def __init__(
        self,
        model: Any,
        chunk_tokens: int = 256,
        dtype: torch.dtype = torch.float32,
        label_smoothing: float = 0.0,
        teacher: Teacher | None = None,
    ) -> None:
        super().__init__()
        self.label_smoothing = label_smoothing
        self.model = model
        self.chunk_tokens = chunk_tokens
        self.dtype = dtype
        self.teacher = teacher
        self.shares_weights = False

    def forward(
        self,
        input_ids: torch.Tensor,
        labels: torch.Tensor,
        loss_weights: torch.Tensor,
        position_ids: torch.Tensor,
        cu_seqlens: torch.Tensor | None = None,
        longest: int | None = None,
        teacher_weights: torch.Tensor | None = None,
        visual_weights: torch.Tensor | None = None,
        **images: torch.Tensor,
    ) -> LossOutput:
        """Return the loss of one batch.

        Args:
            input_ids: int64 (B, L).
            labels: int64 (B, L), -100 where unsupervised.
            loss_weights: float32 (B, L), of each label.
            position_ids: int64 (4, B, L): text, temporal, height, width.
            cu_seqlens: int32 (S + 1,) bounds of the samples of a packed row.
            longest: Tokens of the longest sample of a packed row.
            teacher_weights: float32 (B, L), of each label in the distance from the teacher. `None`: not compared.
            visual_weights: float32 (visual tokens,), of each in the distances of features. `None`: not compared.
            **images: ``pixel_values``, as bytes or normalised, and ``image_grid_thw``, when there are images.
        """
        model = bare_model(self.model)
        positions, targets, weights = next_token_targets(labels, loss_weights)
        rows, columns = positions.unbind(1)
        others: dict[str, Any] = {"position_ids": position_ids, **attention_kwargs(cu_seqlens, longest)}
        half = self.dtype != torch.float32
        with torch.autocast(
            input_ids.device.type, dtype=self.dtype, enabled=half, cache_enabled=not self.shares_weights
        ):
            blank = self.shares_weights and not images
            reference, apart = None, dict[str, torch.Tensor]()
            if self.teacher is None or teacher_weights is None:
                seen = _seen(model, images)
            else:
                theirs, seen, apart = self._beside_teacher(input_ids, others, images, visual_weights, blank=blank)
                reference = self.teacher.compared_at(theirs[rows, columns], teacher_weights[rows, columns + 1])
            hidden = _hidden(model, input_ids, others | seen, blank=blank)[rows, columns]
            loss = chunked_loss(
                model.lm_head,
                hidden,
                targets,
                weights,
                self.chunk_tokens,
                self.label_smoothing if self.training else 0.0,
                reference,
            )
        return LossOutput(
            loss_sum=loss.loss_sum,
            num_correct=(loss.correct & (weights > 0)).sum(),
            correct=loss.correct,
            token_loss=loss.token_loss,
            positions=positions,
            weight_sum=weights.sum(),
            compared=loss.compared,
            vision_apart=apart,
        )

    def _beside_teacher(
        self,
        input_ids: torch.Tensor,
        others: Mapping[str, Any],
        images: Mapping[str, torch.Tensor],
        visual_weights: torch.Tensor | None,
        *,
        blank: bool,
    ) -> tuple[torch.Tensor, dict[str, Any], dict[str, torch.Tensor]]:
        """Return the teacher's hidden states, what the student sees, and how far that is from what the teacher sees."""
        teacher, model = self.teacher, bare_model(self.model)
        assert teacher is not None
        # Where nothing of the vision side trains, both see the same.
        seen = _seen(model, images) if teacher.shares_vision else {}
        with teacher.switched_on():
            theirs = seen or _seen(teacher.model, images)
            hidden = _hidden(teacher.model, input_ids, {**others, **theirs}, blank=blank and not teacher.shares_vision)
        seen = seen or _seen(model, images)
        if teacher.vision is None or visual_weights is None or not images:
            return hidden, seen, {}
        one, other = (each["mm_encoder_outputs"]["image"] for each in (seen, theirs))
        return hidden, seen, vision_distances(teacher.vision, one, other, visual_weights)


def _seen(model: Any, images: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """Return the features of images as the model takes them; nothing without an image."""
    if not images:
        return {}
    pixels = pixels_for(model, images["pixel_values"])
    features = model.model.get_image_features(pixels, images["image_grid_thw"], return_dict=True)
    return {"mm_encoder_outputs": {"image": features}}


def _hidden(model: Any, input_ids: torch.Tensor, others: Mapping[str, Any], *, blank: bool) -> torch.Tensor:
    """Return the last hidden states, (B, L, H); with `blank`, the vision side runs on a blank image before."""
    inputs = {"inputs_embeds": _beside_a_blank_image(model, input_ids)} if blank else {"input_ids": input_ids}
    hidden: torch.Tensor = model.model(**inputs, **others, use_cache=False).last_hidden_state
    return hidden


def _beside_a_blank_image(model: Any, input_ids: torch.Tensor) -> torch.Tensor:
    """Return the embeddings of tokens, (B, L, H), to which all of the vision side has added nothing."""
    embeddings: torch.Tensor = model.get_input_embeddings()(input_ids)  # first, as in the model itself
    vision = model.config.vision_config
    side = vision.spatial_merge_size
    patches = torch.zeros(side**2, vision.in_channels * vision.temporal_patch_size * vision.patch_size**2)
    grid = torch.tensor([[1, side, side]], device=input_ids.device)
    seen = model.model.get_image_features(patches.to(input_ids.device), grid, return_dict=True)
    features = [feature.sum() for layer in (seen.pooler_output, *seen.deepstack_features) for feature in layer]
    return embeddings + 0.0 * torch.stack(features).sum().to(embeddings.dtype)


_HOST_ONLY = ("mm_token_type_ids", "token_kinds")


def model_inputs(batch: Batch, device: torch.device) -> dict[str, Any]:
    """Return the arguments of `SupervisedLoss` for a batch, its tensors on `device`."""
    inputs = {
        name: value.to(device, non_blocking=True)
        for name, value in batch.items()
        if isinstance(value, torch.Tensor) and name not in _HOST_ONLY
    }
    if "cu_seqlens" in batch:
        # The value is known here without waiting for the device.
        return inputs | {"longest": int(batch["cu_seqlens"].diff().max())}
    return inputs
