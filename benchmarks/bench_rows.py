"""Rows from the loader to the model's door: bytes per sample and rows per second, patches as float32 and as uint8.

Run with ``pytest benchmarks/bench_rows.py --benchmark-only``. Both end as float32 patches in the trainer, one thread
each: uint8 ones are normalised there. Results are compared before they are timed, methods take turns, and an epoch is
timed from the start of its workers to the last row.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

import dcap
from dcap.core.config import build
from dcap.data.collate import Batch, normalised, num_bytes
from dcap.data.config import DataConfig
from dcap.data.dataset import DenseCaptionDataset
from dcap.data.epoch import plan_epoch
from dcap.data.loader import EpochLoader
from dcap.data.sample import encode_sample
from dcap.records.images import decode_image
from dcap.records.record import image_path
from timing import interleaved, missed

PHOTOS = Path(dcap.__file__).parent / "assets" / "photos"
FORMATS = ("float32", "uint8")
MIB = 2**20
# With a worker, uint8 patches save the way to the trainer; without one, they are normalised for nothing.
NOT_SLOWER = {("float32", "uint8"): 0.9}
OF_A_SAMPLE = {("sample", "kinds"): 10}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Six times the bundled photos."""
    records = [json.loads(line) for line in (PHOTOS / "train.jsonl").read_text().splitlines()]
    for record in records:
        record["images"] = [str(PHOTOS / image) for image in record["images"]]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records * 6))
    return path


def dataset(photos: Path, max_pixels: int, patch_dtype: str = "auto", num_workers: int = 0) -> DenseCaptionDataset:
    """The photos, all near `max_pixels`."""
    data = {
        "train": str(photos),
        "global_max_length": 6000,
        "num_workers": num_workers,
        "patch_dtype": patch_dtype,
        "answer": {"min_pixels": max_pixels, "max_pixels": max_pixels},
    }
    return DenseCaptionDataset(build(DataConfig, data))


def at_the_door(batch: Batch) -> torch.Tensor:
    return normalised(batch["pixel_values"])


def epoch(loader: EpochLoader) -> None:
    for batch in loader:
        at_the_door(batch)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.mark.parametrize("max_pixels", [262_144, 921_600])
@pytest.mark.parametrize("num_workers", [1, 0])
def test_rows(
    photos: Path, max_pixels: int, num_workers: int, benchmark: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    sets = {name: dataset(photos, max_pixels, name, num_workers) for name in FORMATS}
    loaders = {name: EpochLoader(each, plan_epoch(each, 0)) for name, each in sets.items()}
    size: dict[str, float] = dict.fromkeys(FORMATS, 0)
    count = len(loaders["uint8"])
    for batches in zip(*loaders.values(), strict=True):
        assert torch.equal(*map(at_the_door, batches))
        for name, batch in zip(FORMATS, batches, strict=True):
            size[name] += num_bytes(batch) / len(loaders[name].dataset)
    floors = NOT_SLOWER if num_workers else {}
    seconds = interleaved({name: partial(epoch, loader) for name, loader in loaders.items()}, floors)
    benchmark.pedantic(partial(epoch, loaders["uint8"]), rounds=1)
    lines = [f"\n{count} rows of photos of {max_pixels} pixels, num_workers={num_workers}"]
    for name in FORMATS:
        speed = f"{count / seconds[name]:5.1f} rows/s  {seconds['float32'] / seconds[name]:.2f}x"
        lines.append(f"  {name:8} {size[name] / MIB:6.2f} MiB per sample, {size['float32'] / size[name]:.1f}x  {speed}")
    with capsys.disabled():
        print("\n".join(lines))
    assert size["float32"] / size["uint8"] > 7
    assert missed(seconds, floors) == {}


def test_token_kinds(photos: Path, benchmark: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """The share of the kinds in encoding a sample, and in making the ids alone."""
    data = dataset(photos, 262_144)
    planner = data.planners[0]
    planned = data.plan(0, 3)
    pixels = decode_image(image_path(planned.record, None), planned.record.canvas, 10**8)
    parts, text = planner.answer_parts(planned), planner.answer_text(planned)
    ids = planner.encoder.answer_ids(text)
    calls: dict[str, Callable[[], object]] = {
        "kinds": partial(planner.encoder.answer_kinds, parts, ids),
        "ids": partial(planner.encoder.answer_ids, text),
        "sample": partial(encode_sample, planner, planned, pixels, 1.0),
    }
    seconds = interleaved(calls, OF_A_SAMPLE)
    benchmark(calls["kinds"])
    share = {name: seconds["kinds"] / seconds[name] for name in ("ids", "sample")}
    with capsys.disabled():
        print(f"\nkinds of {len(ids)} tokens: {seconds['kinds'] * 1e6:.0f} us, {share['sample']:.1%} of the sample")
        print(f"  beside {seconds['ids'] * 1e6:.0f} us for the ids alone ({share['ids']:.0%})")
    assert missed(seconds, OF_A_SAMPLE) == {}
