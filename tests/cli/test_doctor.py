"""``dcap doctor`` tells what is there and what to do about what is not."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from dcap.cli import doctor
from dcap.cli.__main__ import main
from dcap.cli.packages import Requirement


@pytest.fixture(scope="module")
def report() -> dict[str, object]:
    return doctor.examine()


def test_json_has_the_same_facts(report: dict[str, object], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(report))


def test_the_backend_is_the_one_in_use(report: dict[str, object]) -> None:
    from dcap.kernels import BACKEND

    assert report["kernels"]["backend"] == BACKEND
    assert report["kernels"]["why"]


def test_a_forced_backend_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DCAP_BACKEND", "numba")
    assert "DCAP_BACKEND=numba" in doctor.examine()["kernels"]["why"]


def test_kernels_that_cannot_be_loaded_are_reported_and_fail() -> None:
    program = (
        "import sys; sys.modules['dcap.kernels'] = sys.modules['torch'] = None; "
        "from dcap.cli.__main__ import main; sys.exit(main(['doctor', '--json']))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 1, done.stderr
    assert json.loads(done.stdout)["kernels"]["backend"] is None


def test_every_base_and_train_package_is_listed(report: dict[str, object]) -> None:
    extras = {p["name"]: p["extra"] for p in report["packages"]}
    assert extras["numpy"] == ""
    assert extras["transformers"] == "train"
    assert "ruff" not in extras


def test_segments_are_always_usable_and_last(report: dict[str, object]) -> None:
    kernels = report["attention"]
    assert [k["name"] for k in kernels] == ["flash_attention_2", "varlen", "segments"]
    assert kernels[-1]["usable"]
    assert report["auto_attention"] == next(k["name"] for k in kernels if k["usable"])


def test_threads_and_cores_are_numbers(report: dict[str, object]) -> None:
    threads = report["threads"]
    assert all(threads[name] >= 1 for name in ("cores", "usable_cores", "numba", "torch"))


def test_a_missing_extra_is_advice(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    missing = [Requirement("numpy", ">=1", "", "2.0"), Requirement("peft", ">=0.21", "train", None)]
    monkeypatch.setattr(doctor, "requirements", lambda: missing)
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "MISSING" in out
    assert 'peft not installed. Run: pip install "dcap[train]"' in out.replace("\n", " ")


def test_without_torch_the_rest_is_still_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "torch cannot be loaded" in out
    assert "geometry kernels" in out


def test_flash_attn_is_advised_where_there_is_a_gpu(report: dict[str, object]) -> None:
    gpu = {"name": "X", "memory_gib": 80.0, "compute_capability": "9.0"}
    advice = doctor._advice({**report, "gpus": [gpu], "auto_attention": "varlen"})
    assert any(doctor.FLASH_ATTN_INSTALL in line for line in advice)
    assert not any(doctor.FLASH_ATTN_INSTALL in line for line in doctor._advice({**report, "gpus": []}))


def test_a_gpu_is_shown(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    gpu = {"name": "Some GPU", "memory_gib": 80.0, "compute_capability": "9.0"}
    found = {**doctor.examine(), "gpus": [gpu]}
    monkeypatch.setattr(doctor, "examine", lambda: found)
    assert main(["doctor"]) == 0
    assert "GPU 0: Some GPU, 80.0 GiB, compute 9.0" in capsys.readouterr().out
