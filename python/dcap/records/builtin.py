"""Bundled data by name: ``builtin:photos/train.jsonl`` is a file inside the installed package."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from dcap.core.errors import ConfigError, nearest_hint

PREFIX = "builtin:"


def resolve_data(path: str) -> Path:
    """Return the file that a data path of the config means.

    Args:
        path: ``builtin:NAME`` for bundled data; anything else is a path and stays as it is.

    Raises:
        ConfigError: No bundled file has that name.
    """
    if not path.startswith(PREFIX):
        return Path(path)
    assets = Path(str(files("dcap") / "assets"))
    known = {p.relative_to(assets).as_posix(): p for p in sorted(assets.rglob("*.jsonl"))}
    name = path.removeprefix(PREFIX)
    if name not in known:
        raise ConfigError(f"{path!r} must name bundled data{nearest_hint(name, known)}")
    return known[name]
