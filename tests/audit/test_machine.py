from __future__ import annotations

from typing import Any

import pytest

from dcap.audit import machine
from dcap.audit.machine import FLASH_ATTN_INSTALL, examine_machine


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    return examine_machine()


def test_the_backend_is_the_one_in_use(report: dict[str, Any]) -> None:
    from dcap.kernels import BACKEND

    assert report["kernels"]["backend"] == BACKEND
    assert report["kernels"]["why"]


def test_a_forced_backend_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DCAP_BACKEND", "numba")
    assert "DCAP_BACKEND=numba" in examine_machine()["kernels"]["why"]


def test_every_base_and_train_package_is_listed(report: dict[str, Any]) -> None:
    extras = {p["name"]: p["extra"] for p in report["packages"]}
    assert extras["numpy"] == ""
    assert extras["transformers"] == "train"
    assert extras["bitsandbytes"] == "quantized"
    assert "ruff" not in extras


def test_segments_are_always_usable_and_last(report: dict[str, Any]) -> None:
    kernels = report["attention"]
    assert [k["name"] for k in kernels] == ["flash_attention_2", "varlen", "segments"]
    assert kernels[-1]["usable"]
    assert report["auto_attention"] == next(k["name"] for k in kernels if k["usable"])


def test_threads_and_cores_are_numbers(report: dict[str, Any]) -> None:
    threads = report["threads"]
    assert all(threads[name] >= 1 for name in ("cores", "usable_cores", "numba", "torch", "torch_small_models"))


def test_flash_attn_is_advised_where_there_is_a_gpu(report: dict[str, Any]) -> None:
    gpu = {"name": "X", "memory_gib": 80.0, "compute_capability": "9.0"}
    advice = machine._advice({**report, "gpus": [gpu], "auto_attention": "varlen"})
    assert any(FLASH_ATTN_INSTALL in line for line in advice)
    assert not any(FLASH_ATTN_INSTALL in line for line in machine._advice({**report, "gpus": []}))
