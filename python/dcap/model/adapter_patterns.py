"""The regular expressions in the settings of a saved adapter, which may come from anywhere.

A few signs can keep ``re`` busy for years, and nothing can stop it inside a process. So another process tries them
first, on the same names, and is ended when it takes too long.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from dcap.core.errors import ConfigError

MOST_SECONDS = 20.0
"""Time for all expressions of an adapter and all modules of a model; an honest one takes less than one."""
_PROGRAM = """
import json, re, sys
expressions, names = json.load(sys.stdin)
for expression in expressions:
    try:
        match = re.compile(expression).match
    except (re.error, OverflowError, RecursionError):
        continue  # PEFT says so when it comes to it
    for name in names:
        match(name)
"""


def check_patterns(settings: Mapping[str, Any], names: Iterable[str], folder: Path) -> None:
    """Refuse an adapter whose expressions would keep PEFT busy for ever.

    Args:
        settings: Of the adapter, as PEFT writes them.
        names: Of the modules of the model.
        folder: The adapter, for the message.

    Raises:
        ConfigError: They take too long.
    """
    expressions = _expressions(settings)
    if not expressions:
        return
    given = json.dumps([expressions, list(names)])
    # -I: nothing of the user's environment runs in it.
    command = [sys.executable, "-I", "-c", _PROGRAM]
    try:
        done = subprocess.run(command, input=given, text=True, timeout=MOST_SECONDS, check=False, capture_output=True)
    except subprocess.TimeoutExpired:
        done = None
    if done is None or done.returncode:
        raise ConfigError(
            f"adapter {folder} must name its modules by expressions that are matched within {MOST_SECONDS:g} seconds, "
            "and target_modules or another field of adapter_config.json takes longer. Write the names as a list"
        )


def _expressions(settings: Mapping[str, Any]) -> list[str]:
    """Return the expressions that PEFT makes of settings, as it makes them."""
    whole = ("target_modules", "exclude_modules")  # lists of these are names
    found = [f"(?:{given})$" for name in whole if isinstance(given := settings.get(name), str)]
    found += [rf"(^|.*\.){given}($|\..*)" for given in _texts(settings, "modules_to_save")]
    found += [rf"(?:^|.*?\.){given}\.(?P<idx>\d+)\." for given in _texts(settings, "layers_pattern")]
    found += [rf"(.*\.)?({given})$" for name in ("rank_pattern", "alpha_pattern") for given in _texts(settings, name)]
    return found


def _texts(settings: Mapping[str, Any], name: str) -> list[str]:
    """Return the texts of a field: the only one, those of a list, or the keys of an object."""
    value = settings.get(name)
    if isinstance(value, str):
        return [value]
    return [text for text in value if isinstance(text, str)] if isinstance(value, list | dict) else []
