"""Reading the records of a large file: in one process, and shared by two."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from dcap.audit.validation import validate_files

NUM_RECORDS = 10_000


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of records of 8 objects each, on the average; their images do not exist."""
    rng, path = random.Random(0), tmp_path_factory.mktemp("records") / "train.jsonl"

    def one(i: int) -> dict[str, Any]:
        x, y = rng.randint(0, 500), rng.randint(0, 400)
        if i % 2:
            return {"desc": f"thing {rng.randint(0, 300)}", "bbox_2d": [x, y, x + 40, y + 60]}
        ring = [value for j in range(12) for value in (x + 5.5 * j, y + j * j % 37)]
        return {"desc": f"red thing {rng.randint(0, 3000)}", "poly": ring}

    with path.open("w") as out:
        for i in range(NUM_RECORDS):
            objects = [one(k) for k in range(rng.randint(2, 14))]
            out.write(json.dumps({"images": [f"{i}.jpg"], "width": 640, "height": 480, "objects": objects}) + "\n")
    return path


@pytest.mark.parametrize("workers", [0, 2])
def test_validate(benchmark: Any, records: Path, workers: int) -> None:
    report = benchmark.pedantic(validate_files, ([records], None, workers), rounds=3, warmup_rounds=1)
    assert report.records == NUM_RECORDS
