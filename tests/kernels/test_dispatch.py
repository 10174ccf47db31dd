"""Which backend is used, and that a broken one is never passed over."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PRINT = "import dcap.kernels as k; print(k.BACKEND)"
ABSENT = """
import importlib.util as u
find = u.find_spec
u.find_spec = lambda name, *a: None if name == "dcap._core" else find(name, *a)
"""


def run(program: str, backend: str | None = None, **env: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k != "DCAP_BACKEND"} | env
    if backend is not None:
        environment["DCAP_BACKEND"] = backend
    return subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=120)


def test_cpp_is_the_default_and_numba_can_be_forced() -> None:
    pytest.importorskip("dcap._core", reason="installed without a compiler")
    assert run(PRINT).stdout.strip() == "cpp"
    assert run(PRINT, "cpp").stdout.strip() == "cpp"
    assert run(PRINT, "numba").stdout.strip() == "numba"


def test_numba_when_nothing_was_built() -> None:
    assert run(ABSENT + PRINT).stdout.strip() == "numba"


def test_a_forced_backend_that_is_missing_is_an_import_error() -> None:
    result = run(ABSENT + PRINT, "cpp")
    assert "ImportError: DCAP_BACKEND=cpp needs dcap._core" in result.stderr


def test_an_unknown_backend_is_an_import_error() -> None:
    assert "must be cpp or numba" in run(PRINT, "cuda").stderr


def test_a_broken_core_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "_core.py").write_text("raise ImportError('undefined symbol: broken')\n", "utf-8")
    program = f"""
import sys, importlib.util as u
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "dcap._core":
            return u.spec_from_file_location(name, {str(tmp_path / "_core.py")!r})
sys.meta_path.insert(0, Finder())
{PRINT}
"""
    result = run(program)
    assert result.returncode != 0
    assert "undefined symbol: broken" in result.stderr
