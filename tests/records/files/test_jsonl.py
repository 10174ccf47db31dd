"""Lines of JSONL files: where they are, how they end, and what happens when the file is not what it was."""

from __future__ import annotations

import gzip
import os
import pickle
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcap.core.errors import RecordError
from dcap.records.files import line_index
from dcap.records.files.jsonl import JsonlFile

LINE = b'{"images": ["a.png"], "width": 4, "height": 3, "objects": []}'


def lines_of(file: JsonlFile) -> list[tuple[int, bytes]]:
    return [(file.origin(i).line, file.line(i)) for i in range(len(file))]


def file_of(path: Path, data: bytes) -> JsonlFile:
    path.write_bytes(data)
    return JsonlFile(path)


@pytest.mark.parametrize(
    ("data", "numbers"),
    [
        (b"", []),
        (b"\n", []),
        (b" \t \r\n\n", []),
        (LINE, [1]),
        (LINE + b"\n", [1]),
        (LINE + b"\r\n" + LINE + b"\r\n", [1, 2]),
        (b"\n\r\n   \n" + LINE + b"\n\n" + LINE, [4, 6]),
        (b"\xef\xbb\xbf" + LINE + b"\n" + LINE, [1, 2]),
        (b"\xef\xbb\xbf\n" + LINE, [2]),
    ],
)
def test_bom_line_ends_and_blank_lines(tmp_path: Path, data: bytes, numbers: list[int]) -> None:
    file = file_of(tmp_path / "a.jsonl", data)
    assert lines_of(file) == [(number, LINE) for number in numbers]
    assert [record.image for record in file] == ["a.png"] * len(numbers)
    assert [str(record.origin) for record in file] == [f"a.jsonl:{number}" for number in numbers]


@given(
    lines=st.lists(st.one_of(st.binary(max_size=12).filter(lambda b: b"\n" not in b), st.just(LINE)), max_size=12),
    bom=st.booleans(),
)
def test_lines_are_those_of_a_plain_split(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], bom: bool
) -> None:
    data = b"\n".join(lines)
    if data.strip()[:1] == b"[" and data.strip()[-1:] == b"]":
        return
    if data[:2] in (b"\xff\xfe", b"\xfe\xff") or data[:3] == b"\xef\xbb\xbf":
        return
    file = file_of(tmp_path_factory.mktemp("lines") / "a.jsonl", (b"\xef\xbb\xbf" if bom else b"") + data)
    expected = [(n, line.rstrip(b"\r")) for n, line in enumerate(data.split(b"\n"), 1) if line.strip()]
    assert lines_of(file) == expected


def test_a_bad_line_is_an_error_only_when_it_is_read(tmp_path: Path) -> None:
    file = file_of(tmp_path / "a.jsonl", LINE + b"\nnonsense\n" + LINE)
    assert len(file) == 3
    assert file[2].image == "a.png"
    with pytest.raises(RecordError, match=r"^a.jsonl:2: column 1: line must be JSON"):
        file[1]


def test_indexing_like_a_list(tmp_path: Path) -> None:
    file = file_of(tmp_path / "a.jsonl", LINE + b"\n\n" + LINE)
    assert file[-1].origin.line == 3
    for index in (2, -3):
        message = rf"a\.jsonl: index must be from -2 to below 2, the number of records, not {index}$"
        for read in (file.__getitem__, file.origin, file.line, file.explain):
            with pytest.raises(IndexError, match=message):
                read(index)


def test_memory_per_record_is_two_numbers(tmp_path: Path) -> None:
    file = file_of(tmp_path / "a.jsonl", (LINE + b"\n") * 10_000)
    assert len(pickle.dumps(file)) < 10_000 * 16 + 2000
    assert pickle.loads(pickle.dumps(file))[9999].origin.line == 10_000


def test_another_process_reads_too(tmp_path: Path) -> None:
    file = file_of(tmp_path / "a.jsonl", b"\n" + LINE + b"\n" + LINE)
    assert file[0].origin.line == 2
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        assert pool.submit(file.line, 1).result(timeout=240) == LINE
        assert pool.submit(file.origin, 1).result(timeout=240) == file.origin(1)


