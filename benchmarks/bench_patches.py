"""Pixels to the model's patches, against Hugging Face's image processor without its resize; ratios only.

Run with ``pytest benchmarks/bench_patches.py --benchmark-only``. Every result is compared before it is timed, methods
take turns on one thread each, and all start from the same decoded image, uint8 (H, W, 3). Where the output lies matters
more than how it is computed, so two cases are told apart: a result that is dropped before the next call, whose memory
is used again, and results that are held as a loader holds the samples of a pack, whose memory is new.
"""

from __future__ import annotations

import time
import zlib
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from importlib.util import find_spec
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import torch
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from dcap import kernels
from dcap.augment import Plan, render, render_patches
from dcap.augment.color import Levels, Saturation
from dcap.augment.patches import to_patches
from dcap.geometry import Affine, Canvas
from timing import Floors, interleaved, least, missed, turns

U8 = npt.NDArray[np.uint8]
Calls = dict[str, Callable[[], Any]]

CANVASES = {"960x960": Canvas(960, 960), "1280x704": Canvas(704, 1280)}
TORCHVISION, PIL = "Hugging Face, torchvision", "Hugging Face, PIL"
OPTIONS = {"patch_size": 16, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
# What fails the benchmark: about a quarter of what an idle machine shows, since patches are bound by memory, which a
# busy machine has least of.
FLOORS = {
    (TORCHVISION, "float32"): 2,
    (PIL, "float32"): 6,
    (TORCHVISION, "bfloat16"): 4,
    (PIL, "bfloat16"): 12,
}
# float32 is bound by the memory that both cores share.
OF_A_SECOND_CORE = {("bfloat16 in turn", "bfloat16 at once"): 1.3}


@cache
def image_of(canvas: Canvas) -> U8:
    return np.random.default_rng(0).integers(0, 256, (canvas.height, canvas.width, 3), dtype=np.uint8)


def rivals(image: U8) -> Calls:
    calls: Calls = {}
    if find_spec("torchvision") is not None:
        from transformers.models.qwen2_vl.image_processing_qwen2_vl import Qwen2VLImageProcessor

        planes = torch.from_numpy(image).permute(2, 0, 1)  # its quickest way in: a view
        processor = Qwen2VLImageProcessor(**OPTIONS)
        calls[TORCHVISION] = lambda: processor(planes, do_resize=False, return_tensors="pt")["pixel_values"].numpy()
    plain = Qwen2VLImageProcessorPil(**OPTIONS)
    calls[PIL] = lambda: plain(image, do_resize=False, return_tensors="np")["pixel_values"]
    return calls


def check_agreement(image: U8, calls: Calls) -> None:
    patches = to_patches(image)
    halves = torch.from_numpy(patches).to(torch.bfloat16)
    assert torch.equal(torch.from_numpy(to_patches(image, "bfloat16")).view(torch.bfloat16), halves)
    for name, call in calls.items():
        # The PIL backend divides by 255 first, which rounds once more.
        assert np.abs(call() - patches).max() <= (0.0 if name == TORCHVISION else 1e-7), name


def filled(num_values: int) -> npt.NDArray[np.float32]:
    """What any method must do at least: write that much."""
    out = np.empty(num_values, np.float32)
    out.fill(0.0)
    return out


def per_call(calls: Calls, held: int, floors: Floors) -> dict[str, float]:
    """Least seconds per call, in turns, with the results of `held` calls in memory at a time.

    Every turn begins with another method, since each finds the caches as the one before it has left them.
    """
    times: dict[str, list[float]] = {name: [] for name in calls}
    order = deque(calls)
    for _ in turns(times, floors, 1.5):
        for name in order:
            for _ in range(12 // held):
                begin = time.perf_counter()
                results = [calls[name]() for _ in range(held)]
                times[name].append((time.perf_counter() - begin) / held)
                del results
        order.rotate()
    return least(times)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)
    cv2.setNumThreads(1)


@pytest.mark.parametrize("size", CANVASES)
@pytest.mark.parametrize("held", [1, 4], ids=["dropped", "held"])
def test_patches(size: str, held: int, benchmark: Callable[..., object], capsys: pytest.CaptureFixture[str]) -> None:
    image = image_of(CANVASES[size])
    others = rivals(image)
    check_agreement(image, others)
    num_values = 2 * image.size
    ours: Calls = {name: partial(to_patches, image, name) for name in ("float32", "bfloat16", "uint8")}
    ours["float32, out"] = partial(to_patches, image, "float32", to_patches(image))
    floor: Calls = {"memset": lambda: filled(num_values)}
    floors = FLOORS if kernels.BACKEND == "cpp" and held == 1 else {}
    seconds = per_call({**ours, **floor, **others}, held, floors)
    benchmark(ours["float32"])
    lines = [f"\n{size}, {kernels.BACKEND}, results {'held' if held > 1 else 'dropped'}; "]
    lines[0] += f"memset of the float32 patches {seconds['memset'] * 1e3:.2f} ms"
    for name in ours:
        ratios = ", ".join(f"{rival} {seconds[rival] / seconds[name]:.1f}x" for rival in others)
        lines.append(
            f"  {name:15} {seconds[name] * 1e3:5.2f} ms  {seconds[name] / seconds['memset']:.1f} memset  {ratios}"
        )
    if TORCHVISION not in others:
        lines.append(f"  {TORCHVISION}: left out, torchvision is not installed")
    with capsys.disabled():
        print("\n".join(lines))
    assert missed(seconds, floors) == {}


@pytest.mark.parametrize("size", CANVASES)
def test_render_and_patches(size: str, benchmark: Callable[..., object], capsys: pytest.CaptureFixture[str]) -> None:
    """From decoded pixels: rotation, saturation and brightness; the rivals get what dcap rendered."""
    canvas = CANVASES[size]
    image = image_of(Canvas(1000, 1500))
    corners = np.array([[0, 0], [canvas.width, 0], [canvas.width, canvas.height], [0, canvas.height]], float)
    turn = Affine.translation(-100, -20) @ Affine.rotation(3, (750, 500))
    plan = Plan(Canvas(1000, 1500), canvas, turn, corners, (Saturation(0.9), Levels(1.1)), "linear", ())
    assert np.array_equal(render_patches(image, plan), to_patches(render(image, plan)))
    calls: Calls = {
        "render alone": partial(render, image, plan),
        "render_patches": partial(render_patches, image, plan),
    }
    for name in rivals(image_of(canvas)):
        calls[f"render, {name}"] = lambda name=name: rivals(render(image, plan))[name]()
    seconds = interleaved(calls)
    benchmark(calls["render_patches"])
    with capsys.disabled():
        print(f"\nrender and patches, {size}")
        for name, value in seconds.items():
            print(f"  {name:33} {value * 1e3:6.2f} ms  {value / seconds['render_patches']:.1f}x")


def test_two_threads_at_once(benchmark: Callable[..., object], capsys: pytest.CaptureFixture[str]) -> None:
    """Twice the work on two threads, beside a checksum, which shows how much of two cores is free."""
    image = image_of(CANVASES["1280x704"])
    noise = image.tobytes()
    work: Calls = {name: partial(to_patches, image, name) for name in ("float32", "bfloat16", "uint8")}
    work["checksum"] = partial(zlib.crc32, noise)

    def many(call: Callable[[], Any]) -> None:
        for _ in range(8):
            call()

    with ThreadPoolExecutor(2) as pool:
        calls: Calls = {}
        for name, call in work.items():
            calls[f"{name} in turn"] = lambda call=call: [pool.submit(many, call).result() for _ in range(2)]
            calls[f"{name} at once"] = lambda call=call: list(pool.map(many, (call, call)))
        floors = OF_A_SECOND_CORE if kernels.BACKEND == "cpp" else {}
        seconds = interleaved(calls, floors)
        benchmark(calls["float32 at once"])
    gains = {name: seconds[f"{name} in turn"] / seconds[f"{name} at once"] for name in work}
    with capsys.disabled():
        print("\ntwo threads: " + ", ".join(f"{name} {gain:.2f}x" for name, gain in gains.items()))
    if gains["checksum"] < 1.8:
        pytest.skip(f"two cores must be free to judge this; a checksum gains {gains['checksum']:.2f}x")
    assert missed(seconds, floors) == {}
