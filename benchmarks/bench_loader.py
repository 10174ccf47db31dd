"""From records to packed rows on the trainer's side, against a plain loader; ratios only, since machines differ.

Run with ``pytest benchmarks/bench_loader.py --benchmark-only``. What must agree is compared before anything is timed:
tokens, labels, positions and patches of samples without augmentation, to the bit or to float32's last one, and the
objects that a mirror leaves. Both loaders take turns, with one thread per process; time is that of whole epochs.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from augment_rivals import MAX_PIXELS, OPS, albumentations_labels, albumentations_pipeline
from dcap.answers.prompts import PROMPTS
from dcap.core.config import build
from dcap.data.config import DataConfig
from dcap.data.dataset import DenseCaptionDataset
from dcap.data.encode import load_tokenizer
from dcap.data.epoch import plan_epoch
from dcap.data.loader import EpochLoader
from dcap.geometry import Affine, transform_and_clip
from loader_rivals import PackingCollate, PlainDataset, plain_loader
from shapes import mixed_image
from timing import least, missed, turns

pytest.importorskip("albumentations", reason="installed without the rival")

NUM_SAMPLES = 40
NUM_PLAIN = {0: 16, 1: 16, 2: 32}
"""Samples of the rival's epochs, by number of workers: whole batches for each. Its workers live on, so that its epochs
need not be long; those of dcap begin with planning and with the start of the workers."""
WIDTH, HEIGHT = 1280, 960
MAX_LENGTH = 16_384
FLOAT32: dict[str, Any] = {"patch_dtype": "float32"}
PLAIN = "plain loader"
CPU = ", CPU"
# What fails the benchmark: about half of what an idle machine shows. With workers, most of the time goes into carrying
# patches to the trainer where they travel as float32.
FLOORS = {
    0: {(PLAIN, "dcap"): 2.2, (PLAIN + CPU, "dcap" + CPU): 2.5},
    1: {(PLAIN, "dcap"): 2.7},
    2: {(PLAIN, "dcap"): 2.2},
}


@dataclass(frozen=True)
class Epoch:
    """What came to the trainer, and how long it took."""

    seconds: float
    cpu: float
    samples: int
    tokens: int
    num_bytes: int


@dataclass(frozen=True)
class Figures:
    """The best of some epochs: samples and tokens per second, CPU seconds of a sample; and its mean bytes."""

    samples: float
    tokens: float
    cpu: float
    num_bytes: float

    @classmethod
    def of(cls, epochs: list[Epoch]) -> Figures:
        samples = max(each.samples / each.seconds for each in epochs)
        tokens = max(each.tokens / each.seconds for each in epochs)
        cpu = min(each.cpu / each.samples for each in epochs)
        return cls(samples, tokens, cpu, sum(e.num_bytes for e in epochs) / sum(e.samples for e in epochs))


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)
    cv2.setNumThreads(1)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Crops of the bundled photos, enlarged, with some noise so that a JPEG is as long as a camera's."""
    import dcap

    folder = tmp_path_factory.mktemp("loader")
    sources = sorted((Path(dcap.__file__).parent / "assets/photos/images").iterdir())
    photos = [Image.open(source).convert("RGB") for source in sources]
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 4, (2 * HEIGHT, WIDTH, 3)).astype(np.int16)
    with (folder / "train.jsonl").open("w") as out:
        for i in range(NUM_SAMPLES):
            photo = photos[i % len(photos)]
            width = photo.width * rng.uniform(0.6, 0.9)
            height = min(width * HEIGHT / WIDTH, photo.height)
            left, top = rng.uniform(0, photo.width - width), rng.uniform(0, photo.height - height)
            enlarged = photo.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC, (left, top, left + width, top + height))
            start = rng.integers(HEIGHT)
            pixels = np.clip(np.asarray(enlarged) + noise[start : start + HEIGHT], 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{i}.jpg", quality=90)
            out.write(json.dumps(record(i, int(rng.integers(20, 41)))) + "\n")
    return folder / "train.jsonl"


def record(i: int, num_objects: int) -> dict[str, Any]:
    """Objects in odd tenths of a pixel: none lies halfway between two thousandths, which would round either way."""
    shapes = mixed_image(WIDTH, HEIGHT, num_objects, seed=i)
    clipped = transform_and_clip(shapes, Affine.identity(), (0, 0, WIDTH, HEIGHT)).shapes
    objects: list[dict[str, Any]] = [{"desc": f"thing {k}, in the picture"} for k in range(len(clipped))]
    for item, shape in zip(objects, clipped.to_objects(), strict=True):
        for key, numbers in shape.items():
            fifths = np.minimum(np.floor(np.array(numbers).reshape(-1, 2) * 5), [5 * WIDTH - 1, 5 * HEIGHT - 1])
            item[key] = ((2 * fifths + 1) / 10).ravel().tolist()
    return {"images": [f"{i}.jpg"], "width": WIDTH, "height": HEIGHT, "objects": objects}


def dcap_dataset(path: Path, num_workers: int = 0, ops: Any = OPS, **data: Any) -> DenseCaptionDataset:
    section = {"train": str(path), "global_max_length": MAX_LENGTH, "num_workers": num_workers, **data}
    section["answer"] = {"max_pixels": MAX_PIXELS}
    return DenseCaptionDataset(build(DataConfig, section), augmentation=ops)


def first(path: Path, count: int) -> Path:
    """Return a file of the first records of another."""
    part = path.with_name(f"{count}.jsonl")
    part.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:count]))
    return part


