"""The folder for files that dcap can make again."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """Return ``$XDG_CACHE_HOME/dcap``, or ``~/.cache/dcap`` where that is not set; it may not exist yet.

    Raises:
        RuntimeError: The user has no home folder, as `Path.home` says.
    """
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dcap"
