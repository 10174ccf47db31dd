"""Where a conversion may write."""

from __future__ import annotations

from pathlib import Path

from dcap.core.errors import ConfigError


def check_target(target: Path, source: Path, overwrite: bool) -> None:
    """Refuse to write over the input, or over a file unless `overwrite`.

    Raises:
        ConfigError: The file is there, or is the input itself.
    """
    if not target.exists():
        return
    if not target.is_file():
        raise ConfigError(f"--out must be a file, not a folder: {target}")
    if source.exists() and target.samefile(source):
        raise ConfigError(f"--out must be another file than the input, {source}")
    if not overwrite:
        raise ConfigError(f"--out must be a new file, and {target} exists. Give --overwrite to replace it.")
