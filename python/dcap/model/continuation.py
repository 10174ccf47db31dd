"""Rows of a model that are continued, each by any number of tokens at a time, and that may leave or join.

::

    columns     0   1   2   3   4 | 5   6 | 7
    row 0       .   .   q   q   q | a   a | a        q: prompt, a: answer
    row 1       q   q   q   q   q | .   a | a        . is a hole: no token sees it

A row sees its own tokens and no holes, at the positions that it would have alone. So which rows share the batch, where
holes are, and how many tokens come at a time change nothing but the last bits of the logits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the usual name
from transformers.cache_utils import Cache, DynamicLayer

_ROOM = 256
"""Columns of free room at least that keys and values get when they grow."""
_FEW_HOLES = 64
"""So many columns may be holes of every row before the columns are moved together."""


class Continuation:
    """Rows, with the keys and values of their tokens so far and the logits of the next ones.

    Attributes:
        logits: (B, K, V). The last of the K positions is that of the next token of each row.

    Args:
        model: A ``Qwen3VLForConditionalGeneration`` in eval mode, with an attention that knows masks.
        inputs: Prompts, padded on the left: ``input_ids`` (B, L), ``attention_mask`` (B, L), ``position_ids``
            (3, B, L), and ``pixel_values`` with ``image_grid_thw`` where there are images.
    """

    def __init__(self, model: Any, inputs: Mapping[str, torch.Tensor]) -> None:
        self._model = model
        self._cache = RoomyCache()
        self._mask = inputs["attention_mask"].bool()
        self._lengths: list[int] = inputs["attention_mask"].sum(dim=1).tolist()
        self._positions = inputs["position_ids"].amax(dim=(0, 2)) + 1
        images = {name: inputs[name] for name in ("pixel_values", "image_grid_thw") if name in inputs}
        self.logits = self._forward(inputs["input_ids"], inputs["position_ids"], 1, **images)

    def __len__(self) -> int:
        """Number of rows."""
        return len(self._lengths)

    def feed(self, runs: Sequence[Sequence[int]], all_logits: bool = False) -> None:
        """Continue each row by its run of tokens, in one forward pass.

        Args:
            runs: One or more tokens for each row. Shorter runs are padded on the left.
            all_logits: Keep the logits of all positions: position ``K - n + j`` of a row whose run has n tokens is
                that after its token j. Otherwise only those of the last position are computed.
        """
        width = max(map(len, runs))
        gaps = [width - len(run) for run in runs]
        device = self._mask.device
        ids = torch.tensor([[0] * gap + list(run) for gap, run in zip(gaps, runs, strict=True)], device=device)
        gap = torch.tensor(gaps, device=device)[:, None]
        columns = torch.arange(width, device=device)
        positions = (self._positions[:, None] + columns - gap).clamp(min=0)
        self._mask = torch.cat([self._mask, columns >= gap], dim=1)
        self._lengths = [length + len(run) for length, run in zip(self._lengths, runs, strict=True)]
        self._positions += width - gap[:, 0]
        self.logits = self._forward(ids, positions.expand(3, -1, -1), width if all_logits else 1)
        self._close_holes()

    def _forward(self, ids: torch.Tensor, positions: torch.Tensor, keep: int, **images: torch.Tensor) -> torch.Tensor:
        # Without holes a causal mask is enough, for which kernels are faster.
        whole = min(self._lengths) == self._mask.shape[1]
        logits: torch.Tensor = self._model(
            input_ids=ids,
            position_ids=positions,
            attention_mask=None if whole else self._mask.long(),
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=keep,
            **images,
        ).logits
        return logits

    def take(self, rows: Sequence[int]) -> None:
        """Keep these rows, in this order; one may be taken several times."""
        if list(rows) == list(range(len(self))):
            return
        index = torch.tensor(rows, dtype=torch.long, device=self._mask.device)
        self._cache.take_rows(index)
        self._mask, self._positions, self.logits = self._mask[index], self._positions[index], self.logits[index]
        self._lengths = [self._lengths[row] for row in rows]
        self._close_holes()

    def join(self, other: Continuation) -> None:
        """Add the rows of another continuation of the same model, behind those of this one."""
        width = max(self._mask.shape[1], other._mask.shape[1])
        self._cache.join(other._cache)
        self._mask = torch.cat([_padded(each._mask, width, -1) for each in (self, other)])
        self._positions = torch.cat([self._positions, other._positions])
        self._lengths += other._lengths
        self.logits = torch.cat([self.logits[:, -1:], other.logits[:, -1:]])

    def _close_holes(self) -> None:
        """Move the tokens of every row to the right, so that the longest row has no hole; if that spares enough."""
        width, needed = self._mask.shape[1], max(self._lengths, default=0)
        if width - needed <= max(_FEW_HOLES, needed // 4):
            return
        # A stable order puts holes first and leaves the tokens as they are.
        columns = self._mask.int().argsort(dim=1, stable=True)[:, -needed:]
        self._cache.take_columns(columns)
        self._mask = self._mask.gather(1, columns)


def _padded(tensor: torch.Tensor, width: int, dim: int) -> torch.Tensor:
    """Return a tensor whose dimension `dim` (-1 or -2) is filled with zeros on the left, up to `width`."""
    missing = width - tensor.shape[dim]
    return F.pad(tensor, (missing, 0) if dim == -1 else (0, 0, missing, 0)) if missing else tensor


class _RoomyLayer(DynamicLayer):  # type: ignore[misc]
    """Keys and values of a layer, with free room on the right, so that a new token copies nothing."""

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_args: Any, **_kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Add columns; return those of the whole row, as the attention takes them."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self.keys, self.values = key_states[..., :0, :], value_states[..., :0, :]
            self._room = (self.keys, self.values)
        begin = self.keys.shape[-2]
        end = begin + key_states.shape[-2]
        if end > self._room[0].shape[-2]:
            size = end + max(_ROOM, end // 4)
            self._room = (_enlarged(self.keys, size), _enlarged(self.values, size))
        for room, states in zip(self._room, (key_states, value_states), strict=True):
            room[..., begin:end, :] = states
        self.keys, self.values = (room[..., :end, :] for room in self._room)
        return self.keys, self.values

    def replace(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Hold these keys and values instead."""
        self.keys, self.values = keys, values
        self._room = (keys, values)


