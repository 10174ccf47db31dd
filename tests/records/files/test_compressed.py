"""gzip and zstd: the same records as uncompressed, one text on disk, and archives that are none."""

from __future__ import annotations

import gzip
import os
import pickle
import random
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest
import zstandard

from dcap.core import files as scratch
from dcap.core.errors import MissingPackageError, RecordError
from dcap.records.files import compressed
from dcap.records.files.compressed import open_compressed
from dcap.records.files.jsonl import JsonlFile
from dcap.records.files.opening import open_source
from dcap.records.files.source import RecordSource

LINES = [b'{"images": ["a%d.png"], "width": 4, "height": 3, "objects": []}' % i for i in range(50)]
TEXT = b"\xef\xbb\xbf" + b"\r\n\n".join(LINES)
PACK: dict[str, Callable[[bytes], bytes]] = {"gz": gzip.compress, "zst": zstandard.compress}


@pytest.fixture(params=PACK)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def packed(tmp_path: Path, kind: str, text: bytes = TEXT) -> Path:
    path = tmp_path / "data" / f"a.jsonl.{kind}"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(PACK[kind](text))
    return path


def rows(source: RecordSource) -> list[tuple[int, bytes]]:
    return [(source.origin(i).line, source.line(i)) for i in range(len(source))]


def no_work(*_: object) -> None:
    raise AssertionError("the file was decompressed again")


def test_records_are_those_of_the_plain_file(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.jsonl").write_bytes(TEXT)
    path = packed(tmp_path, kind)
    source = open_source(path)
    assert rows(source) == rows(JsonlFile(tmp_path / "a.jsonl"))
    assert str(source[3].origin) == f"a.jsonl.{kind}:7"
    assert source[3].origin.file == str(path)
    assert sorted(os.listdir(path.parent)) == [path.name, f"{path.name}.dcap-text"]
    monkeypatch.setattr(compressed, "_decompress", no_work)
    assert rows(open_source(path)) == rows(pickle.loads(pickle.dumps(source))) == rows(source)


def test_parts_one_after_the_other_are_one_file(tmp_path: Path, kind: str) -> None:
    path = packed(tmp_path, kind)
    path.write_bytes(PACK[kind](LINES[0]) + PACK[kind](b"") + PACK[kind](b"\n" + LINES[1]))
    assert [line for _, line in rows(open_source(path))] == LINES[:2]


def test_any_cut_is_an_error_and_leaves_nothing(tmp_path: Path, kind: str) -> None:
    path = packed(tmp_path, kind)
    whole = path.read_bytes()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(RecordError, match=rf"a.jsonl.{kind}: file must be a whole {kind} archive, .*Copy it again"):
            open_source(path)
    assert os.listdir(path.parent) == [path.name]


def test_damage_is_an_error_or_changes_nothing(tmp_path: Path, kind: str) -> None:
    checked = zstandard.ZstdCompressor(write_checksum=True).compress if kind == "zst" else gzip.compress
    path, whole, draw = packed(tmp_path, kind), checked(TEXT), random.Random(0)
    refused = 0
    for _ in range(100):
        torn = bytearray(whole)
        torn[draw.randrange(len(torn))] ^= 1 << draw.randrange(8)
        path.write_bytes(torn)
        path.with_name(path.name + ".dcap-text").unlink(missing_ok=True)
        try:
            assert [line for _, line in rows(open_source(path))] == LINES
        except RecordError:
            refused += 1
    assert refused > 50


def test_garbage_behind_the_archive_is_an_error(tmp_path: Path, kind: str) -> None:
    path = packed(tmp_path, kind)
    path.write_bytes(path.read_bytes() + b"garbage")
    with pytest.raises(RecordError, match="not truncated or damaged"):
        open_source(path)


def test_a_bomb_is_refused(tmp_path: Path, kind: str) -> None:
    path = packed(tmp_path, kind, bytes(32 << 20))
    with pytest.raises(RecordError, match=r"must hold at most .* bytes of text, 200 times its size"):
        open_compressed(path, free_text_bytes=1 << 20)
    assert os.listdir(path.parent) == [path.name]


def test_a_bomb_takes_little_memory(tmp_path: Path) -> None:
    """400 MiB of zeros, refused at 100 MiB, in an address space that cannot hold them."""
    path = packed(tmp_path, "zst", b"")
    packer = zstandard.ZstdCompressor().compressobj()
    with path.open("wb") as file:
        for _ in range(400):
            file.write(packer.compress(bytes(1 << 20)))
        file.write(packer.flush())
    program = """
import resource, sys
from pathlib import Path
from dcap.core.errors import RecordError
from dcap.records.files import compressed
from dcap.records.files.compressed import open_compressed
from dcap.core import files as scratch
import zstandard
compressed.FREE_TEXT_BYTES = 100 << 20
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (200 << 20), used + (200 << 20)))
try:
    compressed.open_compressed(Path(sys.argv[1]))
except RecordError as error:
    print(error)
"""
    out = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True, timeout=120, check=True)
    assert "must hold at most" in out.stdout


