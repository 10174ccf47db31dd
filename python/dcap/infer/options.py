"""The options of ``dcap predict``, and the device and precision that follow from them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from dcap.core.errors import ConfigError
from dcap.geometry.canvas import MAX_PIXELS

DType = Literal["float32", "bfloat16", "float16"]


@dataclass(frozen=True, slots=True)
class PredictOptions:
    """One run of ``dcap predict``."""

    model: str
    """``builtin:tiny``, hub id or folder."""
    data: tuple[Path, ...]
    """Annotation files; their objects are not looked at."""
    out: Path
    """Prediction file; continued when it is there."""
    adapter: Path | None = None
    """Folder of the adapter, or the one that ``dcap train`` wrote."""
    revision: str | None = None
    """Hub revision of the model."""
    batch_size: int = 4
    """Images at a time."""
    max_new_tokens: int = 4096
    """Stop an answer after this many tokens."""
    limit: int | None = None
    """Predict the first records only."""
    dataset: str | None = None
    """Data set of a mixture whose prompts and answer settings are used; none takes those of ``data.answer``."""
    mode: Literal["dense", "summary"] | None = None
    """What is asked; none asks what the model was trained to answer, located objects where that is both."""
    dtype: DType | None = None
    """Precision; none is bfloat16 on CUDA and float32 on the CPU."""
    device: str | None = None
    """``cuda``, ``cuda:1``, ``cpu``; none takes CUDA where there is one."""
    root: Path | None = None
    """Folder that image paths must stay in."""
    on_bad_record: Literal["error", "skip"] = "error"
    """Stop at a bad record or image, or leave it out, count it and list it."""
    max_image_pixels: int = MAX_PIXELS
    """Refuse larger images from their header."""
    overwrite: bool = False
    """Start anew even when the prediction file is there."""

    def __post_init__(self) -> None:
        for name in ("batch_size", "max_new_tokens", "limit"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"--{name.replace('_', '-')} must be at least 1, not {value}")


def choose_device(device: str | None, dtype: DType | None) -> tuple[torch.device, DType]:
    """Return device and precision, filling in what was not asked for.

    Raises:
        ConfigError: There is no such device.
    """
    try:
        chosen = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    except RuntimeError as error:
        raise ConfigError(f"--device must be cuda, cuda:N or cpu, not {device!r}: {error}") from None
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise ConfigError(f"--device must be one of this machine's, which has {torch.cuda.device_count()} CUDA "
                          f"device(s), not {device}")  # fmt: skip
    return chosen, dtype or ("bfloat16" if chosen.type == "cuda" else "float32")
