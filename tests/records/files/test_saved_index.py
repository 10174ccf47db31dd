"""Indices on disk: which are believed, which are made again, and that none of it fails a run."""

from __future__ import annotations

import os
import pickle
import struct
import subprocess
import sys
import zlib
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dcap.core.errors import RecordError
from dcap.records.files import line_index
from dcap.records.files.jsonl import JsonlFile
from dcap.records.files.line_index import LineIndex, find_lines, load_lines, open_index, save_lines
from dcap.records.files.saved_index import ContentKey

LINE = b'{"images": ["a.png"], "width": 4, "height": 3, "objects": []}'
TEXTS = {"plain": b"\n".join([LINE] * 5), "blank lines": b"\xef\xbb\xbf\n" + LINE + b"\r\n \n" + LINE + b"\n\n"}
NUMBERS = {"plain": [1, 2, 3, 4, 5], "blank lines": [2, 4]}


@pytest.fixture(params=TEXTS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def written(tmp_path: Path, data: bytes = TEXTS["plain"]) -> tuple[Path, Path]:
    """A file, and where its index belongs."""
    path = tmp_path / "data" / "a.jsonl"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    return path, path.with_name("a.jsonl.dcap-index")


def key_of(path: Path) -> ContentKey:
    with path.open("rb") as file:
        return ContentKey.of(file.fileno())


def opened(path: str | Path) -> JsonlFile:
    """A file whose index is kept, though it is small."""
    return JsonlFile(path, index_from=1)


def numbers_of(path: Path) -> list[int]:
    file = opened(path)
    assert [file.line(i) for i in range(len(file))] == [LINE] * len(file)
    return [file.origin(i).line for i in range(len(file))]


def no_search(*_: Any) -> Any:
    raise AssertionError("the file was searched")


def test_the_second_opening_does_not_search(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path, place = written(tmp_path, TEXTS[name])
    assert numbers_of(path) == NUMBERS[name]
    assert place.is_file()
    monkeypatch.setattr(line_index, "find_lines", no_search)
    assert numbers_of(path) == NUMBERS[name]
    assert sorted(os.listdir(path.parent)) == ["a.jsonl", "a.jsonl.dcap-index"]


def test_lines_of_a_mapped_index_are_those_that_were_found(tmp_path: Path, name: str) -> None:
    path, _ = written(tmp_path, TEXTS[name])
    first = len(b"\xef\xbb\xbf") if name == "blank lines" else 0
    with path.open("rb") as file:
        found = find_lines(file.fileno(), first)
        saved = open_index(file.fileno(), path, first, 1)
    assert saved.saved
    assert np.array_equal(saved.starts, found.starts)
    assert [saved.number(i) for i in range(len(saved))] == [found.number(i) for i in range(len(found))]
    assert saved.number(-1) == NUMBERS[name][-1]
    for array in (saved.starts, saved.numbers, found.starts):
        assert array is None or not array.flags.writeable
    with pytest.raises(IndexError):
        saved.number(len(saved))


def test_a_file_of_blank_lines(tmp_path: Path) -> None:
    path, place = written(tmp_path, b" \n\n\n")
    assert numbers_of(path) == numbers_of(path) == []
    assert load_lines(place, key_of(path)) is not None


def test_small_files_are_searched_each_time(tmp_path: Path) -> None:
    path, place = written(tmp_path)
    size = path.stat().st_size
    for least, kept in ((size + 1, False), (size, True)):
        assert len(JsonlFile(path, index_from=least)) == len(NUMBERS["plain"])
        assert place.exists() == kept
    place.unlink()
    assert len(JsonlFile(path)) == len(NUMBERS["plain"])
    assert not place.exists()


@pytest.mark.parametrize("what", ["size", "time", "head", "tail"])
def test_a_stale_index_is_made_again(tmp_path: Path, what: str) -> None:
    data = (LINE + b"\n") * 1000
    path, place = written(tmp_path, data)
    assert numbers_of(path) == list(range(1, 1001))
    old, stamp = place.read_bytes(), path.stat()
    changed = {
        "size": data + LINE,
        "time": data,
        "head": data[:9] + b"\n" + data[10:],
        "tail": data[:-9] + b"\n" + data[-8:],
    }[what]
    path.write_bytes(changed)
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns + (what in ("size", "time"))))
    assert load_lines(place, key_of(path)) is None
    want = [n for n, line in enumerate(changed.split(b"\n"), 1) if line.strip()]
    file = opened(path)
    assert [file.origin(i).line for i in range(len(file))] == want
    assert place.read_bytes() != old
    assert load_lines(place, key_of(path)) is not None


def test_an_index_cut_at_any_length_is_made_again(tmp_path: Path, name: str) -> None:
    path, place = written(tmp_path, TEXTS[name])
    assert numbers_of(path) == NUMBERS[name]
    whole = place.read_bytes()
    for length in range(len(whole)):
        place.write_bytes(whole[:length])
        assert load_lines(place, key_of(path)) is None
        zeroed = whole[:length] + bytes(len(whole) - length)
        place.write_bytes(zeroed)
        assert (load_lines(place, key_of(path)) is None) == (zeroed != whole)
    place.write_bytes(whole + b"\0")
    assert numbers_of(path) == NUMBERS[name]
    assert place.read_bytes() == whole


