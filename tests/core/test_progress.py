"""Bars: silent in logs, one per thing on a terminal, and lines of a log where there is none."""

from __future__ import annotations

import io
import logging
import re
import time

import pytest
from rich.console import Console

from dcap.core import progress
from dcap.core.progress import LoggedProgress, progress_bars


def screen(terminal: bool = True) -> tuple[Console, io.StringIO]:
    out = io.StringIO()
    return Console(file=out, force_terminal=terminal, width=100), out


@pytest.mark.parametrize("terminal", [True, False])
def test_one_bar_per_thing(terminal: bool) -> None:
    console, out = screen(terminal)
    with progress_bars(console) as told:
        told("records", 5, 10)
        told("records", 10, 10)
        told("images", 1, 3)
    seen = out.getvalue()
    assert [part in seen for part in ("records", "10/10", "images", "1/3")] == [terminal] * 4


@pytest.mark.parametrize(("terminal", "number"), [(True, 5), (False, 200)])
def test_long_work_without_a_bar_has_a_line_now_and_then(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, terminal: bool, number: int
) -> None:
    monkeypatch.setattr(logging.getLogger("dcap"), "propagate", True)
    monkeypatch.setattr(progress, "console", screen(terminal)[0])
    times = iter(range(0, 10_000, 10))
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(times))
    with caplog.at_level(logging.INFO):
        assert list(progress.progress(range(number), "Reading")) == list(range(number))
    assert caplog.messages == [f"Reading: {k} of {number}" for k in range(3, number + 1, 3)]


def test_the_time_goes_on_while_an_item_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(logging.getLogger("dcap"), "propagate", True)
    monkeypatch.setattr(progress, "LOG_EVERY_S", 1e-3)
    console, _ = screen(terminal=False)
    with caplog.at_level("INFO", logger="dcap"):
        with LoggedProgress(10, 2, "images", console, waits_for="the server") as bar:
            while not caplog.messages:
                time.sleep(1e-3)
        assert re.fullmatch(r"2 of 10 images after \d+ s; waiting for the server", caplog.messages[0])
        assert not bar._waiting.is_alive()
    console, out = screen()
    with LoggedProgress(10, 2, "images", console, waits_for="the server") as bar:
        assert bar.bar is not None
        task = bar.bar.tasks[0]
        monkeypatch.setattr(task, "_get_time", lambda: (task.start_time or 0.0) + 83)
        bar.bar.refresh()
    assert "0:01:23" in out.getvalue()


@pytest.mark.parametrize(("terminal", "number", "shown"), [(True, 200, True), (True, 5, False), (False, 200, False)])
def test_long_work_has_a_bar_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, terminal: bool, number: int, shown: bool
) -> None:
    console, out = screen(terminal)
    monkeypatch.setattr(progress, "console", console)
    assert list(progress.progress(range(number), "Reading")) == list(range(number))
    assert ("Reading" in out.getvalue()) == shown


def test_a_terminal_shows_count_and_rate() -> None:
    console, out = screen()
    with LoggedProgress(10, 4, "images", console) as bar:
        bar.advance(2)
    assert "6/10" in out.getvalue()
    assert "images/s" in out.getvalue()


def test_a_log_gets_a_line_now_and_then_and_one_at_the_end(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(logging.getLogger("dcap"), "propagate", True)
    clock = iter([0.0, 1.0, 40.0, 41.0, 50.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    console, _ = screen(terminal=False)
    with caplog.at_level("INFO", logger="dcap"), LoggedProgress(10, 2, "images", console) as bar:
        for _ in range(4):
            bar.advance(2)
    assert caplog.messages == [
        "6 of 10 images, 0.10 per second, 40 s left",
        "10 of 10 images, 0.16 per second, 0 s left",
    ]


def test_work_without_items_says_now_and_then_how_far_it_is(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(logging.getLogger("dcap"), "propagate", True)
    times = iter([0.0, 1.0, progress.LOG_EVERY_S, progress.LOG_EVERY_S + 1, 2 * progress.LOG_EVERY_S])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(times))
    asked: list[int] = []

    def describe() -> str:
        asked.append(len(asked))
        return f"{len(asked)} tokens"

    with caplog.at_level(logging.INFO):
        sign = progress.SignOfLife()
        for _ in range(4):
            sign.tell(describe)
    assert caplog.messages == ["1 tokens", "2 tokens"]


def test_short_work_has_no_line(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(logging.getLogger("dcap"), "propagate", True)
    console, _ = screen(terminal=False)
    with caplog.at_level("INFO", logger="dcap"), LoggedProgress(1, 0, "images", console) as bar:
        bar.advance(1)
    assert caplog.messages == []
