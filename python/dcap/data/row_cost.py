"""RowCost: how much work a row is, known before an image is opened; by it ranks share the rows of a step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

# Multiply-adds of one forward pass of Qwen3-VL-4B, from its config.json.
# Language model: 36 layers of 2560; 32 query and 8 key-value heads of 128; gated MLP of 9728.
_TOKEN = 36 * (2 * 2560 * 32 * 128 + 2 * 2560 * 8 * 128 + 3 * 2560 * 9728)
_TOKEN_SQUARED = 36 * (2 * 32 * 128) / 2  # scores and weighted sum; half of the pairs are masked
# Vision tower: 24 blocks of 1024, MLP of 4096; 4 patches become one image token.
_PATCH = 24 * (4 * 1024 * 1024 + 2 * 1024 * 4096)
_PATCH_SQUARED = 24 * 2 * 1024
_MERGE = (1 + 3) * (4096 * 4096 + 4096 * 2560)  # the merger and three deepstack mergers
_FORWARD_SHARE = 1 / 3


class SampleSize(NamedTuple):
    """What a sample's work depends on."""

    tokens: int
    """Tokens of the whole sample; 0 leaves it out."""
    image_tokens: int
    """Those that are image placeholders: a quarter of the patches."""


@dataclass(frozen=True, eq=False, slots=True)
class SampleSizes:
    """`SampleSize` of N samples.

    Args:
        tokens: int64 (N,).
        image_tokens: int64 (N,).
    """

    tokens: npt.NDArray[np.int64]
    image_tokens: npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class RowCost:
    """Cost of samples, in tokens: 1 is one token's way through the linear layers of the language model.

    ::

        tokens + token_squared * tokens^2 + image_token * image_tokens + image_token_squared * image_tokens^2

    The squares are attention, which a packed row computes within each sample, and the vision tower within each image.
    The defaults are ratios of multiply-adds in Qwen3-VL-4B with all towers training; for another size of the model
    they differ a little, and only the balance depends on them, never a result.
    """

    token_squared: float = _TOKEN_SQUARED / _TOKEN
    """4.1e-5: attention doubles the cost of a sample of 25 000 tokens."""
    image_token: float = (4 * _PATCH + _MERGE) / _TOKEN
    """0.36, with all four patches and the mergers."""
    image_token_squared: float = 16 * _PATCH_SQUARED / _TOKEN
    """2.2e-4: no image token is masked for another."""

    def frozen_vision(self) -> RowCost:
        """Return the cost where the vision tower has no backward pass, which is two thirds of the work."""
        return replace(
            self,
            image_token=self.image_token * _FORWARD_SHARE,
            image_token_squared=self.image_token_squared * _FORWARD_SHARE,
        )

    def of_samples(self, tokens: npt.NDArray[np.int64], image_tokens: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return the cost of each sample, int64 (N,): sums of whole numbers are the same on every rank's processor."""
        language = tokens + self.token_squared * np.square(tokens, dtype=np.float64)
        vision = self.image_token * image_tokens
        whole = language + (vision + self.image_token_squared * np.square(image_tokens, dtype=np.float64))
        return np.rint(whole).astype(np.int64)

    def of_rows(self, rows: Sequence[Sequence[int]], sizes: SampleSizes, padded: bool = False) -> npt.NDArray[np.int64]:
        """Return the cost of each row, int64.

        Args:
            rows: Samples of each row; none is empty.
            sizes: Of all samples.
            padded: Whether a row is a batch in which every sample is as long as the longest.
        """
        if not rows:
            return np.empty(0, np.int64)
        members = np.concatenate([np.asarray(row, np.int64) for row in rows])
        counts = np.array([len(row) for row in rows])
        starts = np.cumsum(counts) - counts
        tokens = sizes.tokens[members]
        if padded:
            tokens = np.repeat(np.maximum.reduceat(tokens, starts), counts)
        summed: npt.NDArray[np.int64] = np.add.reduceat(self.of_samples(tokens, sizes.image_tokens[members]), starts)
        return summed
