"""A JSONL file opened and one record of it read, against reading every line; ratios only, since machines differ.

Run with ``pytest benchmarks/bench_jsonl.py --benchmark-only``. ``DCAP_BENCH_RECORDS`` sets the size of the file, about
2.5 kB per record; from 200 000 on, the fixed costs of opening it no longer count.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import orjson
import pytest

from dcap import kernels
from dcap.records.files.jsonl import JsonlFile
from dcap.records.files.line_index import find_lines
from dcap.records.record import to_dict
from timing import interleaved, missed

NUM_RECORDS = int(os.environ.get("DCAP_BENCH_RECORDS", "40000"))
# What fails the benchmark: about half of what an idle machine with two cores shows.
WHOLE = "json.loads of every line"
OPENING = {(WHOLE, "index built"): 25, (WHOLE, "index saved"): 2300}
READ, PARSE = "dcap: read, decoded, checked", "orjson, bytes in memory"
READING = {(PARSE, READ): 0.5}
MOST_PRIVATE_MB = 20

MEMORY = """
import sys
from dcap.records.files.jsonl import JsonlFile
def private_mb():
    fields = dict(line.split()[:2] for line in open("/proc/self/smaps_rollup") if ":" in line and "-" not in line)
    return (int(fields["Private_Dirty:"]) + int(fields["Private_Clean:"])) / 1024
before = private_mb()
file = JsonlFile(sys.argv[1])
file[0]
print(private_mb() - before)
"""


def random_line(rng: np.random.Generator) -> bytes:
    objects: list[dict[str, object]] = []
    for _ in range(rng.integers(8, 22)):
        desc = " ".join(rng.choice(["person", "red", "car", "on the left", "dining table", "paved road"], 3))
        if rng.random() < 0.3:
            x, y, width, height = rng.integers(1, 300, 4).tolist()
            objects.append({"desc": desc, "bbox_2d": [x, y, x + width, y + height]})
        else:
            objects.append({"desc": desc, "poly": rng.permutation(600)[: 2 * rng.integers(4, 32)].tolist()})
    record = {"images": ["images/0001.jpg"], "width": 640, "height": 600, "objects": objects, "summary": "a street"}
    return json.dumps(record).encode() + b"\n"


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    rng = np.random.default_rng(0)
    lines = [random_line(rng) for _ in range(1000)]
    path = tmp_path_factory.mktemp("jsonl") / "train.jsonl"
    with path.open("wb") as file:
        file.writelines(islice(cycle(lines), NUM_RECORDS))
    yield path
    path.unlink()
    index_of(path).unlink(missing_ok=True)


def index_of(path: Path) -> Path:
    return path.with_name(path.name + ".dcap-index")


def offsets_of(path: Path) -> list[int]:
    """What linecache and its like do: a list of places from a loop over all lines."""
    offsets, place = [], 0
    with path.open("rb") as file:
        for line in file:
            offsets.append(place)
            place += len(line)
    return offsets


def every_line(path: Path, loads: Callable[[bytes], object]) -> None:
    with path.open("rb") as file:
        for line in file:
            loads(line)


def build(path: Path) -> int:
    index_of(path).unlink(missing_ok=True)
    return len(JsonlFile(path))


def test_opening(path: Path, benchmark: Callable[..., object], capsys: pytest.CaptureFixture[str]) -> None:
    file = JsonlFile(path)
    with path.open("rb") as handle:
        assert find_lines(handle.fileno(), 0).starts.tolist() == offsets_of(path)
    assert len(file) == NUM_RECORDS
    assert index_of(path).is_file()
    calls: dict[str, Callable[[], object]] = {
        "index built": lambda: build(path),
        "index saved": lambda: JsonlFile(path),
        "offsets in Python": lambda: offsets_of(path),
        "orjson of every line": lambda: every_line(path, orjson.loads),
        WHOLE: lambda: every_line(path, json.loads),
    }
    floors = OPENING if kernels.BACKEND == "cpp" else {}
    seconds = interleaved(calls, floors)
    benchmark(calls["index saved"])
    with capsys.disabled():
        print(f"\n{NUM_RECORDS} records, {path.stat().st_size / 1e6:.0f} MB, opened ({kernels.BACKEND}):")
        for name, value in seconds.items():
            print(f"  {name:26s} {value * 1e3:9.2f} ms  {seconds[WHOLE] / value:9.1f}x {WHOLE}")
    assert missed(seconds, floors) == {}


def test_a_random_record(path: Path, benchmark: Callable[..., object], capsys: pytest.CaptureFixture[str]) -> None:
    file, offsets = JsonlFile(path), offsets_of(path)
    rows = random.Random(0).sample(range(NUM_RECORDS), min(1000, NUM_RECORDS))

    def seek(i: int) -> bytes:
        handle.seek(offsets[i])
        return handle.readline()

    with path.open("rb") as handle:
        lines = [file.line(i) for i in rows]
        assert lines == [seek(i).rstrip() for i in rows]
        assert [to_dict(file[i]) for i in rows[:100]] == [json.loads(line) for line in lines[:100]]
        calls: dict[str, Callable[[], object]] = {
            READ: lambda: [file[i] for i in rows],
            "dcap: bytes only": lambda: [file.line(i) for i in rows],
            "seek + json.loads": lambda: [json.loads(seek(i)) for i in rows],
            "seek + orjson": lambda: [orjson.loads(seek(i)) for i in rows],
            PARSE: lambda: [orjson.loads(line) for line in lines],
        }
        seconds = interleaved(calls, READING)
    benchmark(calls[READ])
    with capsys.disabled():
        print("\na random record:")
        for name, value in seconds.items():
            print(f"  {name:29s} {value / len(rows) * 1e6:7.1f} us  {value / seconds[PARSE]:5.2f} of orjson's parse")
    assert missed(seconds, READING) == {}


def test_private_memory(path: Path, benchmark: Callable[..., object], capsys: pytest.CaptureFixture[str]) -> None:
    index_of(path).unlink(missing_ok=True)

    def grown() -> float:
        out = subprocess.run([sys.executable, "-c", MEMORY, path], capture_output=True, text=True, check=True)
        return float(out.stdout)

    searched, mapped = grown(), grown()
    benchmark(JsonlFile, path)
    with capsys.disabled():
        print(f"\nprivate memory of an open file: {searched:.1f} MB when searched, {mapped:.1f} MB with a saved index")
    assert max(searched, mapped) < MOST_PRIVATE_MB
