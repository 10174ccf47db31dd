"""From a JPEG file and 30 labels to the model's patches, augmented, against other ways; ratios only.

Run with ``pytest benchmarks/bench_augment.py --benchmark-only``. Pictures are compared before anything is timed; all
methods take turns on one thread, over the same number of random draws.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

import workload
from augment_rivals import Dcap, all_rivals, turned_pictures
from dcap.augment import render_patches
from dcap.core.random import generator
from dcap.geometry import Affine, ShapeArray, transform
from dcap.records.images import decode_image
from shapes import mixed_image
from timing import Floors, interleaved, missed

DRAWS = 4
SIZES = {"1280x960": (1280, 960), "4000x3000": (4000, 3000)}
# What fails the benchmark: about half of what an idle machine shows.
FLOORS = {
    "1280x960": {("AlbumentationsX", "dcap"): 3, ("PIL and Python", "dcap"): 7},
    "4000x3000": {("AlbumentationsX", "dcap"): 2},
}
OF_RENDERING = {("render", "plan"): 10}
OF_A_SECOND_CORE = {("dcap in turn", "dcap at once"): 1.3}


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)
    cv2.setNumThreads(1)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, ShapeArray]]:
    """A bundled photo, enlarged, with some noise so that its JPEG is as long as a camera's; and 30 objects on it."""
    import dcap

    folder = tmp_path_factory.mktemp("photos")
    source = Image.open(Path(dcap.__file__).parent / "assets/photos/images/rocket.jpg").convert("RGB")
    made = {}
    for name, (width, height) in SIZES.items():
        pixels = np.asarray(source.resize((width, height), Image.Resampling.BICUBIC)).astype(np.int16)
        noise = np.random.default_rng(0).normal(0, 4, pixels.shape).astype(np.int16)
        path = folder / f"{name}.jpg"
        Image.fromarray(np.clip(pixels + noise, 0, 255).astype(np.uint8)).save(path, quality=90)
        made[name] = path, transform(mixed_image(), Affine.scaling(width / 1280))
    return made


@pytest.mark.parametrize("size", SIZES)
def test_from_file_to_patches(
    size: str,
    photos: dict[str, tuple[Path, ShapeArray]],
    benchmark: Callable[..., object],
    capsys: pytest.CaptureFixture[str],
) -> None:
    path, shapes = photos[size]
    pictures = turned_pictures(np.asarray(Image.open(path).resize((640, 480))))
    for name, picture in pictures.items():
        inner = np.s_[120:-120, 120:-120]
        off = np.abs(picture[inner].astype(int) - pictures["dcap"][inner]).mean()
        assert off < 1.0, f"{name} must show the same picture, and is off by {off} levels"
    rivals = all_rivals(path, shapes)
    work = {name: [rival.sample(seed) for seed in range(8)] for name, rival in rivals.items()}
    for name, samples in work.items():
        rows = [sum(len(patches) for patches, _ in made) for made in (samples, work["dcap"])]
        assert rows[0] / rows[1] == pytest.approx(1.0, abs=0.2), f"{name} must make as many patches"
        assert min(left for _, left in samples) > 10
    calls: dict[str, Callable[[], Any]] = {
        name: lambda rival=rival: [rival.sample(seed) for seed in range(DRAWS)] for name, rival in rivals.items()
    }
    calls["decoding alone"] = lambda: [decode_image(path, None) for _ in range(DRAWS)]
    seconds = interleaved(calls, FLOORS[size])
    benchmark(partial(rivals["dcap"].sample, 0))
    with capsys.disabled():
        print(f"\n{size} JPEG to patches: dcap {seconds['dcap'] / DRAWS * 1e3:.1f} ms")
        for name, value in seconds.items():
            print(f"  {name:20} {value / DRAWS * 1e3:7.1f} ms  {value / seconds['dcap']:6.2f}x")
    assert missed(seconds, FLOORS[size]) == {}


def test_planning_beside_rendering(
    photos: dict[str, tuple[Path, ShapeArray]], benchmark: Callable[..., object], capsys: pytest.CaptureFixture[str]
) -> None:
    path, shapes = photos["1280x960"]
    dcap = Dcap(path, shapes)
    image = decode_image(path, None)
    plan = dcap.pipeline.plan(dcap.canvas, shapes, generator(0)).plan
    calls: dict[str, Callable[[], Any]] = {
        "plan": lambda: dcap.pipeline.plan(dcap.canvas, shapes, generator(0)),
        "render": partial(render_patches, image, plan, "bfloat16"),
    }
    seconds = interleaved(calls, OF_RENDERING)
    benchmark(calls["plan"])
    share = seconds["plan"] / seconds["render"]
    with capsys.disabled():
        print(f"\nplanning 30 objects: {seconds['plan'] * 1e6:.0f} us, {share:.1%} of rendering")
    assert missed(seconds, OF_RENDERING) == {}


def test_two_threads_at_once(
    photos: dict[str, tuple[Path, ShapeArray]], benchmark: Callable[..., object], capsys: pytest.CaptureFixture[str]
) -> None:
    """The interpreter lock is free during decode, warp, colours and patches."""
    workload.start(*photos["1280x960"])
    with ThreadPoolExecutor(2) as pool:
        report_gain("threads", pool, benchmark, capsys)


def test_two_processes_at_once(
    photos: dict[str, tuple[Path, ShapeArray]], benchmark: Callable[..., object], capsys: pytest.CaptureFixture[str]
) -> None:
    """What a second worker of a data loader adds, without the way back to the trainer."""
    with ProcessPoolExecutor(2, get_context("spawn"), workload.start, photos["1280x960"]) as pool:
        seconds = report_gain("processes", pool, benchmark, capsys, OF_A_SECOND_CORE)
    # Where other programs take the second core, there is nothing to see.
    if seconds["checksum in turn"] > 1.9 * seconds["checksum at once"]:
        assert missed(seconds, OF_A_SECOND_CORE) == {}


def report_gain(
    kind: str,
    pool: Executor,
    benchmark: Callable[..., object],
    capsys: pytest.CaptureFixture[str],
    floors: Floors | None = None,
) -> dict[str, float]:
    """Time the same two jobs in turn and at once; a checksum shows how much of a second core the machine gives."""
    calls: dict[str, Callable[[], Any]] = {}
    for name, job in {"dcap": workload.samples, "checksum": workload.checksum}.items():
        calls[f"{name} in turn"] = lambda job=job: [pool.submit(job, seed).result() for seed in (0, 6)]
        calls[f"{name} at once"] = lambda job=job: list(pool.map(job, (0, 6)))
    seconds = interleaved(calls, floors)
    benchmark(calls["dcap at once"])
    gains = {name: seconds[f"{name} in turn"] / seconds[f"{name} at once"] for name in ("dcap", "checksum")}
    with capsys.disabled():
        print(f"\ntwo {kind}: " + ", ".join(f"{name} {gain:.2f}x" for name, gain in gains.items()))
    return seconds
