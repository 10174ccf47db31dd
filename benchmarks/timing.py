"""How the benchmarks take time: in turns, so that a busy moment of the machine hits all rivals."""

from __future__ import annotations

import time
from collections.abc import Callable


def interleaved(calls: dict[str, Callable[[], object]], seconds: float = 4.0) -> dict[str, float]:
    """Least seconds of each call, in turns; quick calls are repeated within a turn."""
    repeats, times = {}, {name: [] for name in calls}
    for name, call in calls.items():
        begin = time.perf_counter()
        call()
        repeats[name] = max(1, round(0.02 / (time.perf_counter() - begin)))
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(next(iter(times.values()))) < 5:
        for name, call in calls.items():
            begin = time.perf_counter()
            for _ in range(repeats[name]):
                call()
            times[name].append((time.perf_counter() - begin) / repeats[name])
    return {name: min(samples) for name, samples in times.items()}
