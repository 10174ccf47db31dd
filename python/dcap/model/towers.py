"""The three towers of Qwen3-VL: which parameter belongs to which, and how much of each trains.

``llm`` is the language model with its embedding and head, ``vit`` the vision tower's blocks with its patch and
position embeddings, ``aligner`` what carries vision into language: ``merger`` and every ``deepstack_merger_list.*``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from rich.table import Table

from dcap.core.errors import ConfigError
from dcap.model.config import LLM_LINEAR, ModelConfig
from dcap.model.principal_adapter import START

Tower = Literal["llm", "vit", "aligner"]
TOWERS: tuple[Tower, ...] = ("llm", "vit", "aligner")

# Every module of a tower, and the linear layers inside that adapters take by default; names as in the bare model.
MODULES: dict[Tower, str] = {
    "llm": r"(?:model\.language_model\..+|lm_head)",
    "vit": r"model\.visual\.(?!merger\b|deepstack_merger_list\b).+",
    "aligner": r"model\.visual\.(?:merger|deepstack_merger_list)(?:\..+)?",
}
LINEAR: dict[Tower, str] = {
    "llm": rf"model\.language_model\.layers\.\d+\.(?:{'|'.join(map(re.escape, LLM_LINEAR))})",
    "vit": r"model\.visual\.blocks\.\d+\.(?:attn\.(?:qkv|proj)|mlp\.linear_fc[12])",
    "aligner": r"model\.visual\.(?:merger|deepstack_merger_list\.\d+)\.linear_fc[12]",
}

EXPERTS = re.compile(r"model\.language_model\.layers\.\d+\.mlp\.(?:gate|experts)(?:\..+)?")
"""The router and the experts of a layer, by the names of a mixture of experts; full-matched."""

_ALIGNER = re.compile(r"(?:^|\.)visual\.(?:merger|deepstack_merger_list)\.")
_VISUAL = re.compile(r"(?:^|\.)visual\.")


def tower_of(name: str) -> Tower:
    """Return the tower of a parameter or module, whatever wrappers put in front of its name."""
    if _ALIGNER.search(f"{name}."):
        return "aligner"
    return "vit" if _VISUAL.search(name) else "llm"


def is_mixture(settings: Any) -> bool:
    """Return whether a model is a mixture of experts.

    Args:
        settings: Its ``config``.
    """
    return hasattr(settings.text_config, "num_experts")


def frozen_towers(config: ModelConfig) -> frozenset[Tower]:
    """Return the towers that `config` keeps as they are."""
    flags = {"llm": config.freeze_llm, "vit": config.freeze_vit, "aligner": config.freeze_aligner}
    return frozenset(tower for tower in TOWERS if flags[tower])


@dataclass(frozen=True, slots=True)
class TowerCount:
    """Parameters of one tower, adapters included; without the frozen adapter that PiSSA and OLoRA put beside theirs."""

    tower: Tower
    total: int
    trainable: int


def count_parameters(model: torch.nn.Module) -> tuple[TowerCount, ...]:
    """Return the parameters of each tower, tied ones counted once."""
    total = dict.fromkeys(TOWERS, 0)
    trainable = dict.fromkeys(TOWERS, 0)
    for name, parameter in model.named_parameters():
        if f".{START}." in name:  # it takes a start away, and no model is saved with it
            continue
        tower = tower_of(name)
        total[tower] += num_values(parameter)
        trainable[tower] += parameter.numel() * parameter.requires_grad
    return tuple(TowerCount(tower, total[tower], trainable[tower]) for tower in TOWERS)


def num_values(parameter: torch.nn.Parameter) -> int:
    """Return the numbers that a parameter stands for: two in each byte of one in 4 bits."""
    quantised = getattr(parameter, "quant_state", None)
    return parameter.numel() if quantised is None else int(quantised.shape.numel())


def check_training_towers(counts: tuple[TowerCount, ...], config: ModelConfig) -> None:
    """Refuse a model in which a tower that is not frozen trains nothing, or a frozen one trains.

    Raises:
        ConfigError: Names the tower and the flag.
    """
    frozen = frozen_towers(config)
    for count in counts:
        if count.tower in frozen and count.trainable:
            raise ConfigError(
                f"model.freeze_{count.tower} must be false when target_modules or modules_to_save name a part of it"
            )
        if count.tower not in frozen and not count.trainable:
            raise ConfigError(
                f"model.freeze_{count.tower} must be true when nothing of the {count.tower} trains: target_modules "
                f"and modules_to_save name no layer of it. Set model.freeze_{count.tower}=true, or name one"
            )


def parameter_table(
    counts: tuple[TowerCount, ...], learning_rates: Mapping[Tower, float], lora_plus_ratio: float | None = None
) -> Table:
    """Return a table of what trains per tower, and how fast.

    Args:
        counts: Of each tower.
        learning_rates: Peak of each tower.
        lora_plus_ratio: How many times faster the matrices B of adapters train. `None`: as fast.
    """
    table = Table(title="what trains")
    table.add_column("tower")
    for heading in ("parameters", "trainable", "share", "peak lr"):
        table.add_column(heading, justify="right")
    for count in counts:
        share = f"{100 * count.trainable / max(count.total, 1):.2f} %" if count.trainable else "frozen"
        rate = rate_words(learning_rates[count.tower], lora_plus_ratio) if count.trainable else "-"
        table.add_row(count.tower, f"{count.total:,}", f"{count.trainable:,}", share, rate)
    return table


def rate_words(rate: float, lora_plus_ratio: float | None) -> str:
    """Return a learning rate in words, and with LoRA+ that of the matrices B."""
    return f"{rate:.3g}" if lora_plus_ratio is None else f"{rate:.3g}, B {rate * lora_plus_ratio:.3g}"