def test_a_text_is_made_again_when_the_archive_changes(tmp_path: Path, kind: str) -> None:
    path = packed(tmp_path, kind)
    assert len(open_source(path)) == 50
    path.write_bytes(PACK[kind](LINES[7]))
    source = open_source(path)
    assert rows(source) == [(1, LINES[7])]


@pytest.mark.parametrize("torn", ["empty", "cut", "longer", "other key"])
def test_a_torn_text_is_made_again(tmp_path: Path, torn: str) -> None:
    path = packed(tmp_path, "gz")
    open_source(path)
    text = path.with_name(path.name + ".dcap-text")
    whole = text.read_bytes()
    text.write_bytes({"empty": b"", "cut": whole[:-1], "longer": whole + b"\n", "other key": b"x" + whole[1:]}[torn])
    assert len(open_source(path)) == 50
    assert text.read_bytes() == whole


def test_a_folder_that_cannot_be_written_uses_the_cache(tmp_path: Path) -> None:
    """Root may write anywhere, so the place is taken by a folder instead."""
    path = packed(tmp_path, "gz")
    path.with_name(path.name + ".dcap-text").mkdir()
    assert len(open_source(path)) == 50
    (text,) = (tmp_path / "cache" / "dcap" / "lines").iterdir()
    assert text.name.endswith(".dcap-text")


def test_nowhere_to_write_is_an_error_with_the_way_out(tmp_path: Path) -> None:
    path = packed(tmp_path, "gz")
    with pytest.raises(RecordError, match=r"there is no place for its text .*bytes would be left free.* set XDG_CACHE"):
        open_compressed(path, free_disk_bytes=1 << 62)
    assert os.listdir(path.parent) == [path.name]


def test_an_archive_that_changes_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = packed(tmp_path, "gz")
    gunzip = compressed._gzip

    def read_and_touch(file: object) -> object:
        yield from gunzip(file)
        os.utime(path, ns=(0, 1))

    monkeypatch.setattr(compressed, "_gzip", read_and_touch)
    with pytest.raises(RecordError, match=r"a.jsonl.gz: file must not change while it is in use"):
        open_source(path)


def test_what_a_killed_process_left_goes(tmp_path: Path) -> None:
    path = packed(tmp_path, "gz")
    left = path.with_name(f".{path.name}.dcap-text.0123456789abcdef")
    left.write_bytes(b"half")
    os.utime(left, (1e9, 1e9))
    open_source(path)
    assert not left.exists()
    left.write_bytes(b"half of another, killed after the text was made")
    os.utime(left, (1e9, 1e9))
    open_source(path)
    assert not left.exists()


MEETING: dict[str, object] = {}


def opened_at_once(path: str) -> tuple[int, list[tuple[int, bytes]]]:
    made = []
    decompress = compressed._decompress

    def counted(*args: object) -> None:
        made.append(args)
        decompress(*args)

    compressed._decompress = counted
    MEETING["barrier"].wait(240)
    found = rows(open_source(path))
    return len(made), found


def test_one_of_several_processes_decompresses(tmp_path: Path, kind: str) -> None:
    path = packed(tmp_path, kind)
    context = get_context("fork")
    with ProcessPoolExecutor(4, context, MEETING.__setitem__, ("barrier", context.Barrier(4))) as pool:
        found = [f.result(timeout=240) for f in [pool.submit(opened_at_once, str(path)) for _ in range(4)]]
    assert [lines for _, lines in found] == [rows(open_source(path))] * 4
    assert sum(made for made, _ in found) == 1
    assert sorted(os.listdir(path.parent)) == [path.name, f"{path.name}.dcap-text"]


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = packed(tmp_path, "zst")
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(MissingPackageError, match=r'zstandard must be installed.*pip install .*\[formats\]"'):
        open_source(path)
    assert len(open_source(packed(tmp_path, "gz"))) == 50


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"nowhere.jsonl.gz: file must exist"):
        open_source(tmp_path / "nowhere.jsonl.gz")


def test_leftovers_are_old_after_a_minute() -> None:
    assert scratch.LEAST_AGE_S >= 10
