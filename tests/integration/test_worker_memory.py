"""Loader processes that read for days: what they have to themselves does not grow with the epochs."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from torch.utils.data import DataLoader

from dcap.data.workers import from_workers
from dcap.records.files.opening import open_source
from dcap.records.files.source import RecordSource
from dcap.records.record import Record
from support.container_cases import write_parquet, write_tar
from support.memory_cases import Epochs, as_is, growth

NOISE = np.random.default_rng(0)
SIDE = 64


def noise() -> bytes:
    """A picture that does not compress."""
    out = io.BytesIO()
    Image.fromarray(NOISE.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)).save(out, "PNG")
    return out.getvalue()


def row(i: int, **image: Any) -> dict[str, Any]:
    ring = [1, 1, 30, 1.5, 30, 30, 20, 25, 10, 24, 5, 20]
    objects = [{"desc": f"thing {i} of many, number {k}", "poly": [k, *ring, 9]} for k in range(25)]
    return {**image, "width": SIDE, "height": SIDE, "objects": objects}


def jsonl(folder: Path, count: int) -> Path:
    path = folder / "a.jsonl"
    path.write_text("".join(json.dumps(row(i, images=["none.png"])) + "\n" for i in range(4 * count)))
    return path


def tar(folder: Path, count: int) -> Path:
    pairs = (((f"{i}.png", noise()), (f"{i}.json", json.dumps(row(i)).encode())) for i in range(count))
    return write_tar(folder / "a.tar", (member for pair in pairs for member in pair))


def parquet(folder: Path, count: int) -> Path:
    rows = [row(i, image={"bytes": noise(), "path": f"{i}.png"}) for i in range(count)]
    return write_parquet(folder / "a.parquet", rows, row_group_size=count // 5)


@pytest.mark.parametrize("written", [jsonl, tar])
def test_memory_of_workers_is_flat(tmp_path: Path, written: Any) -> None:
    path = written(tmp_path, 1000)
    size = path.stat().st_size
    assert size > 10_000_000  # a source that keeps what it reads stands out from pages that processes cease to share
    from_first_part, from_first_epoch = growth(from_workers(Epochs(open_source(path), 4), 2), 2)
    assert from_first_part < size / 2
    assert from_first_epoch < size / 4


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:This DataLoader will create 4 worker processes")
@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.parametrize("written", [jsonl, tar, parquet])
def test_memory_of_many_workers_is_flat_over_many_epochs(tmp_path: Path, written: Any, method: str) -> None:
    path = written(tmp_path, 500)
    size = path.stat().st_size
    loader = DataLoader(
        Epochs(open_source(path), 12), batch_size=None, collate_fn=as_is, num_workers=4, multiprocessing_context=method
    )
    from_first_part, from_first_epoch = growth(loader, 4)
    assert from_first_part < size / 2
    assert from_first_epoch < size / 10


class Hoard(RecordSource):
    """A source that keeps what it reads."""

    def __init__(self, source: RecordSource) -> None:
        self.source, self.kept = source, {}

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, i: int) -> Record:
        return self.kept.setdefault(i, self.source[i])


def test_the_measure_sees_what_is_kept(tmp_path: Path) -> None:
    path = jsonl(tmp_path, 1000)
    from_first_part, _ = growth(from_workers(Epochs(Hoard(open_source(path)), 4), 2), 2)
    assert from_first_part > path.stat().st_size / 2
