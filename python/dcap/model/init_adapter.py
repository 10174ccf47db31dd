"""The adapter of an earlier run that training begins with: trained further, or folded into the model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from dcap.core.errors import ConfigError
from dcap.core.log import get_logger
from dcap.model.config import InitAdapter, ModelConfig
from dcap.model.fingerprint import check_base, weights_digest
from dcap.model.load import load_exact, load_model, prepare_for_rows
from dcap.model.lora import check_finite, load_adapter, set_adapter
from dcap.model.merge import merge_adapter
from dcap.model.quantization import quantise
from dcap.model.saved_adapter import WEIGHTS, SavedAdapter, find_adapter

log = get_logger(__name__)

FIELD = "model.init_adapter"


def find_init_adapter(config: ModelConfig) -> SavedAdapter | None:
    """Find the adapter that training begins with, and check all that can be checked without the model.

    Raises:
        ConfigError: There is no adapter, or it is to be trained further and ``model.adapter`` describes another one, or
            cannot describe it.
        CheckpointError: A file of the adapter is damaged.
    """
    init = config.init_adapter
    if init is None:
        return None
    assert isinstance(init, InitAdapter)
    saved = find_adapter(Path(init.path), f"{FIELD}.path")
    if not init.merge:
        _check_settings(saved, config)
        _check_describable(saved)
    return saved


def _check_settings(saved: SavedAdapter, config: ModelConfig) -> None:
    wanted = config.adapter
    pairs = (
        ("type", saved.kind, wanted.type),
        ("rank", saved.settings.get("r"), wanted.rank),
        ("alpha", saved.settings.get("lora_alpha"), wanted.alpha),
    )
    for name, there, here in pairs:
        if there != here:
            raise ConfigError(
                f"model.adapter.{name} must be {there}, that of {FIELD} {saved.folder}, to go on training it, not "
                f"{here}. Or set {FIELD}.merge=true, to fold it into the model and train a new one"
            )


def _check_describable(saved: SavedAdapter) -> None:
    """Refuse an adapter with settings that ``model.adapter`` has not: it would go on with another scale or form."""
    settings = saved.settings
    odd = [name for name in ("rank_pattern", "alpha_pattern") if settings.get(name)]
    if settings.get("use_dora") and settings.get("use_rslora"):
        odd.append("use_rslora")
    if settings.get("init_lora_weights", True) not in (True, False, "gaussian"):
        odd.append("init_lora_weights")
    if settings.get("bias", "none") != "none":
        odd.append("bias")
    if odd:
        raise ConfigError(
            f"{FIELD} must be an adapter that model.adapter can describe, to go on training it, and {saved.folder} has "
            f"{odd[0]} {json.dumps(settings[odd[0]])}. Set {FIELD}.merge=true, to fold it into the model and train a "
            "new one"
        )


def load_trained(config: ModelConfig, device: torch.device, saved: SavedAdapter | None) -> Any:
    """Load the model that adapters are put on, with the adapter of `config` folded in where that is to be merged.

    Args:
        config: Which model, in what precision and with which attention.
        device: Where it goes.
        saved: From `find_init_adapter`.

    Returns:
        A ``Qwen3VLForConditionalGeneration``, as `dcap.model.load.load_model` gives it for training. Its weights are
        those that ``dcap export --dtype`` writes in the precision of `config`: to the bit on the same machine; on
        another one, sums in another order may change a last bit.

    Raises:
        ConfigError: As `load_model`; or the adapter was trained on other weights, or does not fit.
        MissingPackageError: As `load_model`.
    """
    if saved is None or not config.folds_init_adapter:
        return load_model(config, device)
    model = load_exact(config)
    check_base(weights_digest(model), _name(config), saved, _WAY_OUT)
    adapted = load_adapter(model, saved.folder, for_merge=True)
    model, survival = merge_adapter(adapted, getattr(torch, config.dtype))
    prepare_for_rows(model, config, device)
    least = min(survival, key=lambda each: each.share)
    log.info(
        "%s is folded into the model; of the update of %s %s, the least, %.1f %% survives the cast to %s",
        saved.folder, least.tower, least.layer, 100 * least.share, config.dtype,
    )  # fmt: skip
    if config.quantization != "none":
        quantise(model, device)
    return model.to(device).eval()


def continue_adapter(model: Any, digest: str, config: ModelConfig, saved: SavedAdapter | None) -> None:
    """Give a new adapter the weights of the one that is to be trained further, every bit of them.

    Args:
        model: From `dcap.model.lora.attach`.
        digest: `weights_digest` of the bare model.
        config: Which model.
        saved: From `find_init_adapter`. Nothing happens without one, nor with one that was folded in.

    Raises:
        ConfigError: The adapter was trained on other weights, or of other modules or shapes, or a weight is not finite.
    """
    if saved is None or config.folds_init_adapter:
        return
    check_base(digest, _name(config), saved, _WAY_OUT)
    way_out = f"Adapt the same modules, or set {FIELD}.merge=true, to fold it into the model and train a new one"
    try:
        tensors = load_file(saved.folder / WEIGHTS)
        odd = set_adapter(model, tensors)
    except (RuntimeError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[-1].strip()
        raise ConfigError(f"{FIELD} {saved.folder} must fit model.adapter: {reason}. {way_out}") from None
    if odd:
        raise ConfigError(f"{FIELD} {saved.folder} must fit model.adapter, but {odd[0]} is on one side only. {way_out}")
    check_finite(tensors, saved.folder)
    log.info("training goes on from %s", saved.folder)
    if saved.quantization != config.quantization:
        log.warning(
            "%s was trained with model.quantization %s and goes on with %s: the weights below it differ a little",
            saved.folder, saved.quantization, config.quantization,
        )  # fmt: skip


_WAY_OUT = "Give the model that the adapter was trained on"


def _name(config: ModelConfig) -> str:
    return f"model.name_or_path {config.name_or_path}"
