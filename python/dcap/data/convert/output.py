"""Files that appear whole or not at all: written beside their place, flushed to disk, then renamed."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from dcap.core.errors import ConfigError


@contextmanager
def whole_file(target: Path) -> Iterator[BinaryIO]:
    """Yield a scratch file that takes the place of `target` at the end; where the block fails, nothing changes.

    Folders on the way are made. Several threads may write one target at once: the last one wins.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = target.with_name(f".writing-{secrets.token_hex(8)}-{target.name}")
    try:
        with scratch.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(scratch, target)
    finally:
        scratch.unlink(missing_ok=True)


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
