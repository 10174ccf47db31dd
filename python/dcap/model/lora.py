"""Trained weights: adapters (LoRA, DoRA, rsLoRA) on the towers that are not frozen, or those towers in full."""

from __future__ import annotations

import itertools
import json
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from dcap.core.errors import ConfigError
from dcap.core.words import first_line
from dcap.demo.models import base_name
from dcap.model.adapter_patterns import check_patterns
from dcap.model.config import AdapterConfig, InitAdapter, ModelConfig
from dcap.model.layers import LAYER_STEMS, LayeredTower, chosen_layers
from dcap.model.principal_adapter import START, TRAINED, as_one_adapter, as_two_adapters, begin_at_principal
from dcap.model.saved_adapter import read_settings
from dcap.model.towers import (
    EXPERTS,
    LINEAR,
    MODULES,
    TOWERS,
    check_training_towers,
    count_parameters,
    frozen_towers,
    is_mixture,
    tower_of,
)


def attach(model: Any, config: ModelConfig) -> Any:
    """Freeze and adapt `model` as `config` says; weights that train become float32.

    Args:
        model: A bare ``Qwen3VLForConditionalGeneration``; adapters are put into it.
        config: Frozen towers and adapter.

    Returns:
        A ``PeftModel`` around `model`, or `model` itself for ``full``.

    Raises:
        ConfigError: A tower is not frozen but trains nothing, or the adapter does not fit where the config puts it.
    """
    model.requires_grad_(False)
    if config.adapter.type == "full":
        frozen = frozen_towers(config)
        layers = chosen_layers(config.adapter.layers or {}, model.config)
        for name, parameter in model.named_parameters():
            tower = tower_of(name)
            inside = tower == "aligner" or tower not in layers or re.match(_inside(tower, layers), name) is not None
            parameter.requires_grad_(tower not in frozen and inside)
    else:
        model = _with_adapter(model, config)
    for parameter in model.parameters():
        if parameter.requires_grad:
            # Steps of 1e-5 vanish in half precision; the forward pass casts down again under autocast.
            parameter.data = parameter.data.float()
    check_training_towers(count_parameters(model), config)
    return model


def _inside(tower: LayeredTower, layers: Mapping[LayeredTower, tuple[int, ...]]) -> str:
    """Return the regular expression of what the chosen layers of a tower hold."""
    return rf"{LAYER_STEMS[tower]}\.(?:{'|'.join(map(str, layers[tower]))})\..+"


def target_pattern(config: ModelConfig, layers: Mapping[LayeredTower, tuple[int, ...]]) -> str:
    """Return the regular expression that full-matches the names of the modules to adapt.

    Names or a pattern of the user's apply inside the towers that are not frozen, and nowhere else: ``linear_fc1``
    alone would hit the vision tower and the aligner alike.

    Args:
        config: Frozen towers and adapter.
        layers: The layers of each tower that are adapted, from `dcap.model.layers.chosen_layers`.
    """
    towers = [tower for tower in TOWERS if tower not in frozen_towers(config)]
    held = {t: MODULES[t] if t == "aligner" or t not in layers else _inside(t, layers) for t in towers}
    wanted = config.adapter.target_modules
    if wanted is None:
        return "|".join(
            f"(?:{LINEAR[t]})" if held[t] == MODULES[t] else f"(?=(?:{held[t]})$)(?:{LINEAR[t]})" for t in towers
        )
    if not isinstance(wanted, str):
        wanted = rf"(?:.+\.)?(?:{'|'.join(map(re.escape, wanted))})"
    inside = "|".join(held.values())
    return f"(?=(?:{inside})$)(?:{wanted})"


def _with_adapter(model: Any, config: ModelConfig) -> Any:
    from peft import LoraConfig, get_peft_model

    adapter = config.adapter
    pattern = target_pattern(config, chosen_layers(adapter.layers or {}, model.config))
    _check_names(model, adapter, pattern)
    settings = LoraConfig(
        r=adapter.rank,
        lora_alpha=adapter.alpha,
        lora_dropout=adapter.dropout,
        target_modules=pattern,
        modules_to_save=_saved_modules(model, adapter) or None,
        use_dora=adapter.type == "dora",
        use_rslora=adapter.type == "rslora",
        revision=config.revision,
    )
    try:
        with _deprecations_of_peft():
            adapted = get_peft_model(model, settings)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"model.adapter: {str(error).strip().splitlines()[0]}") from None
    if adapter.init != "default":
        begin_at_principal(adapted, adapter.init)
    # PEFT itself looks there for the base: the folder that a run wrote would not do, as the model is inside it.
    adapted.peft_config[TRAINED].base_model_name_or_path = _base_of(config)
    return adapted


