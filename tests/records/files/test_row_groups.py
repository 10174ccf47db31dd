"""Row groups: what is decoded, what is kept, and files that are none."""

from __future__ import annotations

import os
import pickle
import random
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

from dcap.core.errors import RecordError
from dcap.records.files import parquet
from dcap.records.files.opening import open_source
from dcap.records.files.parquet import RowGroups
from support.container_cases import parquet_rows, write_parquet

SUMMARY = ("summary",)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, tuple[str, ...]]]:
    """Groups and columns that were decoded, in order."""
    found = []
    batches = parquet._batches

    def noted(file: Any, group: int, columns: tuple[str, ...], num_rows: int) -> Any:
        found.append((group, columns))
        return batches(file, group, columns, num_rows)

    monkeypatch.setattr(parquet, "_batches", noted)
    return found


def groups(tmp_path: Path, count: int = 10, size: int = 4) -> RowGroups:
    return RowGroups(write_parquet(tmp_path / "a.parquet", parquet_rows(count), row_group_size=size))


def test_every_row_is_in_its_group(tmp_path: Path) -> None:
    rows = groups(tmp_path)
    assert [rows.find(i) for i in range(10)] == [(i // 4, i % 4) for i in range(10)]
    assert rows.find(-1) == (2, 1)
    assert [rows.row(i, SUMMARY).to_pylist() for i in range(10)] == [[{"summary": f"picture {i}"}] for i in range(10)]


def test_a_group_is_decoded_once_while_it_is_kept(
    tmp_path: Path, decoded: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = groups(tmp_path)
    for i in (0, 3, 5, 1, 9, 4):
        rows.row(i, SUMMARY)
    assert decoded == [(0, SUMMARY), (1, SUMMARY), (2, SUMMARY)]
    decoded.clear()
    monkeypatch.setattr(parquet._TABLES, "bound", 1)  # the newest group stays, however large
    for i in (0, 3, 5, 1, 2, 0):
        rows.row(i, ("summary", "width"))
    assert [group for group, _ in decoded] == [0, 1, 0]
    assert len(parquet._TABLES) == 1


def test_many_files_share_one_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_parquet(tmp_path / "a.parquet", parquet_rows(4))
    monkeypatch.setattr(parquet._TABLES, "bound", 300)  # a group of four summaries has 40 bytes and its offsets
    monkeypatch.setattr(parquet._FILES, "bound", 3)
    sources = [RowGroups(path) for _ in range(8)]
    for _ in range(2):
        assert [rows.row(3, SUMMARY).to_pylist() for rows in sources] == [[{"summary": "picture 3"}]] * 8
    assert 1 <= len(parquet._TABLES) <= 7
    assert len(parquet._FILES) == 3


@pytest.mark.parametrize("dictionary", [True, False])
def test_a_group_too_large_is_refused(tmp_path: Path, dictionary: bool) -> None:
    """With a dictionary the file holds the text once, and decoded it is there 2000 times."""
    rows = [{"summary": "x" * 1000}] * 2000
    path = write_parquet(tmp_path / "a.parquet", rows, use_dictionary=dictionary)
    with pytest.raises(RecordError, match=r"a.parquet: row group 0 must have at most 1048576 bytes.*row_group_size="):
        RowGroups(path, max_group_bytes=1 << 20).row(0, SUMMARY)
    assert RowGroups(path, max_group_bytes=1 << 22).row(1999, SUMMARY).to_pylist() == rows[:1]


def test_what_a_dictionary_stands_for_is_decoded_within_the_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A text of 1 MB is there once in the file, and 200 times in one batch of its rows."""
    rows = [{"summary": "x" * 1_000_000}] * 200
    path = write_parquet(tmp_path / "a.parquet", rows, use_dictionary=True)
    assert path.stat().st_size < 100_000
    sizes, batches = [], parquet._batches

    def measured(*args: Any) -> Any:
        for batch in batches(*args):
            sizes.append(batch.nbytes)
            yield batch

    monkeypatch.setattr(parquet, "_batches", measured)
    with pytest.raises(RecordError, match="must have at most 8388608 bytes"):
        RowGroups(path, max_group_bytes=8 << 20).row(0, SUMMARY)
    assert sum(sizes) > 8 << 20
    assert sum(sizes) < 2 * (8 << 20)


def test_other_processes_decode_for_themselves(tmp_path: Path) -> None:
    source = open_source(write_parquet(tmp_path / "a.parquet", parquet_rows(300), row_group_size=100))
    first = source.line(0)
    assert len(pickle.dumps(source)) < 3000
    for method in ("fork", "spawn"):
        with ProcessPoolExecutor(2, mp_context=get_context(method)) as pool:
            lines = [f.result(timeout=240) for f in [pool.submit(source.line, i) for i in (0, 299, 150, 0)]]
        assert lines == [source.line(i) for i in (0, 299, 150, 0)]
        assert lines[0] == first


def test_any_cut_is_an_error(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", parquet_rows(3))
    whole = path.read_bytes()
    for size in range(0, len(whole), 29):
        path.write_bytes(whole[:size])
        with pytest.raises(RecordError, match=r"a.parquet: file must be a whole Parquet file, .* Copy it again"):
            RowGroups(path)


def test_damage_is_an_error_or_gives_rows(tmp_path: Path) -> None:
    path, draw = write_parquet(tmp_path / "a.parquet", parquet_rows(3)), random.Random(0)
    whole = path.read_bytes()
    for _ in range(300):
        torn = bytearray(whole)
        torn[draw.randrange(len(torn))] ^= 1 << draw.randrange(8)
        path.write_bytes(torn)
        try:
            source = open_source(path)
            assert [len(source.explain(i)) for i in range(len(source))] == [2] * len(source)
        except RecordError:
            continue


def test_a_file_that_changes_is_an_error(tmp_path: Path) -> None:
    source = open_source(write_parquet(tmp_path / "a.parquet", parquet_rows(3)))
    record = source[0]
    os.truncate(source.path, 100)
    for use in (lambda: source[0], lambda: source[2], lambda: record.embedded.open()):
        with pytest.raises(RecordError, match=r"a.parquet: file must not change while it is in use"):
            use()