def test_an_index_with_any_bit_flipped_is_made_again(tmp_path: Path, name: str) -> None:
    path, place = written(tmp_path, TEXTS[name])
    assert numbers_of(path) == NUMBERS[name]
    whole, key = place.read_bytes(), key_of(path)
    assert load_lines(place, key) is not None
    for bit in range(8 * len(whole)):
        torn = bytearray(whole)
        torn[bit // 8] ^= 1 << bit % 8
        place.write_bytes(torn)
        assert load_lines(place, key) is None, bit
    assert numbers_of(path) == NUMBERS[name]
    assert place.read_bytes() == whole


@pytest.mark.parametrize(
    ("count", "arrays", "values"),
    [
        (2, 1, [0, 0]),
        (2, 1, [-1, 62]),
        (2, 1, [62, 0]),
        (2, 1, [0, 309]),
        (2, 2, [0, 62, 0, 1]),
        (2, 2, [0, 62, 1, 310]),
        (2, 2, [0, 62, 2, 2]),
        (3, 1, [0, 62]),
        (-1, 1, []),
        (2**61 + 2, 1, [0, 62]),
        (0, 2**32 - 1, []),
        (2, 0, []),
    ],
)
def test_numbers_that_no_file_has_are_refused(tmp_path: Path, count: int, arrays: int, values: list[int]) -> None:
    """A checksum says that nobody changed the index by accident, not that it was right."""
    path, place = written(tmp_path)
    assert path.stat().st_size == 309
    key = key_of(path)

    def write(count: int, arrays: int, values: list[int]) -> None:
        body = struct.pack("<8sIIqqq32s", b"dcapline", 1, arrays, key.size, key.mtime_ns, count, key.digest)
        body += struct.pack(f"<{len(values)}q", *values)
        place.write_bytes(body + struct.pack("<I", zlib.crc32(body)))

    write(count, arrays, values)
    assert load_lines(place, key) is None
    write(2, 2, [0, 308, 1, 309])
    assert load_lines(place, key) is not None
    assert place.stat().st_size == 72 + 32 + 4


def test_a_folder_that_cannot_be_written_uses_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root may write anywhere, so the place is taken by a folder instead."""
    path, place = written(tmp_path)
    place.mkdir()
    assert numbers_of(path) == NUMBERS["plain"]
    cached = list((tmp_path / "cache" / "dcap" / "lines").iterdir())
    assert [file.suffix for file in cached] == [".dcap-index"]
    (tmp_path / "link").symlink_to(path.parent)
    monkeypatch.setattr(line_index, "find_lines", no_search)
    assert numbers_of(path) == NUMBERS["plain"]
    assert numbers_of(tmp_path / "link" / "a.jsonl") == NUMBERS["plain"]


def test_nowhere_to_write_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, place = written(tmp_path)
    place.mkdir()
    (tmp_path / "cache").write_bytes(b"")
    assert numbers_of(path) == NUMBERS["plain"]
    assert len(pickle.loads(pickle.dumps(opened(path)))) == 5
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home folder")))
    assert numbers_of(path) == NUMBERS["plain"]


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path) -> None:
    """A limit on the size of files cuts a write short as a full disk does."""
    path, _ = written(tmp_path, (LINE + b"\n") * 100)
    program = """
import resource, sys
from dcap.records.files.jsonl import JsonlFile
resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500))
print(len(JsonlFile(sys.argv[1], index_from=1)))
"""
    out = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True, timeout=240, check=True)
    assert out.stdout == "100\n"
    assert os.listdir(path.parent) == ["a.jsonl"]
    assert os.listdir(tmp_path / "cache" / "dcap" / "lines") == []


def test_a_writer_that_is_interrupted_leaves_the_old_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, place = written(tmp_path)
    place.write_bytes(b"stale")

    def interrupted(self: Path, target: Path) -> Path:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", interrupted)
        with pytest.raises(KeyboardInterrupt):
            opened(path)
    assert place.read_bytes() == b"stale"
    assert sorted(os.listdir(path.parent)) == ["a.jsonl", "a.jsonl.dcap-index"]
    assert numbers_of(path) == NUMBERS["plain"]
    assert load_lines(place, key_of(path)) is not None


def test_a_file_that_is_being_written_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, place = written(tmp_path)
    find = line_index.find_lines

    def find_and_append(fd: int, first: int) -> Any:
        index = find(fd, first)
        with path.open("ab") as file:
            file.write(b"\n")
        return index

    monkeypatch.setattr(line_index, "find_lines", find_and_append)
    file = opened(path)
    assert not place.exists()
    with pytest.raises(RecordError, match="must not change while it is in use"):
        file[0]


MEETING: dict[str, Any] = {}


def opened_at_once(path: str) -> list[int]:
    MEETING["barrier"].wait(240)
    file = opened(path)
    return [file.origin(i).line for i in range(len(file))]


def test_processes_that_build_at_once(tmp_path: Path) -> None:
    data = (LINE + b"\n\n") * 5000
    path, place = written(tmp_path, data)
    context = get_context("fork")
    with ProcessPoolExecutor(4, context, MEETING.__setitem__, ("barrier", context.Barrier(4))) as pool:
        found = [f.result(timeout=240) for f in [pool.submit(opened_at_once, str(path)) for _ in range(4)]]
    assert found == [list(range(1, 10_000, 2))] * 4
    assert load_lines(place, key_of(path)) is not None
    assert sorted(os.listdir(path.parent)) == ["a.jsonl", "a.jsonl.dcap-index"]


def test_an_index_in_use_outlives_its_replacement(tmp_path: Path) -> None:
    path, place = written(tmp_path)
    file = opened(path)
    assert save_lines(place, key_of(path), LineIndex(np.array([0]), None))
    assert [file.line(i) for i in range(5)] == [LINE] * 5
    place.unlink()
    assert len(file) == 5
