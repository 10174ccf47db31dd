"""Layers of a tower, chosen by number: ``all``, ``first 4``, ``last 6``, ``0-3, 8`` or ``[0, 1, 8-11]``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal, get_args

from dcap.core.errors import ConfigError, nearest_hint
from dcap.core.words import show

LayeredTower = Literal["llm", "vit"]
"""The towers whose layers have numbers."""
LayerChoice = str | int | tuple[int | str, ...]
"""Layers as a config names them; the first one is 0."""

LAYER_STEMS: dict[LayeredTower, str] = {"llm": r"model\.language_model\.layers", "vit": r"model\.visual\.blocks"}
"""What comes before the number of a layer in the names of its modules, as a regular expression."""

_END = re.compile(r"(first|last)\s+(\d{1,4})")
_RANGE = re.compile(r"(\d{1,4})(?:\s*-\s*(\d{1,4}))?")
_MOST = 10_000
"""More than the number of any layer that can be written: how many there are is not known yet."""


def check_choices(choices: Mapping[str, LayerChoice]) -> None:
    """Refuse choices that no model could have, from the ``adapter:`` section.

    Raises:
        ConfigError: One is of a tower without numbered layers, or names no layers.
    """
    for tower, choice in choices.items():
        if tower not in get_args(LayeredTower):
            hint = ". To leave it out, set model.freeze_aligner=true"
            hint = hint if tower == "aligner" else nearest_hint(str(tower), get_args(LayeredTower))
            raise ConfigError(f"layers must name llm or vit, whose layers have numbers, not {show(tower)}{hint}")
        _numbers(choice, _MOST, f"layers.{tower}")


def chosen_layers(choices: Mapping[str, LayerChoice], settings: Any) -> dict[LayeredTower, tuple[int, ...]]:
    """Return the numbers of the layers that are chosen, rising; a tower that is not named has no entry.

    Args:
        choices: ``model.adapter.layers``.
        settings: The model's ``config``, which says how many layers there are.

    Raises:
        ConfigError: There are fewer layers.
    """
    counts: dict[LayeredTower, int] = {
        "llm": settings.text_config.num_hidden_layers,
        "vit": settings.vision_config.depth,
    }
    return {
        tower: _numbers(choices[tower], count, f"model.adapter.layers.{tower}")
        for tower, count in counts.items()
        if tower in choices
    }


def _numbers(choice: LayerChoice, count: int, where: str) -> tuple[int, ...]:
    """Return the layers that a choice means where there are `count`."""
    if choice == "all":
        return tuple(range(count))
    if isinstance(choice, str) and (match := _END.fullmatch(choice.strip())):
        number = int(match[2])
        if number < 1:
            raise ConfigError(f"{where} must be {match[1]} N with N at least 1, not {choice}")
        if number > count:
            raise ConfigError(f"{where} must be at most the {count} layers that there are, not {choice}")
        return tuple(range(count)[:number] if match[1] == "first" else range(count)[-number:])
    parts = choice.split(",") if isinstance(choice, str) else choice if isinstance(choice, tuple) else (choice,)
    found: set[int] = set()
    for part in parts:
        match = _RANGE.fullmatch(str(part).strip())
        if match is None or int(match[2] or match[1]) < int(match[1]):
            raise ConfigError(
                f"{where} must be all, first N, last N, or numbers and ranges such as 0-3, 8, not {show(choice)}"
            )
        found |= set(range(int(match[1]), int(match[2] or match[1]) + 1))
    if not found:
        raise ConfigError(f"{where} must name at least one layer. Leave it out for all layers")
    if max(found) >= count:
        raise ConfigError(f"{where} must name layers 0 to {count - 1}, which are all that there are, not {max(found)}")
    return tuple(sorted(found))