def test_a_file_that_changes_is_an_error(tmp_path: Path) -> None:
    file = file_of(tmp_path / "a.jsonl", LINE + b"\n" + LINE)
    with (tmp_path / "a.jsonl").open("ab") as out:
        out.write(b"\n")
    with pytest.raises(RecordError, match="must not change while it is in use"):
        file[0]


def test_a_truncated_file_is_an_error_and_no_crash(tmp_path: Path) -> None:
    file = file_of(tmp_path / "a.jsonl", (LINE + b"\n") * 1000)
    os.truncate(tmp_path / "a.jsonl", 10)
    with pytest.raises(RecordError, match="must not change"):
        file[999]


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"nowhere.jsonl: file must exist"):
        JsonlFile(tmp_path / "nowhere.jsonl")
    with pytest.raises(RecordError, match=r"file must be a regular file, not a folder\. Name a file in it"):
        JsonlFile(tmp_path)
    with pytest.raises(RecordError, match="must be UTF-8, not UTF-16"):
        file_of(tmp_path / "a.jsonl", LINE.decode().encode("utf-16"))


@pytest.mark.parametrize(
    ("magic", "said"),
    [
        (b"PK\x03\x04", r"not a zip archive\. Unpack it"),
        (gzip.compress(LINE, mtime=0), r"not one that gzip compressed\. End its name in \.jsonl\.gz"),
        (b"\x28\xb5\x2f\xfd", r"not one that zstd compressed\. End its name in \.jsonl\.zst"),
        (b"PAR1", r"not a Parquet file\. End its name in \.parquet"),
    ],
)
def test_other_kinds_of_files_are_told_by_their_first_bytes(tmp_path: Path, magic: bytes, said: str) -> None:
    with pytest.raises(RecordError, match=rf"a\.jsonl: file must be JSONL, {said}"):
        file_of(tmp_path / "a.jsonl", magic + LINE)


@pytest.mark.parametrize("data", [b"[%b, %b]", b"\n [\n%b,\n%b\n]\n", b"\xef\xbb\xbf[%b,%b]\r\n", b"[%%b]" + b" " * 9])
def test_one_json_array_is_refused_with_the_way_out(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(RecordError, match=r"a.jsonl: file must be JSONL, .* not one JSON array. .*jq -c"):
        file_of(tmp_path / "a.jsonl", data.replace(b"%b", LINE))


def test_a_line_that_is_an_array_spoils_itself_only(tmp_path: Path) -> None:
    assert len(file_of(tmp_path / "a.jsonl", b"[1]\n" + LINE)) == 2


def test_open_files_are_closed_with_the_object(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(50):
        file_of(tmp_path / "a.jsonl", LINE)
    assert len(os.listdir("/proc/self/fd")) <= before + 2


def test_a_worker_maps_a_saved_index_and_is_not_sent_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file_of(tmp_path / "a.jsonl", (LINE + b"\n\n") * 5000)
    sent = pickle.dumps(JsonlFile(tmp_path / "a.jsonl", index_from=1))
    assert len(sent) < 1000
    monkeypatch.delattr(line_index, "find_lines")
    received = pickle.loads(sent)
    assert (len(received), received.origin(-1).line, received.line(4999)) == (5000, 9999, LINE)
    assert len(pickle.dumps(received)) < 1000


def test_a_worker_sees_that_the_file_has_changed(tmp_path: Path) -> None:
    file_of(tmp_path / "a.jsonl", LINE + b"\n" + LINE)
    sent = pickle.dumps(JsonlFile(tmp_path / "a.jsonl", index_from=1))
    (tmp_path / "a.jsonl").write_bytes(LINE)
    received = pickle.loads(sent)
    for use in (received.__len__, lambda: received.origin(0), lambda: received[0]):
        with pytest.raises(RecordError, match="must not change while it is in use"):
            use()
