"""What a run was made with: ``environment.json`` in its folder."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import dcap
from dcap.core.files import write_whole
from dcap.core.log import get_logger

log = get_logger(__name__)

PACKAGES = (
    "torch", "transformers", "peft", "accelerate", "tokenizers", "safetensors", "numpy", "numba",
    "opencv-python-headless", "pillow",
)  # fmt: skip


def environment(world_size: int, device: str) -> dict[str, Any]:
    """Return versions, kernel backend, git commit and hardware of this process."""
    from dcap.kernels import BACKEND

    return {
        "dcap": dcap.__version__,
        "backend": BACKEND,
        "git_commit": git_commit(Path.cwd()),
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "world_size": world_size,
        "device": device,
        "packages": {name: _version(name) for name in PACKAGES},
    }


def write_environment(folder: Path, world_size: int, device: str) -> None:
    """Write ``environment.json`` into `folder`."""
    text = json.dumps(environment(world_size, device), indent=2)
    write_whole(folder / "environment.json", text + "\n")


def git_commit(folder: Path) -> str | None:
    """Return the commit that `folder` is at, or None when it is in no repository or git is not installed."""
    try:
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        log.debug("no git commit: %s", error)
        return None
    return done.stdout.strip()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
