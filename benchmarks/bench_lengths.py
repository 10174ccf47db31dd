"""Planning samples for their lengths, against encoding the same samples; ratios only, since machines differ.

Run with ``pytest benchmarks/bench_lengths.py --benchmark-only``. Planned lengths are checked first; both work on one
thread, in turns. ``python benchmarks/many_lengths.py`` shows the same on 200 000 records.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import orjson
import pytest
import torch
from PIL import Image

from augment_rivals import OPS
from dcap import kernels
from dcap.answers.profile import AnswerProfile
from dcap.data.config import DataConfig
from dcap.data.dataset import DenseCaptionDataset
from dcap.geometry import Canvas, clip
from dcap.records.record import Origin, parse_record, to_dict
from shapes import mixed_image
from timing import interleaved, missed

CANVAS = Canvas(height=960, width=1280)
NUM_SAMPLES = 16
WORDS = (
    "antenna",
    "bracket",
    "panel",
    "cable",
    "mounted",
    "on",
    "the",
    "left",
    "mast",
    "with rust,",
    "in full,",
    "upper",
)
# What fails the benchmark: about two thirds of what an idle machine with two cores shows.
FLOORS = {"augmented": {("encoded", "planned"): 20}, "not augmented": {("encoded", "planned"): 50}}
READ, PARSE = "dcap: decoded, checked", "orjson.loads"
READING = {(PARSE, READ): 0.5}


def lines() -> list[bytes]:
    """Records of one photo with 30 boxes, polygons and lines; about 4000 answer tokens."""
    rng = np.random.default_rng(0)
    shapes = clip(mixed_image(CANVAS.width, CANVAS.height), CANVAS, "largest").shapes.to_objects()
    rounded = [{key: [round(v) for v in values] for key, values in shape.items()} for shape in shapes]
    head = {"images": ["a.jpg"], "width": CANVAS.width, "height": CANVAS.height}
    records = [
        {**head, "objects": [{"desc": " ".join(rng.choice(WORDS, 6)), **shape} for shape in rounded]}
        for _ in range(NUM_SAMPLES)
    ]
    return [json.dumps(record).encode() for record in records]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lengths")
    pixels = np.random.default_rng(0).integers(0, 256, (CANVAS.height // 8, CANVAS.width // 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize((CANVAS.width, CANVAS.height)).save(folder / "a.jpg", quality=90)
    (folder / "train.jsonl").write_bytes(b"".join(line + b"\n" for line in lines()))
    return folder / "train.jsonl"


def dataset(path: Path, ops: list[dict[str, Any]]) -> DenseCaptionDataset:
    data = DataConfig(str(path), global_max_length=12_000, answer=AnswerProfile(max_pixels=921_600))
    return DenseCaptionDataset(data, augmentation=ops)


@pytest.mark.parametrize(("what", "ops"), [("augmented", OPS), ("not augmented", [])], ids=["augmented", "plain"])
def test_planning(
    path: Path, what: str, ops: list[Any], benchmark: Callable[..., object], capsys: pytest.CaptureFixture[str]
) -> None:
    data = dataset(path, ops)
    keys = [(1, i) for i in range(NUM_SAMPLES)]
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    encoded = [data[key] for key in keys]
    assert [data.plan(*key).length for key in keys] == [len(sample.input_ids) for sample in encoded]
    tokens, patches = (np.mean([f(sample) for sample in encoded]) for f in (lambda s: s.num_supervised, _num_patches))
    calls: dict[str, Callable[[], object]] = {
        "planned": lambda: [data.plan(*key) for key in keys],
        "encoded": lambda: [data[key].pixel_values for key in keys],
        "encoded, no patches": lambda: [data[key] for key in keys],
    }
    floors = FLOORS[what] if kernels.BACKEND == "cpp" else {}
    seconds = interleaved(calls, floors, 3.0)
    benchmark(calls["planned"])
    with capsys.disabled():
        print(f"\na sample of {tokens:.0f} answer tokens and {patches:.0f} patches, {what} ({kernels.BACKEND}):")
        for name, value in seconds.items():
            print(f"  {name:22s} {value / NUM_SAMPLES * 1e3:7.2f} ms  {value / seconds['planned']:6.1f}x")
    assert missed(seconds, floors) == {}


def _num_patches(sample: Any) -> int:
    return int(sample.num_patches)


def test_reading_a_record(benchmark: Callable[..., object], capsys: pytest.CaptureFixture[str]) -> None:
    given, origin = lines(), Origin("train.jsonl", 1)
    assert [to_dict(parse_record(line, origin)) for line in given] == [json.loads(line) for line in given]
    calls: dict[str, Callable[[], object]] = {
        READ: lambda: [parse_record(line, origin) for line in given],
        PARSE: lambda: [orjson.loads(line) for line in given],
        "json.loads": lambda: [json.loads(line) for line in given],
    }
    floors = READING if kernels.BACKEND == "cpp" else {}
    seconds = interleaved(calls, floors)
    benchmark(calls[READ])
    with capsys.disabled():
        print(f"\na record of 30 objects ({kernels.BACKEND}):")
        for name, value in seconds.items():
            print(f"  {name:24s} {value / len(given) * 1e6:7.1f} us  {value / seconds[PARSE]:6.2f} of orjson's")
    assert missed(seconds, floors) == {}
