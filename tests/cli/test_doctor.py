"""``dcap doctor`` tells what is there and what to do about what is not."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from dcap.audit import machine
from dcap.audit.machine import examine_machine
from dcap.cli import doctor
from dcap.cli.__main__ import main
from dcap.core.packages import Requirement, install_command


def test_json_has_the_same_facts(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(examine_machine()))


def test_kernels_that_cannot_be_loaded_are_reported_and_fail() -> None:
    program = (
        "import sys; sys.modules['dcap.kernels'] = sys.modules['torch'] = None; "
        "from dcap.cli.__main__ import main; sys.exit(main(['doctor', '--json']))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 1, done.stderr
    assert json.loads(done.stdout)["kernels"]["backend"] is None


def test_a_missing_extra_is_advice(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    missing = [Requirement("numpy", ">=1", "", "2.0"), Requirement("peft", ">=0.21", "train", None)]
    monkeypatch.setattr(machine, "requirements", lambda: missing)
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "MISSING" in out
    assert f"peft not installed. Run: {install_command('train')}" in out.replace("\n", " ")


def test_without_torch_the_rest_is_still_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "torch cannot be loaded" in out
    assert "geometry kernels" in out


def test_a_gpu_is_shown(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    gpu = {"name": "Some GPU", "memory_gib": 80.0, "compute_capability": "9.0"}
    found = {**examine_machine(), "gpus": [gpu]}
    monkeypatch.setattr(doctor, "examine_machine", lambda: found)
    assert main(["doctor"]) == 0
    assert "GPU 0: Some GPU, 80.0 GiB, compute 9.0" in capsys.readouterr().out
