"""The search through a file, in chunks and in parts, against a plain split."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcap.records.files.line_index import LineIndex, find_lines

TEXTS = st.lists(st.sampled_from([b"\n", b"\n", b" ", b"\r", b"x", b"{}", b"long" * 9]), max_size=60).map(b"".join)


def find(path: Path, first: int = 0, **sizes: int) -> LineIndex:
    fd = os.open(path, os.O_RDONLY)
    try:
        return find_lines(fd, first, **sizes)
    finally:
        os.close(fd)


def rows_of(index: LineIndex) -> list[tuple[int, int]]:
    return [(int(start), index.number(i)) for i, start in enumerate(index.starts)]


def by_split(text: bytes, first: int = 0) -> list[tuple[int, int]]:
    lines = text[first:].split(b"\n")
    starts = [first + sum(len(line) + 1 for line in lines[:k]) for k in range(len(lines))]
    return [(starts[k], k + 1) for k, line in enumerate(lines) if line.strip()]


@given(
    text=TEXTS, first=st.sampled_from([0, 3]), cpus=st.integers(1, 5), part=st.integers(1, 40), chunk=st.integers(1, 9)
)
def test_chunks_parts_and_threads_do_not_matter(
    tmp_path_factory: pytest.TempPathFactory, text: bytes, first: int, cpus: int, part: int, chunk: int
) -> None:
    path = tmp_path_factory.mktemp("text") / "a.txt"
    path.write_bytes(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "sched_getaffinity", lambda _: range(cpus))
        assert rows_of(find(path, first, part_bytes=part, chunk_bytes=chunk)) == by_split(text, first)


def test_numbers_are_kept_only_where_lines_are_blank(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    for text, plain in ((b"", True), (b"a\nb\n", True), (b"a\nb\n \n\n", True), (b"\na", False), (b"a\n\nb", False)):
        path.write_bytes(text)
        index = find(path)
        assert (index.numbers is None) == plain
        assert rows_of(index) == by_split(text)


def test_a_file_that_is_cut_while_it_is_read_ends_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"a\n" * 100)
    read = os.preadv

    def cut_and_read(fd: int, buffers: list[memoryview], place: int) -> int:
        if place == 40:
            os.truncate(path, 41)
        return read(fd, buffers, place)

    monkeypatch.setattr(os, "preadv", cut_and_read)
    assert rows_of(find(path, chunk_bytes=20)) == by_split(b"a\n" * 20 + b"a")
