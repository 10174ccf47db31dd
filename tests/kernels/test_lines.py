from __future__ import annotations

import itertools
import threading
from collections.abc import Sequence
from types import ModuleType

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dcap.core.errors import GeometryError
from support.kernel_calls import assert_same_bits

I64 = npt.NDArray[np.int64]
# Mostly line ends and white space, and a few bytes that look like them.
TEXTS = st.lists(st.sampled_from([*b"\n\n\n \t\r\v\fx{\x00\x1c\x85\xa0\xff"]), max_size=90).map(bytes)
CUTS = st.lists(st.integers(0, 90), max_size=6)


def find_lines(backend: ModuleType, text: bytes, cuts: Sequence[int] = ()) -> tuple[I64, I64]:
    """Lines of a text that is handed over in parts."""
    state = np.array([0, 1, 0, 0])
    starts, numbers = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    borders = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    for begin, end in itertools.pairwise(borders):
        room = (end - begin + 1) // 2
        out = np.full(room, -1), np.full(room, -1)
        count = backend.find_lines(np.frombuffer(text[begin:end], np.uint8), state, *out)
        assert all((array[count:] == -1).all() for array in out)
        starts.append(out[0][:count])
        numbers.append(out[1][:count])
        assert state[0] == end
    return np.concatenate(starts), np.concatenate(numbers)


def by_split(text: bytes) -> list[tuple[int, int]]:
    found, start = [], 0
    for number, line in enumerate(text.split(b"\n"), 1):
        if line.strip():
            found.append((start, number))
        start += len(line) + 1
    return found


@given(text=TEXTS, cuts=CUTS)
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_lines_are_those_of_a_plain_split(backend: ModuleType, text: bytes, cuts: list[int]) -> None:
    starts, numbers = find_lines(backend, text, cuts)
    assert list(zip(starts.tolist(), numbers.tolist(), strict=True)) == by_split(text)


@given(text=TEXTS, state=st.lists(st.integers(-(2**63), 2**63 - 1), min_size=4, max_size=4))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_twins_agree_from_any_state(twins: tuple[ModuleType, ModuleType], text: bytes, state: list[int]) -> None:
    results = []
    for backend in twins:
        room, after = (len(text) + 1) // 2, np.array(state)
        out = np.zeros(room, np.int64), np.zeros(room, np.int64)
        count = backend.find_lines(np.frombuffer(text, np.uint8), after, *out)
        results.append((*out, after, np.array(count)))
    assert_same_bits(*results)


def test_long_lines_at_every_place_in_a_register(backend: ModuleType) -> None:
    for shift in range(70):
        text = b" " * shift + b"x" * (200 - shift) + b"\n" + b"\r" * shift + b"\n" + b"y" * shift
        starts, numbers = find_lines(backend, text)
        assert list(zip(starts.tolist(), numbers.tolist(), strict=True)) == by_split(text)


def test_several_threads_at_once(backend: ModuleType) -> None:
    """Each has its own state; the kernel lets the others run meanwhile."""
    texts = [b"\n".join([b"a" * (k + 1), b"", b"b"] * 300) for k in range(4)]
    found: dict[int, list[int]] = {}
    threads = [
        threading.Thread(target=lambda k=k: found.__setitem__(k, find_lines(backend, texts[k])[0].tolist()))
        for k in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert found == {k: [start for start, _ in by_split(text)] for k, text in enumerate(texts)}


def test_outputs_that_may_be_too_short_are_refused(backend: ModuleType) -> None:
    chunk = np.frombuffer(b"a\nb", np.uint8)
    for size in ((1, 2), (2, 1), (0, 0)):
        state = np.array([0, 1, 0, 0])
        with pytest.raises(GeometryError, match="lengths"):
            backend.find_lines(chunk, state, *(np.zeros(n, np.int64) for n in size))
        assert state.tolist() == [0, 1, 0, 0]
    for size in (3, 5):
        with pytest.raises(GeometryError, match="lengths"):
            backend.find_lines(chunk, np.zeros(size, np.int64), np.zeros(2, np.int64), np.zeros(2, np.int64))


def test_wrong_dtypes_and_read_only_outputs_are_refused(backend: ModuleType) -> None:
    chunk = np.frombuffer(b"a\nb", np.uint8)
    good = (chunk, np.array([0, 1, 0, 0]), np.zeros(2, np.int64), np.zeros(2, np.int64))
    for k in range(4):
        for bad in (good[k].astype(np.int16), good[k].repeat(2)[::2], None):
            with pytest.raises(TypeError):
                backend.find_lines(*good[:k], bad, *good[k + 1 :])
        if k:
            frozen = good[k].copy()
            frozen.flags.writeable = False
            with pytest.raises(ValueError, match="not writeable"):
                backend.find_lines(*good[:k], frozen, *good[k + 1 :])
