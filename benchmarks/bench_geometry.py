"""Affine map and exact clip of all shapes of an image, against its rivals; ratios only, since machines differ.

Run with ``pytest benchmarks/bench_geometry.py --benchmark-only``. Every rival's result is compared before it is timed,
and the rivals take turns, so that a busy moment of the machine hits all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib import import_module

import numpy as np
import pytest

import rivals
from dcap import kernels
from dcap.geometry import Affine, ShapeArray, area_or_length
from shapes import contours, mixed_image, stars
from timing import interleaved, missed

CPP, NUMBA = BACKENDS = ("dcap._core", "dcap.kernels._numba")
NOT_SLOWER = {(NUMBA, CPP): 0.9}
RECT = (0.0, 0.0, 1000.0, 720.0)
AFFINE = Affine.rotation(7, (640, 480)) @ Affine.scaling(0.9, center=(640, 480))
WORKLOADS: dict[str, Callable[[], ShapeArray]] = {
    "30 mixed objects": mixed_image,
    "100 x 12-gon": contours,
    "1000 x 64-star": stars,
}
# What fails the benchmark: about half of what an idle machine shows, since a busy one slows short calls most.
FLOORS = {
    "30 mixed objects": {("plain Python", "dcap"): 50, ("shapely clip_by_rect", "dcap"): 5},
    "100 x 12-gon": {("plain Python", "dcap"): 80, ("shapely clip_by_rect", "dcap"): 6},
    "1000 x 64-star": {
        ("plain Python", "dcap"): 120,
        ("shapely clip_by_rect", "dcap"): 10,
        ("Clipper2 (pyclipr)", "dcap"): 20,
    },
}


def check_agreement(shapes: ShapeArray) -> None:
    expected = rivals.sizes_of_dcap(shapes, AFFINE, RECT)
    geometries = rivals.geometries_of(shapes)
    assert rivals.sizes_of_plain_python(shapes, AFFINE, RECT) == pytest.approx(expected, rel=1e-9, abs=1e-9)
    for clip in (rivals.shapely_clip_by_rect, rivals.shapely_intersection):
        assert rivals.sizes_of_shapely(clip(geometries, AFFINE, RECT), shapes) == pytest.approx(expected, rel=1e-9)
    if (shapes.kinds == rivals.POLYGON).all():
        assert rivals.sizes_of_clipper2(shapes, AFFINE, RECT) == pytest.approx(expected, rel=1e-3, abs=0.1)


@pytest.mark.parametrize("workload", WORKLOADS)
def test_affine_and_clip(workload: str, benchmark: Callable[..., object], capsys: pytest.CaptureFixture[str]) -> None:
    shapes = WORKLOADS[workload]()
    check_agreement(shapes)
    calls = rivals.calls(shapes, AFFINE, RECT)
    floors = FLOORS[workload] if kernels.BACKEND == "cpp" else {}
    seconds = interleaved(calls, floors)
    benchmark(calls["dcap"])
    ratios = {name: value / seconds["dcap"] for name, value in seconds.items()}
    with capsys.disabled():
        print(f"\n{workload}: dcap ({kernels.BACKEND}) {seconds['dcap'] / len(shapes.xy) * 1e9:.1f} ns per vertex")
        for name in ratios:
            print(f"  {name:24s} {ratios[name]:8.1f}x")
    assert missed(seconds, floors) == {}


@pytest.mark.parametrize("workload", WORKLOADS)
def test_cpp_is_not_slower_than_numba(
    workload: str, benchmark: Callable[..., object], capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("dcap._core", reason="installed without a compiler")
    shapes = WORKLOADS[workload]()
    ratios = {}
    for name, arguments in kernel_arguments(shapes).items():
        calls = {backend: partial(getattr(import_module(backend), name), *arguments) for backend in BACKENDS}
        seconds = interleaved(calls, NOT_SLOWER, 0.5)
        ratios[name] = seconds[NUMBA] / seconds[CPP]
    benchmark(area_or_length, shapes)
    with capsys.disabled():
        print(f"\n{workload}: numba / C++ " + ", ".join(f"{name} {ratio:.2f}x" for name, ratio in ratios.items()))
    assert {name: ratio for name, ratio in ratios.items() if ratio < NOT_SLOWER[NUMBA, CPP]} == {}


def kernel_arguments(shapes: ShapeArray) -> dict[str, tuple[object, ...]]:
    arrays = shapes.xy, shapes.offsets, shapes.kinds
    n, p = len(shapes), len(shapes.xy)
    few = shapes.take(np.arange(min(n, 30)))
    some = few.xy, few.offsets, few.kinds
    outputs = np.empty((p + 2 * n, 2)), np.empty(n + 1, np.int64), np.empty(n, np.uint8)
    return {
        "clip_rect": (*arrays, AFFINE.coefficients, False, False, RECT),
        "transform": (*arrays, AFFINE.coefficients, False, *outputs),
        "area_or_length": (*arrays, np.empty(n)),
        "min_area_rect": (*arrays, np.empty((n, 4, 2))),
        "simplify": (*arrays, 8, np.empty(p, np.uint8), np.empty(n)),
        "pairwise_iou": (*some, *some, np.empty((len(few), len(few)))),
    }
