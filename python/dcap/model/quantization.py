"""A base in 4 bits (nf4): the linear layers of the language model, by bitsandbytes; adapters train on top.

::

    64 numbers      ->  one scale, the largest of them, and 4 bits for each: the nearest of 16 values
    256 scales      ->  one scale of their own, and 8 bits for each ("double quantisation")

In a forward or backward pass a layer makes its weight anew in the precision of the pass. Vision tower, aligner,
embedding, norms and head keep their precision.

Source: Dettmers et al., "QLoRA: Efficient Finetuning of Quantized LLMs", 2023.
"""

from __future__ import annotations

import math
import re
from importlib.util import find_spec
from typing import Any

import torch

from dcap.core.errors import MissingPackageError
from dcap.core.packages import install_command
from dcap.model.config import Quantization
from dcap.model.fingerprint import keep_digest
from dcap.model.towers import LINEAR

_BLOCK = 64
"""Numbers that share a scale."""
_SCALES = 256
"""Scales that share a scale."""
_TABLES = 4 * (16 + 256 + 1)
"""Bytes of the values of both kinds of numbers, and of the mean of the scales, of each matrix."""


def has_bitsandbytes() -> bool:
    """Whether the package is installed."""
    return find_spec("bitsandbytes") is not None


def check_bitsandbytes(wanted_by: str, way_out: str = "") -> None:
    """Check that bitsandbytes is installed.

    Args:
        wanted_by: Field or option that needs it, with its value, for the message.
        way_out: A further sentence.

    Raises:
        MissingPackageError: It is not.
    """
    if not has_bitsandbytes():
        raise MissingPackageError(
            f"{wanted_by}: bitsandbytes must be installed, and is not. Run: {install_command('quantized')}{way_out}"
        )


def check_quantization(quantization: Quantization, way_out: str = "") -> None:
    """Check that the package of a quantisation is installed; arguments as `check_bitsandbytes`.

    Raises:
        MissingPackageError: It is not.
    """
    if quantization != "none":
        check_bitsandbytes(f"model.quantization {quantization}", way_out)


def quantise(model: Any, device: torch.device) -> None:
    """Put the linear layers of the language model into 4 bits, on `device`; the digest of the weights is kept.

    The numbers are rounded to bfloat16 first. So they are the same 4 bits whatever precision the model was loaded in.

    Args:
        model: A bare ``Qwen3VLForConditionalGeneration``, on the CPU.
        device: Where they go.
    """
    from bitsandbytes.nn import Linear4bit, Params4bit

    keep_digest(model)
    names = [name for name, _ in model.named_modules() if re.fullmatch(LINEAR["llm"], name)]
    for name in names:
        linear = model.get_submodule(name)
        weight, dtype = linear.weight.data, linear.weight.dtype
        with torch.device("meta"):
            layer = Linear4bit(
                linear.in_features, linear.out_features, linear.bias is not None, compute_dtype=dtype, quant_type="nf4"
            )
        layer.bias = linear.bias
        # The constructor has the settings; moving it to a device is what quantises.
        rounded = weight.to(torch.bfloat16).to(dtype)
        layer.weight = Params4bit(rounded, requires_grad=False, quant_type="nf4", module=layer).to(device)
        # On some CPUs it would repack its weights for prediction, round otherwise than in training, and not go back.
        layer.support_avx512bf16_for_cpu = False
        model.set_submodule(name, layer)
    model.is_loaded_in_4bit = True  # PEFT looks there


def is_quantised(name: str) -> bool:
    """Whether a weight of a model, with or without adapters, is one that `quantise` puts into 4 bits."""
    bare = name.removeprefix("base_model.model.").replace(".base_layer.", ".")
    return bare.endswith(".weight") and re.fullmatch(LINEAR["llm"], bare.removesuffix(".weight")) is not None


def quantised_bytes(num_values: int) -> int:
    """Return the memory of a matrix in 4 bits.

    Args:
        num_values: Its numbers.
    """
    scales = math.ceil(num_values / _BLOCK)
    return math.ceil(num_values / 2) + scales + 4 * math.ceil(scales / _SCALES) + _TABLES
