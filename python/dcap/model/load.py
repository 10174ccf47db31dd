"""Loading a Qwen3-VL from a folder or the hub. Each failure gives a message of one line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch

from dcap.core.errors import ConfigError
from dcap.core.log import get_logger
from dcap.core.words import first_line
from dcap.data.encode import unusable
from dcap.demo.models import resolve_model
from dcap.model.attention import Kernel, choose_attention, use_attention
from dcap.model.config import ModelConfig
from dcap.model.layers import chosen_layers
from dcap.model.patch_embedding import multiply_patches
from dcap.model.quantization import check_quantization, quantise
from dcap.model.towers import is_mixture

log = get_logger(__name__)

WHERE = "model.name_or_path"
MODEL_CLASSES = {
    "qwen3_vl": "Qwen3VLForConditionalGeneration",
    "qwen3_vl_moe": "Qwen3VLMoeForConditionalGeneration",
}
"""transformers' class of each model type: the dense sizes, and those with a mixture of experts."""


def load_model(
    config: ModelConfig, device: torch.device, for_generation: bool = False, may_be_quantised: bool = False
) -> Any:
    """Load the model of `config` in its dtype and put it on `device`, in eval mode.

    Args:
        config: Which model, in what precision and with which attention.
        device: Where it goes.
        for_generation: Use transformers' own attention, which knows padding on the left and a cache; otherwise the
            kernels for packed rows (`dcap.model.attention`), which know neither.
        may_be_quantised: Take quantised weights too; transformers and the package of their method read them.

    Returns:
        A ``Qwen3VLForConditionalGeneration``, or of a mixture of experts a ``Qwen3VLMoeForConditionalGeneration``.

    Raises:
        ConfigError: There is no such folder, the hub does not answer, the weights are not safetensors, some are
            missing or have no place, it is no Qwen3-VL, or the attention cannot run on `device`.
        MissingPackageError: ``builtin:tiny`` is asked for without the package that holds the vocabulary, or a
            quantisation without bitsandbytes.
    """
    from safetensors import SafetensorError
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    check_quantization(config.quantization)
    dtype = getattr(torch, config.dtype)
    kernel = choose_attention(config.attention, device, dtype)
    source, settings = _checked(config, may_be_quantised)
    refusals: tuple[type[Exception], ...] = (*unusable(), SafetensorError)
    try:
        model, report = _class_of(settings).from_pretrained(
            source,
            revision=config.revision,
            dtype=dtype,
            attn_implementation="sdpa",
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except refusals as error:
        reason = first_line(error)
        if "ignore_mismatched_sizes" in reason:
            reason = "some have other shapes than its config.json says; the report above names them"
        raise ConfigError(f"{WHERE}: {source} must hold loadable safetensors weights: {reason}") from None
    _check_whole(report, source, getattr(model.config, "quantization_config", None) is not None)
    multiply_patches(model)
    if not for_generation:
        _take_rows(model, kernel)
    elif kernel == "flash_attention_2":
        use_attention(model, kernel)
    if config.quantization != "none":
        quantise(model, device)
    precision = config.dtype if config.quantization == "none" else f"{config.dtype} and {config.quantization}"
    log.info("model %s, %s, attention %s", config.name_or_path, precision, "sdpa" if for_generation else kernel)
    return model.to(device).eval()


def _check_whole(report: Mapping[str, Any], source: str, is_quantised: bool) -> None:
    """Refuse weights that are not those of the config: transformers makes up the missing ones, and drops the others."""
    if names := sorted(report["missing_keys"]):
        raise ConfigError(f"{WHERE}: {source} must hold every weight, but {len(names)} are missing, first {names[0]}")
    # The package of a quantisation has weights of its own.
    if (names := sorted(report["unexpected_keys"])) and not is_quantised:
        raise ConfigError(
            f"{WHERE}: {source} must hold the weights of its config.json and no others, but {len(names)} have no "
            f"place, first {names[0]}. Restore the config.json of these weights"
        )


def _take_rows(model: Any, kernel: Kernel) -> None:
    use_attention(model, kernel)
    # A cache would make transformers ignore the samples' bounds; it reads the text model's own setting.
    model.config.text_config.use_cache = False


def prepare_for_rows(model: Any, config: ModelConfig, device: torch.device) -> None:
    """Give a model that was loaded for generation the attention for packed rows.

    Args:
        model: A ``Qwen3VLForConditionalGeneration``.
        config: Says which attention, and in what precision the model will run.
        device: Where it will run.

    Raises:
        ConfigError: The attention cannot run on `device`.
    """
    _take_rows(model, choose_attention(config.attention, device, getattr(torch, config.dtype)))


def blank_model(config: ModelConfig) -> Any:
    """Return the model of `config` without its weights, on torch's meta device: shapes and names, and no memory.

    Raises:
        ConfigError: As `check_source`.
        MissingPackageError: As `check_source`.
    """
    _, settings = _checked(config)
    with torch.device("meta"):
        model = _class_of(settings)._from_config(settings, dtype=getattr(torch, config.dtype))
    multiply_patches(model)
    return model.eval()


def _class_of(settings: Any) -> Any:
    import transformers

    return getattr(transformers, MODEL_CLASSES[settings.model_type])


def check_source(config: ModelConfig, may_be_quantised: bool = False) -> str:
    """Return the folder or hub id of the model, and check that it is a Qwen3-VL before any weight is read.

    Args:
        config: Which model.
        may_be_quantised: As `load_model`.

    Raises:
        ConfigError: It is no folder and no hub id, the hub does not answer, it is another model, it is quantised, it
            has fewer layers than the adapter names, or it is a mixture of experts whose language model is to train in
            full or to be quantised.
        MissingPackageError: ``builtin:tiny`` is asked for without the package that holds the vocabulary.
    """
    return _checked(config, may_be_quantised)[0]


def _checked(config: ModelConfig, may_be_quantised: bool = False) -> tuple[str, Any]:
    """Return the folder or hub id of the model, as `check_source`, and its ``config``."""
    from transformers import AutoConfig

    source, revision = resolve_model(config.name_or_path), config.revision
    if Path(source).is_dir() and not (Path(source) / "config.json").is_file():
        raise ConfigError(f"{WHERE}: no model could be read from {source}: it has no config.json")
    try:
        found = AutoConfig.from_pretrained(source, revision=revision, trust_remote_code=False)
    except unusable() as error:
        hint = "" if Path(source).is_dir() else (
            ". There is no folder of that name here, and without a network the hub cannot be asked: give the folder of "
            "a downloaded copy"
        )  # fmt: skip
        raise ConfigError(
            f"{WHERE}: no model could be read from {source}: {first_line(error).rstrip('.')}{hint}"
        ) from None
    if found.model_type not in MODEL_CLASSES:
        known = " or ".join(MODEL_CLASSES)
        raise ConfigError(f"{WHERE}: {source} must be a Qwen3-VL (model type {known}), not {found.model_type}")
    quantised = getattr(found, "quantization_config", None) or getattr(found.text_config, "quantization_config", None)
    if quantised and not may_be_quantised:
        settings = quantised if isinstance(quantised, dict) else quantised.to_dict()
        raise ConfigError(
            f"{WHERE}: {source} must hold weights in float32, bfloat16 or float16, not quantised ones "
            f"({settings.get('quant_method', 'unknown method')}). Give the model that they were made from; with "
            "model.quantization=nf4, dcap itself makes weights of 4 bits from it"
        )
    chosen_layers(config.adapter.layers or {}, found)
    if is_mixture(found) and config.adapter.type == "full" and not config.freeze_llm:
        raise ConfigError(
            f"model.adapter.type must be lora, dora or rslora for {source}, a mixture of experts, not full: its router "
            "would train without the loss that keeps experts evenly busy. Set model.adapter.type=lora, or "
            "model.freeze_llm=true"
        )
    if is_mixture(found) and config.quantization != "none":
        raise ConfigError(
            f"model.quantization must be none for {source}, a mixture of experts, not {config.quantization}: its "
            "experts are nearly all of its weights, and would stay as they are. Set model.quantization=none"
        )
    return source, found


def load_exact(config: ModelConfig) -> Any:
    """Load a model for a merge: on the CPU, in the precision that it is stored in, so that no cast comes before it.

    A model in float16 becomes float32, which holds all of its values.

    Args:
        config: Which model; its own dtype does not count.

    Raises:
        ConfigError: As `load_model`.
        MissingPackageError: As `load_model`.
    """
    from transformers import AutoConfig

    settings = AutoConfig.from_pretrained(check_source(config), revision=config.revision, trust_remote_code=False)
    stored = settings.dtype or settings.text_config.dtype
    dtype: Literal["bfloat16", "float32"] = "bfloat16" if stored in (torch.bfloat16, "bfloat16") else "float32"
    exact = replace(config, dtype=dtype, attention="auto", quantization="none")
    return load_model(exact, torch.device("cpu"), for_generation=True)
