"""Packages as pip installs them, and processes that see them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path


def distribution(
    folder: Path, name: str, entry_points: Mapping[str, Mapping[str, str]], files: Mapping[str, str]
) -> Path:
    """Write a distribution's modules and metadata, and return the folder to be put on the path."""
    site = folder / "site"
    info = site / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    groups = [[f"[{group}]", *(f"{k} = {v}" for k, v in points.items())] for group, points in entry_points.items()]
    (info / "entry_points.txt").write_text("\n".join(line for lines in groups for line in lines) + "\n")
    for path, text in files.items():
        (site / path).write_text(text, "utf-8")
    return site


def run_beside(site: Path, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own that finds what lies in `site`."""
    path = os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": path}
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, env=environment)
