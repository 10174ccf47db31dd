"""The bar of long commands: silent in logs, one bar per thing on a terminal."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from dcap.cli import progress


@pytest.mark.parametrize("terminal", [True, False])
def test_one_bar_per_thing(monkeypatch: pytest.MonkeyPatch, terminal: bool) -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=100)
    monkeypatch.setattr(progress, "log_console", console)
    with progress.progress_bars() as told:
        told("records", 5, 10)
        told("records", 10, 10)
        told("images", 1, 3)
    seen = out.getvalue()
    assert [part in seen for part in ("records", "10/10", "images", "1/3")] == [terminal] * 4
