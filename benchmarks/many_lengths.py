"""Lengths of very many records, planned by 0, 1 and 2 processes: ``python benchmarks/many_lengths.py [RECORDS]``.

200 000 records are about 490 MB. Needs no image, since planning opens none; prints records per second.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from augment_rivals import OPS
from dcap import kernels
from dcap.data.config import DataConfig
from dcap.data.dataset import DenseCaptionDataset
from dcap.data.lengths import sample_sizes

LETTERS = "abcdefghijklmnopqrstuvwxyz"


def lines(count: int) -> Iterator[str]:
    """Records of 8 to 21 boxes and polygons with captions of words that repeat, though captions do not."""
    rng = random.Random(0)
    words = ["".join(rng.choices(LETTERS, k=rng.randint(2, 9))) for _ in range(4000)]
    for i in range(count):
        objects: list[dict[str, object]] = []
        for _ in range(rng.randint(8, 21)):
            desc = " ".join(rng.choices(words, k=rng.randint(2, 6)))
            x, y = rng.randrange(300), rng.randrange(300)
            if rng.random() < 0.3:
                objects.append({"desc": desc, "bbox_2d": [x, y, x + rng.randint(1, 300), y + rng.randint(1, 300)]})
            else:
                ring = [
                    v for _ in range(rng.randint(4, 31)) for v in (x + rng.randint(1, 300), y + rng.randint(1, 300))
                ]
                objects.append({"desc": desc, "poly": ring})
        yield json.dumps({"images": [f"images/{i:07d}.jpg"], "width": 640, "height": 600, "objects": objects})


def dataset(path: Path, num_workers: int, ops: list[dict[str, object]]) -> DenseCaptionDataset:
    data = DataConfig(str(path), check_images=False, num_workers=num_workers, global_max_length=12_000)
    return DenseCaptionDataset(data, augmentation=ops)


def report(what: str, begin: float, count: int) -> None:
    seconds = time.perf_counter() - begin
    print(f"  {what:38s} {seconds:8.2f} s  {count / seconds:10.0f} records/s", flush=True)


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 200_000
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "train.jsonl"
        with path.open("w") as file:
            file.writelines(f"{line}\n" for line in lines(count))
        print(f"{count} records, {path.stat().st_size / 1e6:.0f} MB ({kernels.BACKEND}):")
        begin = time.perf_counter()
        dataset(path, 0, OPS)
        report("opened, every record checked", begin, count)
        found = []
        for num_workers in (0, 1, 2):
            data = dataset(path, num_workers, OPS)
            begin = time.perf_counter()
            found.append(sample_sizes(data, 1).tokens)
            report(f"augmented, {num_workers} worker processes", begin, count)
        assert all(np.array_equal(found[0], other) for other in found)
        for what in ("not augmented, planned", "not augmented, known from before"):
            data = dataset(path, 2, [])
            begin = time.perf_counter()
            sample_sizes(data, 0)
            report(what, begin, count)


if __name__ == "__main__":
    main()
