"""What an inference server takes of an adapter, and the command that starts one; for vLLM."""

from __future__ import annotations

import shlex
from pathlib import Path

from safetensors import safe_open

from dcap.core.errors import ConfigError
from dcap.model.saved_adapter import WEIGHTS, SavedAdapter
from dcap.model.towers import tower_of

RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""Largest ranks that vLLM can be started for."""


def check_servable(adapter: SavedAdapter) -> None:
    """Refuse an adapter that no server takes as it is.

    Raises:
        ConfigError: Names all that a server does not take.
    """
    problems = []
    if adapter.kind not in ("lora", "rslora"):
        problems.append(f"type {adapter.kind}")
    if adapter.modules_to_save:
        problems.append(f"modules_to_save ({', '.join(adapter.modules_to_save)})")
    if adapter.rank > RANKS[-1]:
        problems.append(f"rank {adapter.rank}")
    if problems:
        raise ConfigError(
            f"--format peft must have a LoRA or rsLoRA adapter of rank {RANKS[-1]} or less, without modules_to_save, "
            f"as servers take no other, and {adapter.folder} has {' and '.join(problems)}. Merge instead: --format "
            "merged"
        )


def serve_command(adapter: SavedAdapter, base: str, out: Path) -> str:
    """Return the command by which vLLM serves a base with an adapter.

    Args:
        adapter: One that `check_servable` takes.
        base: Hub id or folder of the base model.
        out: Folder of the adapter.
    """
    rank = next(each for each in RANKS if each >= adapter.rank)
    words = ["vllm", "serve", base, "--enable-lora", "--max-lora-rank", str(rank)]
    if adapts_vision(adapter):
        # Without it, vLLM leaves these weights out, and says so in a line of its log.
        words.append("--enable-tower-connector-lora")
    return shlex.join([*words, "--lora-modules", f"tuned={out}"])


def adapts_vision(adapter: SavedAdapter) -> bool:
    """Whether an adapter changes the vision tower or the aligner."""
    with safe_open(str(adapter.folder / WEIGHTS), framework="pt") as file:
        return any(tower_of(name) != "llm" for name in file.keys())  # noqa: SIM118 - it is no mapping
