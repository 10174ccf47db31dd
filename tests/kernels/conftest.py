"""Every kernel assertion runs on every backend that is installed."""

from __future__ import annotations

import hashlib
import tempfile
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numba
import pytest

import dcap.kernels


def _cache_folder() -> str:
    # numba looks at the file of a function only, so a cached caller would go on using a callee that has changed since
    # in another file. A folder per state of all sources cannot go stale.
    sources = sorted(Path(dcap.kernels.__file__).parent.rglob("*.py"))
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:16]
    return str(Path(tempfile.gettempdir()) / f"dcap-numba-{digest}")


numba.config.CACHE_DIR = _cache_folder()


@pytest.fixture(params=["dcap._core", "dcap.kernels._numba"], ids=["cpp", "numba"])
def backend(request: pytest.FixtureRequest) -> ModuleType:
    if request.param == "dcap._core":
        return pytest.importorskip("dcap._core", reason="installed without a compiler")
    return import_module(request.param)


@pytest.fixture(params=["dcap._core", "dcap.kernels.plain"], ids=["cpp", "plain"])
def untwinned(request: pytest.FixtureRequest) -> ModuleType:
    """The backends of kernels that have no numba twin."""
    if request.param == "dcap._core":
        return pytest.importorskip("dcap._core", reason="installed without a compiler")
    return import_module(request.param)


@pytest.fixture
def core() -> ModuleType:
    """The C++ kernels."""
    return pytest.importorskip("dcap._core", reason="installed without a compiler")


@pytest.fixture
def twins() -> tuple[ModuleType, ModuleType]:
    """The C++ kernels and their numba twins."""
    core = pytest.importorskip("dcap._core", reason="installed without a compiler")
    return core, import_module("dcap.kernels._numba")