def _base_of(config: ModelConfig) -> str:
    """Return the name of the weights below the adapter. With another adapter folded in, it leads to no model."""
    base = base_name(config.name_or_path)
    if isinstance(config.init_adapter, InitAdapter) and config.init_adapter.merge:
        return f"{base} + {Path(config.init_adapter.path).resolve()}"
    return base


@contextmanager
def _deprecations_of_peft() -> Iterator[None]:
    """Hide warnings that peft 0.21 causes by a name that transformers 5.23 replaced, and none of ours."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*gradient_checkpointing.*", category=FutureWarning)
        yield


def load_adapter(model: Any, folder: str | Path, *, for_merge: bool = False) -> Any:
    """Put a saved adapter on `model`, and check that every one of its weights arrived.

    Args:
        model: A bare ``Qwen3VLForConditionalGeneration``; adapters are put into it.
        folder: What `attach`'s model wrote with ``save_pretrained``.
        for_merge: Keep modules that were trained in full in float32, as they were saved. Otherwise they get the
            precision of `model`, which a forward pass needs.

    Returns:
        A ``PeftModel`` around `model`.

    Raises:
        ConfigError: The folder holds no adapter, or one of another model: a weight has no place, or a place no weight;
            or a weight is not finite.
    """
    from peft import PeftModel, get_peft_model_state_dict
    from peft.utils.other import ModulesToSaveWrapper
    from safetensors import SafetensorError, safe_open
    from safetensors.torch import load_file

    folder = Path(folder)
    if not (folder / "adapter_config.json").is_file():
        raise ConfigError(f"adapter must be a folder with adapter_config.json, not {folder}")
    settings = read_settings(folder / "adapter_config.json")
    check_patterns(settings, (name for name, _ in model.named_modules()), folder)
    try:
        with safe_open(str(folder / "adapter_model.safetensors"), framework="pt") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            saved = {name: tuple(each.get_shape()) for name, each in slices.items()}
            _check_types({name: each.get_dtype() for name, each in slices.items()}, folder)
        _check_rank(settings, saved, folder)
        with _deprecations_of_peft(), warnings.catch_warnings():
            # Said below as an error, with the name of the weight.
            warnings.filterwarnings("ignore", message="Found missing adapter keys", category=UserWarning)
            adapted = PeftModel.from_pretrained(model, str(folder))
    except ConfigError:
        raise
    except (*_OF_PEFT, SafetensorError) as error:
        said = f"PEFT finds no {error.args[0]}" if isinstance(error, KeyError) else first_line(error)
        raise ConfigError(f"adapter {folder} must fit the model: {said}") from None
    there = get_peft_model_state_dict(adapted, save_embedding_layers=False)
    for names, what in (
        (saved.keys() - there.keys(), "has no place in the model"),
        (there.keys() - saved.keys(), "is not in the file"),
    ):
        if names:
            raise ConfigError(f"adapter {folder} must fit the model, but {sorted(names)[0]} {what} ({len(names)} such)")
    check_finite(there, folder)
    if for_merge:
        # PEFT copies the module of the model, and so rounds the saved values to its precision.
        for module in adapted.modules():
            if isinstance(module, ModulesToSaveWrapper):
                module.modules_to_save.float()
        set_adapter(adapted, load_file(folder / "adapter_model.safetensors"))
    return adapted


def _check_types(types: Mapping[str, str], folder: Path) -> None:
    """Refuse weights that are whole numbers, or complex: PEFT makes others of them without a word."""
    for name, given in types.items():
        if given not in _FLOATS:
            raise ConfigError(
                f"adapter {folder} must hold weights of a type {', '.join(_FLOATS)}, and {name} is {given}"
            )


_FLOATS = ("F64", "F32", "F16", "BF16")


def _check_rank(settings: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]], folder: Path) -> None:
    """Refuse a rank that the weights do not have, before PEFT makes room for it."""
    lora = {name: shape for name, shape in shapes.items() if ".lora_A." in name or ".lora_embedding_A" in name}
    if not lora and settings.get("r") is not None and settings.get("peft_type", "LORA") == "LORA":
        raise ConfigError(
            f"adapter {folder} must fit the model: r is {settings['r']}, and adapter_model.safetensors has no weight "
            "of a rank. Restore the file, or take another adapter"
        )
    for name, shape in lora.items():
        if len(shape) < 2 or 0 in shape:
            raise ConfigError(
                f"adapter {folder} must fit the model: {name} must be a matrix, not of shape {list(shape)}"
            )
    inner = list(lora.values())
    if not inner:
        return
    # With a pattern, the common rank may be that of no module; no layer has use for one above its width.
    patterns = settings.get("rank_pattern") or {}
    largest = max(shape[0] for shape in inner)
    for name, rank, most in (
        ("r", settings.get("r"), max(map(max, inner)) if patterns else largest),
        *((f"rank_pattern.{key}", rank, largest) for key, rank in patterns.items()),
    ):
        if rank is not None and rank > most:
            raise ConfigError(
                f"adapter {folder} must fit the model: {name} is {rank}, and the largest rank of its weights {largest}"
            )


_OF_PEFT = (
    ValueError, RuntimeError, OSError, LookupError, TypeError, AttributeError, OverflowError, ImportError,
    AssertionError, re.error,
)  # fmt: skip
"""What PEFT raises about settings and weights that it cannot use."""


def check_finite(tensors: Mapping[str, torch.Tensor], folder: Path) -> None:
    """Refuse the weights of an adapter that would make every answer worthless, and no error.

    Args:
        tensors: Weights by name.
        folder: Where they come from, for the message.

    Raises:
        ConfigError: One is not finite.
    """
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor.float()).all():
            raise ConfigError(
                f"adapter {folder} must hold finite weights, and {name} does not. The training went wrong before it "
                "was saved: take an earlier checkpoint"
            )


def adapter_names(adapted: Any) -> list[str]:
    """Return the names of the parameters that the saved adapter of a model is made of."""
    return [name for name, p in adapted.named_parameters() if p.requires_grad or f".{START}." in name]


def save_adapter(adapted: Any, folder: Path, parts: dict[str, torch.Tensor] | None = None) -> None:
    """Write the adapter of a model in PEFT's format: settings and weights, which fit the base that it was put on.

    Args:
        adapted: From `attach`.
        folder: Written if need be.
        parts: Values of its `adapter_names`. `None`: those of the model, which then holds them whole.
    """
    from safetensors.torch import save_file

    # True or "auto" would look for the base model on the hub.
    adapted.save_pretrained(str(folder), selected_adapters=[TRAINED], state_dict=parts, save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)
    if START in adapted.peft_config:
        save_file(_adapter_tensors(adapted, parts), folder / "adapter_model.safetensors", metadata={"format": "pt"})
        path = folder / "adapter_config.json"
        settings = json.loads(path.read_text("utf-8"))
        # The same scale: alpha / rank.
        settings |= {name: 2 * settings[name] for name in ("r", "lora_alpha")}
        path.write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n", "utf-8")


def _adapter_tensors(adapted: Any, parts: dict[str, torch.Tensor] | None = None) -> dict[str, torch.Tensor]:
    """Return the weights of the adapter of a model by the names that PEFT saves them under, as they are saved."""
    from peft import get_peft_model_state_dict

    trained: dict[str, torch.Tensor] = get_peft_model_state_dict(adapted, parts, save_embedding_layers=False)
    if START not in adapted.peft_config:
        return trained
    start = get_peft_model_state_dict(adapted, parts, adapter_name=START, save_embedding_layers=False)
    return as_one_adapter(trained, start)


AsHeld = Callable[[Mapping[str, torch.Tensor], Mapping[str, torch.Tensor]], Mapping[str, torch.Tensor]]
"""Makes of tensors what a model holds in the places of the same names, of which it may have a part only."""


def _as_they_are(tensors: Mapping[str, torch.Tensor], _: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
    return tensors


def set_adapter(adapted: Any, tensors: Mapping[str, torch.Tensor], as_held: AsHeld = _as_they_are) -> list[str]:
    """Put saved weights of an adapter into one of the same shape.

    Args:
        adapted: A ``PeftModel``.
        tensors: Weights by the names that PEFT saves them under.
        as_held: What becomes of them before they are put into the model.

    Returns:
        Names that only one side has; the weights are put in only where there are none.

    Raises:
        RuntimeError: A shape differs.
    """
    from peft import get_peft_model_state_dict, set_peft_model_state_dict

    places = get_peft_model_state_dict(adapted, save_embedding_layers=False)
    odd = sorted(set(places) ^ set(tensors))
    if not odd and START in adapted.peft_config:
        start_places = get_peft_model_state_dict(adapted, adapter_name=START, save_embedding_layers=False)
        tensors, start = as_two_adapters(tensors, start_places)
        set_peft_model_state_dict(adapted, as_held(start, start_places), adapter_name=START)
    if not odd:
        set_peft_model_state_dict(adapted, as_held(tensors, places))
    return odd


def _check_names(model: Any, adapter: AdapterConfig, pattern: str) -> None:
    names = [name for name, _ in model.named_modules()]
    try:
        targets = [name for name in names if re.fullmatch(pattern, name)]
    except re.error as error:
        raise ConfigError(f"model.adapter.target_modules must be names or a regular expression: {error}") from None
    if not targets:
        raise ConfigError(
            "model.adapter.target_modules must name a layer of a tower that is not frozen, not "
            f"{adapter.target_modules!r}"
        )
    # A module that is trained in full takes all that it holds with it.
    trained = [name for name in names if any(f".{wanted}." in f".{name}." for wanted in adapter.modules_to_save)]
    if is_mixture(model.config) and (closed := [name for name in (*targets, *trained) if EXPERTS.fullmatch(name)]):
        raise ConfigError(
            f"model.adapter: {closed[0]} must stay as it is, as the router and the experts of a mixture do. Name "
            "modules of its attention, such as q_proj"
        )
    tied = {name for name in (*targets, *trained) if name.endswith(("embed_tokens", "lm_head"))}
    if tied and model.config.tie_word_embeddings:
        raise ConfigError(
            f"model.adapter: {sorted(tied)[0]} must not be adapted here, as head and embedding share their weights"
        )


def _saved_modules(model: Any, adapter: AdapterConfig) -> list[str]:
    """Return the names of `modules_to_save` as PEFT takes them: a list of modules by its members."""
    modules = dict(model.named_modules())
    out = []
    for wanted in adapter.modules_to_save:
        found = [name for name in modules if name == wanted or name.endswith(f".{wanted}")]
        if not found:
            raise ConfigError(f"model.adapter.modules_to_save: {wanted!r} must name a module, but there is none")
        for name in found:
            members = modules[name] if isinstance(modules[name], torch.nn.ModuleList) else None
            out += [name] if members is None else [f"{name}.{i}" for i in range(len(members))]
    for outer, inner in itertools.permutations(dict.fromkeys(out), 2):
        if inner.startswith(f"{outer}."):
            # PEFT would write both, and could not read them back.
            raise ConfigError(f"model.adapter.modules_to_save must not name {inner} beside {outer}, which holds it")
    return out


def bare_model(model: Any) -> Any:
    """Return the ``Qwen3VLForConditionalGeneration`` inside `model`, its layers adapted in place."""
    return model.get_base_model() if hasattr(model, "peft_config") else model


def layers(model: Any) -> tuple[torch.nn.Module, ...]:
    """Return the blocks of the vision tower and the layers of the language model, in the order in which they run."""
    core = bare_model(model).model
    return (*core.visual.blocks, *core.language_model.layers)


def enable_activation_checkpointing(model: Any) -> None:
    """Recompute activations in the backward pass.

    The reentrant kind would leave the vision tower's adapters without a gradient, and without an error.
    """
    bare_model(model).activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})


def trainable(model: torch.nn.Module) -> dict[str, torch.nn.Parameter]:
    """Return the parameters that train, by name, in the model's order."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