def _enlarged(tensor: torch.Tensor, size: int) -> torch.Tensor:
    out = tensor.new_empty((*tensor.shape[:-2], size, tensor.shape[-1]))
    out[..., : tensor.shape[-2], :] = tensor
    return out


class RoomyCache(Cache):  # type: ignore[misc]
    """The keys and values of all layers, (B, heads, columns, D) each."""

    def __init__(self) -> None:
        super().__init__(layer_class_to_replicate=_RoomyLayer)

    def take_rows(self, rows: torch.Tensor) -> None:
        """Keep these rows, int64 (B',), in this order."""
        for layer in self.layers:
            layer.replace(layer.keys.index_select(0, rows), layer.values.index_select(0, rows))

    def take_columns(self, columns: torch.Tensor) -> None:
        """Keep, of each row, these columns, int64 (B, T'), in this order."""
        for layer in self.layers:
            taken = []
            for tensor in (layer.keys, layer.values):
                _, heads, _, size = tensor.shape
                taken.append(tensor.gather(2, columns[:, None, :, None].expand(-1, heads, -1, size)))
            layer.replace(*taken)

    def join(self, other: RoomyCache) -> None:
        """Add the rows of another cache; the shorter ones get holes on the left."""
        width = max(self.get_seq_length(), other.get_seq_length())
        for layer, more in zip(self.layers, other.layers, strict=True):
            keys, values = (
                torch.cat([_padded(a, width, -2), _padded(b, width, -2)])
                for a, b in ((layer.keys, more.keys), (layer.values, more.values))
            )
            layer.replace(keys, values)
