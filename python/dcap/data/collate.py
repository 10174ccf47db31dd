"""Collating: samples to one row or one padded batch of tensors, and the checks before the model sees it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypedDict

import numpy as np
import numpy.typing as npt
import torch

from dcap.augment.patches import PATCH, TEMPORAL, empty_patches, to_patches
from dcap.core.errors import TrainingError
from dcap.data.encode import IGNORE_INDEX, MERGE, PAD_ID
from dcap.data.sample import ObjectTokens, Sample, SampleKey
from dcap.data.tokens import TokenKind

PatchDtype = Literal["float32", "uint8"]
"""``float32``: normalised, both time steps; ``uint8``: the values as they are, one time step, an eighth of the bytes,
for `normalised`."""
_MIDDLE: Final = 127.5


@dataclass(frozen=True, slots=True)
class SampleInfo:
    """The facts that a batch keeps about each of its samples."""

    dataset: str
    sample_id: str
    weight: float
    num_supervised: int
    tally: Mapping[str, float] = field(default_factory=dict)
    """Sums of what its augmentation did, by name, such as ``objects``; empty for a filler."""
    objects: ObjectTokens = field(default_factory=ObjectTokens.none)
    """Where the objects are among the tokens of the answer."""
    key: SampleKey | None = None
    """The key by which the sample was asked for. `None`: it has no image, or no data set made it."""


class Batch(TypedDict, total=False):
    """Tensors of one forward pass; B rows of L tokens.

    ``input_ids``, ``labels``, ``mm_token_type_ids`` int64 (B, L); ``position_ids`` int64 (4, B, L): text, temporal,
    height, width; ``token_kinds`` uint8 (B, L), see `dcap.data.tokens.TokenKind`; ``loss_weights`` float32
    (B, L); ``pixel_values`` as `PatchDtype` says, float32 (patches, 1536) or uint8 (patches, 768), and
    ``image_grid_thw`` int64 (images, 3) when there is an image; ``cu_seqlens`` int32 (S + 1,) in packing mode, where B
    is 1; ``samples`` one `SampleInfo` each.
    """

    input_ids: torch.Tensor
    labels: torch.Tensor
    position_ids: torch.Tensor
    mm_token_type_ids: torch.Tensor
    token_kinds: torch.Tensor
    loss_weights: torch.Tensor
    pixel_values: torch.Tensor
    image_grid_thw: torch.Tensor
    cu_seqlens: torch.Tensor
    samples: list[SampleInfo]


@dataclass(frozen=True)
class PackingCollator:
    """Lay samples end to end in one row.

    ::

        input_ids     [ a a a a | b b b | c c c c c ]     (1, L); also labels, loss_weights and the kinds of tokens
        position_ids  [ 0 1 2 3 | 0 1 2 | 0 1 2 3 4 ]     row 0 of 4
        cu_seqlens    [ 0         4       7          12 ]
        pixel_values  [ patches of a | of b | of c ]      with image_grid_thw, one row for each image
        samples       [ a, b, c ]                         a `SampleInfo` of each

    `Batch` says what each key holds.

    Args:
        max_length: Most tokens of a row; `None`: no bound.
        patch_dtype: Format of the patches.
    """

    max_length: int | None = None
    patch_dtype: PatchDtype = "float32"

    def __call__(self, samples: Sequence[Sample]) -> Batch:
        """Return one row, with every key of `Batch`; without those of images where there is no image.

        Raises:
            TrainingError: There is no sample, one breaks the contract of rows, or together they are longer than
                `max_length`.
        """
        _check(samples)
        lengths = [len(s.input_ids) for s in samples]
        if self.max_length is not None and sum(lengths) > self.max_length:
            raise TrainingError(f"row must have at most {self.max_length} tokens, not {sum(lengths)}{_names(samples)}")
        batch = _batch([np.concatenate([getattr(s, name) for s in samples], axis=-1)[..., None, :] for name in _NAMES])
        weights = np.concatenate([np.full(len(s.input_ids), s.weight, np.float32) for s in samples])
        batch["loss_weights"] = torch.from_numpy(weights[None])
        batch["cu_seqlens"] = torch.from_numpy(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32))
        return _finished(batch, samples, self.patch_dtype)


@dataclass(frozen=True)
class PaddingCollator:
    """Pad samples on the right to the longest of the batch; padding has no label and attends to nothing real.

    Args:
        max_length: Most tokens of a sample; `None`: no bound.
        pad_id: Token id of the padding; the default is ``<|endoftext|>`` of Qwen3-VL.
        patch_dtype: Format of the patches.
    """

    max_length: int | None = None
    pad_id: int = PAD_ID
    patch_dtype: PatchDtype = "float32"

    def __call__(self, samples: Sequence[Sample]) -> Batch:
        """Return one batch of ``len(samples)`` rows, with every key of `Batch` but ``cu_seqlens``.

        Raises:
            TrainingError: There is no sample, or one breaks the contract of rows or is longer than `max_length`.
        """
        _check(samples)
        longest = max(len(s.input_ids) for s in samples)
        if self.max_length is not None and longest > self.max_length:
            raise TrainingError(f"sample must have at most {self.max_length} tokens, not {longest}{_names(samples)}")
        fills = (self.pad_id, IGNORE_INDEX, 0, TokenKind.PROMPT, 0)
        batch = _batch(
            [
                np.stack([_padded(getattr(s, name), longest, fill) for s in samples], axis=-2)
                for name, fill in zip(_NAMES, fills, strict=True)
            ]
        )
        weights = np.repeat(np.array([[s.weight] for s in samples], np.float32), longest, axis=1)
        batch["loss_weights"] = torch.from_numpy(weights)
        return _finished(batch, samples, self.patch_dtype)


_NAMES = ("input_ids", "labels", "mm_token_type_ids", "token_kinds", "position_ids")


def _batch(arrays: Sequence[npt.NDArray[Any]]) -> Batch:
    ids, labels, types, kinds, positions = (torch.from_numpy(np.ascontiguousarray(a)) for a in arrays)
    return {
        "input_ids": ids,
        "labels": labels,
        "mm_token_type_ids": types,
        "token_kinds": kinds,
        "position_ids": positions,
    }


def _padded(array: npt.NDArray[Any], length: int, fill: int) -> npt.NDArray[Any]:
    width = [(0, 0)] * (array.ndim - 1) + [(0, length - array.shape[-1])]
    return np.pad(array, width, constant_values=fill)


def _finished(batch: Batch, samples: Sequence[Sample], patch_dtype: PatchDtype) -> Batch:
    images = [s.scene.image for s in samples if s.scene.image is not None]
    if images:
        batch["pixel_values"] = _patches(images, patch_dtype)
        batch["image_grid_thw"] = torch.tensor([s.grid_thw for s in samples if s.grid_thw is not None])
    batch["samples"] = [_info(s) for s in samples]
    return batch


def _patches(images: Sequence[npt.NDArray[np.uint8]], dtype: PatchDtype) -> torch.Tensor:
    """Write the patches of all images into one tensor. New memory for each image would double the time."""
    rows = [image.shape[0] * image.shape[1] // PATCH**2 for image in images]
    out = empty_patches(sum(rows), dtype)
    for image, part in zip(images, np.split(out, np.cumsum(rows)[:-1]), strict=True):
        to_patches(image, dtype, part)
    return torch.from_numpy(out)


def normalised(patches: torch.Tensor) -> torch.Tensor:
    """Return patches as the vision tower takes them, with the same bits on any device.

    ::

        uint8    (N,  3 channels x     16 x 16)    values as they are, one time step
        float32  (N,  3 channels x 2 x 16 x 16)    (x - 127.5) / 127.5, both time steps the same image

    Args:
        patches: uint8 (N, 768); float32 (N, 1536) is returned as it is.

    Returns:
        float32 (N, 1536).
    """
    if patches.dtype != torch.uint8:
        return patches
    frames = one_time_step(patches).view(-1, 3, 1, PATCH**2).expand(-1, -1, TEMPORAL, -1)
    return frames.reshape(-1, 3 * TEMPORAL * PATCH**2)


def one_time_step(patches: torch.Tensor) -> torch.Tensor:
    """Return one time step of normalised patches, with the same bits on any device.

    Args:
        patches: uint8 (N, 768); or float32 (N, 1536), whose two time steps must be equal.

    Returns:
        float32 (N, 768).
    """
    if patches.dtype != torch.uint8:
        return patches.view(-1, 3, TEMPORAL, PATCH**2)[:, :, 0].reshape(-1, 3 * PATCH**2)
    # A tensor on the device: CUDA multiplies by the reciprocal of a plain number, which rounds otherwise.
    scale = torch.full((), _MIDDLE, device=patches.device)
    return patches.float().sub_(_MIDDLE).div_(scale)


def num_bytes(batch: Batch) -> int:
    """Return the bytes that a batch takes from a worker to the trainer."""
    return sum(value.nbytes for value in batch.values() if isinstance(value, torch.Tensor))


def _info(sample: Sample) -> SampleInfo:
    tally: Mapping[str, float] = {}
    if sample.grid_thw is not None:  # neither a filler of text nor a conversation
        tally = sample.augmented.telemetry.tally(sample.scene.canvas.num_pixels)
    return SampleInfo(
        dataset=sample.dataset,
        sample_id=sample.sample_id,
        weight=sample.weight,
        num_supervised=sample.num_supervised,
        tally=tally,
        objects=sample.objects,
        key=sample.key,
    )


def _names(samples: Sequence[Sample]) -> str:
    return f" (samples {', '.join(s.sample_id for s in samples)})"


def _check(samples: Sequence[Sample]) -> None:
    if not samples:
        raise TrainingError("a batch must have at least one sample, not none")
    for sample in samples:
        problem = _problem(sample)
        if problem:
            raise TrainingError(f"sample {sample.sample_id}: {problem}")


def _problem(sample: Sample) -> str | None:
    length = len(sample.input_ids)
    if length != sample.planned_length:
        return f"it must have the planned {sample.planned_length} tokens, not {length}"
    grid = sample.grid_thw
    patches = 0 if grid is None else grid[0] * grid[1] * grid[2]
    placeholders = int((sample.mm_token_type_ids == 1).sum())
    if placeholders * MERGE**2 != patches:
        return f"image placeholders must be a quarter of the {patches} patches, not {placeholders}"
    if sample.num_patches != patches:
        return f"pixel_values must have {patches} rows, not {sample.num_patches}"
    supervised = sample.labels != IGNORE_INDEX
    if not supervised.any() or supervised[0]:
        return "at least one token must be supervised, and the first must not be"
    if (supervised & (sample.mm_token_type_ids == 1)).any():
        return "no image token may carry a label"
    return None
