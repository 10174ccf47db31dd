from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from dcap.model import cpu_threads as module
from dcap.model.cpu_threads import cpu_threads, log_cpu_threads, set_cpu_threads


@pytest.fixture(autouse=True)
def _eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "usable_cores", lambda: 8)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 16)
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def set_to(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    found: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", found.append)
    return found


@pytest.mark.parametrize(("hidden_size", "number"), [(128, 1), (512, 1), (513, 8), (2560, 8), (None, 8)])
def test_a_small_model_has_one_thread_and_another_all_cores(hidden_size: int | None, number: int) -> None:
    assert cpu_threads(hidden_size) == number


def test_fewer_threads_of_torch_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch takes one for each core, and not for each of its two halves."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    assert cpu_threads(2560) == 4


@pytest.mark.parametrize("name", ["OMP_NUM_THREADS", "MKL_NUM_THREADS"])
def test_what_is_set_is_kept(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "16")
    assert [cpu_threads(size) for size in (128, 4096)] == [16, 16]
    monkeypatch.setenv(name, "")
    assert cpu_threads(4096) == 8


def test_the_width_is_that_of_the_model(tmp_path: Path, set_to: list[int]) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"text_config": {"hidden_size": 4096}}))
    for name, text in (("text", "no"), ("list", "[]"), ("other", '{"hidden_size": 64}')):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(text)
    unknown = ["Qwen/Qwen3-VL-4B-Instruct", "./nowhere", *(str(tmp_path / name) for name in ("text", "list", "other"))]
    for model in ("builtin:micro", str(tmp_path), *unknown):
        set_cpu_threads(model, "cpu")
    assert set_to == [1, 8, *[8] * len(unknown)]


@pytest.mark.parametrize(
    ("device", "has_cuda", "sets"), [(None, True, 0), ("cuda:1", True, 0), (None, False, 1), ("cpu", True, 1)]
)
def test_only_models_on_the_cpu_matter(
    monkeypatch: pytest.MonkeyPatch, set_to: list[int], device: str | None, has_cuda: bool, sets: int
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_cuda)
    set_cpu_threads("builtin:micro", device)
    assert len(set_to) == sets


def test_the_log_tells_what_a_model_on_the_cpu_has(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        log_cpu_threads(torch.device("cuda"))
        log_cpu_threads(torch.device("cpu"))
    assert caplog.messages == ["CPU: 16 threads; OMP_NUM_THREADS changes it"]
