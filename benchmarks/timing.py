"""How the benchmarks take time: in turns, so that a busy moment of the machine hits all rivals.

The least time of each call counts. Other programs can only add to it, so it comes nearer to what the call itself needs
the more turns there are. That is why a benchmark that misses a floor goes on for a while before it fails.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping

Seconds = dict[str, float]
Floors = Mapping[tuple[str, str], float]
"""How many times as long as the second of two calls the first one must take at least."""

LEAST_TURNS = 2
PATIENCE = 6
"""While a floor is missed, turns go on for so many times the seconds that are enough otherwise."""
SLICE = 0.1
"""Seconds that a quick call gets per turn, so that it has as many chances as a slow one."""
CHUNK = 0.02
"""Seconds that are timed at once; very quick calls are repeated."""


def interleaved(calls: dict[str, Callable[[], object]], floors: Floors | None = None, seconds: float = 1.5) -> Seconds:
    """Return the least seconds of each call, timed in turns."""
    times: dict[str, list[float]] = {}
    repeats: dict[str, int] = {}
    for name, call in calls.items():
        begin = time.perf_counter()
        call()
        spent = time.perf_counter() - begin
        repeats[name] = max(1, round(CHUNK / spent))
        times[name] = [spent] if repeats[name] == 1 else []
    for _ in turns(times, floors or {}, seconds):
        for name, call in calls.items():
            end = time.perf_counter() + SLICE
            while (begin := time.perf_counter()) < end:
                for _ in range(repeats[name]):
                    call()
                times[name].append((time.perf_counter() - begin) / repeats[name])
    return least(times)


def turns(times: Mapping[str, list[float]], floors: Floors, seconds: float) -> Iterator[None]:
    """Yield once per turn until `times`, to which every turn adds, are enough."""
    begin = time.perf_counter()
    for _ in range(LEAST_TURNS):
        yield
    while (spent := time.perf_counter() - begin) < PATIENCE * seconds:
        if spent > seconds and not missed(least(times), floors):
            return
        yield


def least(times: Mapping[str, list[float]]) -> Seconds:
    return {name: min(samples) for name, samples in times.items()}


def missed(seconds: Seconds, floors: Floors) -> dict[tuple[str, str], float]:
    """Return the ratios below their floor. What was not timed has none, as a rival that is not installed."""
    ratios = {pair: seconds[pair[0]] / seconds[pair[1]] for pair in floors if seconds.keys() >= set(pair)}
    return {pair: ratio for pair, ratio in ratios.items() if ratio < floors[pair]}
