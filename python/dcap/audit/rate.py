"""The rate of a run: tokens per second over all its devices, and the hours that a number of tokens takes."""

from __future__ import annotations

import json
from pathlib import Path

from dcap.core.errors import ConfigError


def measured_rate(folder: Path) -> float:
    """Return the tokens per second of a run so far, from its ``metrics.jsonl``.

    Lines weigh by their tokens; the first one, in which kernels are chosen and workers start, is left out where there
    are others.

    Args:
        folder: The run folder.

    Raises:
        ConfigError: There is no such file, or it tells no rate.
    """
    path = folder / "metrics.jsonl"
    if not path.is_file():
        raise ConfigError(f"--run must be the folder of a run, with metrics.jsonl in it, not {folder}")
    before, parts = 0, []
    for number, text in enumerate(path.read_text("utf-8").splitlines(), 1):
        try:
            line = json.loads(text)
        except ValueError:
            raise ConfigError(f"{path}:{number} must be JSON, as a run writes it") from None
        if "tokens_per_s" in line:
            parts.append((line["tokens"] - before, line["tokens_per_s"]))
            before = line["tokens"]
    parts = [(tokens, rate) for tokens, rate in parts[1:] or parts if tokens > 0 and rate > 0]
    if not parts:
        raise ConfigError(f"{path} must tell tokens_per_s of at least one step")
    return float(sum(tokens for tokens, _ in parts) / sum(tokens / rate for tokens, rate in parts))