def plain_dataset(path: Path, pipeline: Any) -> PlainDataset:
    return PlainDataset(path, load_tokenizer("builtin:tiny"), PROMPTS.get("en", "").dense, pipeline)


def dcap_epoch(dataset: DenseCaptionDataset, epochs: Iterator[int]) -> Epoch:
    begin, cpu = time.perf_counter(), time.process_time()
    samples = tokens = num_bytes = 0
    for batches in EpochLoader(dataset, plan_epoch(dataset, next(epochs))).steps():
        for batch in batches:
            samples += len(batch["samples"])
            tokens += batch["input_ids"].numel()
            num_bytes += sum(value.nbytes for value in batch.values() if isinstance(value, torch.Tensor))
    return Epoch(time.perf_counter() - begin, time.process_time() - cpu, samples, tokens, num_bytes)


def plain_epoch(loader: Any) -> Epoch:
    begin, cpu = time.perf_counter(), time.process_time()
    samples = tokens = num_bytes = 0
    for rows in loader:
        for row in rows:
            samples += len(row["index"])
            tokens += row["input_ids"].numel()
            num_bytes += sum(value.nbytes for value in row.values())
    return Epoch(time.perf_counter() - begin, time.process_time() - cpu, samples, tokens, num_bytes)


@pytest.fixture(scope="module")
def agreed(path: Path) -> None:
    """What must agree does: tokens, labels, positions and patches without augmentation, and what a mirror leaves."""
    ours, plain = dcap_dataset(path, ops=[], **FLOAT32), plain_dataset(path, None)
    row = next(iter(EpochLoader(ours, plan_epoch(ours, 0))))
    indices = [int(info.sample_id.rpartition(":")[2]) - 1 for info in row["samples"]]
    (expected,) = PackingCollate(MAX_LENGTH)([plain[i] for i in indices])
    assert len(indices) > 1
    for name in ("input_ids", "labels", "mm_token_type_ids", "position_ids", "image_grid_thw", "cu_seqlens"):
        assert torch.equal(row[name], expected[name]), name  # type: ignore[literal-required]
    # The processor's Pillow backend divides by 255 first, which rounds once more.
    assert (row["pixel_values"] - expected["pixel_values"]).abs().max() <= 1e-7
    check_mirror(path)


def check_mirror(path: Path) -> None:
    import albumentations as A  # noqa: N812 - its own custom

    mirrored = plain_dataset(path, A.Compose([A.HorizontalFlip(p=1)], **albumentations_labels()))
    ours = dcap_dataset(path, ops=[{"name": "hflip"}])
    for i in range(4):
        assert len(ours[i].scene.shapes) == int(mirrored[i]["num_objects"]) >= 20


@pytest.mark.usefixtures("agreed")
@pytest.mark.parametrize("num_workers", NUM_PLAIN)
def test_epochs(
    path: Path, num_workers: int, benchmark: Callable[..., object], capsys: pytest.CaptureFixture[str]
) -> None:
    part = first(path, NUM_PLAIN[num_workers])
    plain = plain_loader(plain_dataset(part, albumentations_pipeline()), MAX_LENGTH, num_workers)
    epochs = iter(range(10**6))
    calls: dict[str, Callable[[], Epoch]] = {PLAIN: partial(plain_epoch, plain)}
    calls["dcap, float32"] = partial(dcap_epoch, dcap_dataset(path, num_workers, **FLOAT32), epochs)
    calls["dcap"] = partial(dcap_epoch, dcap_dataset(path, num_workers), epochs)
    made: dict[str, list[Epoch]] = {name: [] for name in calls}
    times: dict[str, list[float]] = {name + kind: [] for name in calls for kind in ("", CPU)}
    for _ in turns(times, FLOORS[num_workers], 6.0):
        for name, call in calls.items():
            made[name].append(each := call())
            times[name].append(each.seconds / each.samples)
            times[name + CPU].append(each.cpu / each.samples)
    expected = {name: {NUM_PLAIN[num_workers] if name == PLAIN else NUM_SAMPLES} for name in made}
    assert {name: {each.samples for each in epochs} for name, epochs in made.items()} == expected
    # Draws differ, and so do rules: of a cut contour, the rival keeps all or nothing.
    per_sample = {name: sum(e.tokens for e in epochs) / sum(e.samples for e in epochs) for name, epochs in made.items()}
    assert per_sample["dcap"] / per_sample[PLAIN] == pytest.approx(1.0, abs=0.15)
    benchmark.pedantic(calls["dcap"])  # type: ignore[attr-defined]
    best = {name: Figures.of(epochs) for name, epochs in made.items()}
    with capsys.disabled():
        print(report(num_workers, best))
    assert missed(least(times), FLOORS[num_workers]) == {}


def report(num_workers: int, best: dict[str, Figures]) -> str:
    lines = [f"\n{num_workers} workers    samples/s            tokens/s           CPU of one sample   sent per sample"]
    base = best[PLAIN]
    for name, each in best.items():
        samples, tokens = each.samples / base.samples, each.tokens / base.tokens
        lines.append(f"  {name:14}{each.samples:6.1f} {samples:6.2f}x {each.tokens:12,.0f} {tokens:6.2f}x ")
        # Of workers that live on, the system tells nothing.
        cpu = f"{each.cpu * 1e3:8.1f} ms {base.cpu / each.cpu:6.2f}x" if num_workers == 0 else ""
        lines[-1] += f"{cpu:22}{each.num_bytes / 1e6:6.2f} MB"
    return "\n".join(lines)
