import io
import logging

from rich.console import Console

from dcap.infer import progress
from dcap.infer.progress import Progress


def test_terminal_shows_count_and_rate(monkeypatch):
    screen = io.StringIO()
    monkeypatch.setattr(progress, "console", Console(file=screen, force_terminal=True, width=100))
    with Progress(total=10, done=4) as bar:
        bar.advance(2)
    assert "6/10" in screen.getvalue()
    assert "images/s" in screen.getvalue()


def test_log_gets_a_line_now_and_then_and_one_at_the_end(monkeypatch, caplog):
    monkeypatch.setattr(progress, "console", Console(file=io.StringIO(), force_terminal=False))
    monkeypatch.setattr(logging.getLogger("dcap"), "propagate", True)
    clock = iter([0.0, 1.0, 40.0, 41.0, 50.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    with caplog.at_level("INFO", logger="dcap"), Progress(total=10, done=2) as bar:
        for _ in range(4):
            bar.advance(2)
    assert [record.getMessage() for record in caplog.records] == [
        "6 of 10 images, 0.10 per second, 40 s left",
        "10 of 10 images, 0.16 per second, 0 s left",
    ]
