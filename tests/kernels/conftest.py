"""Every kernel assertion runs on every backend that is installed."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

import pytest


@pytest.fixture(params=["dcap._core", "dcap.kernels._numba"], ids=["cpp", "numba"])
def backend(request: pytest.FixtureRequest) -> ModuleType:
    if request.param == "dcap._core":
        return pytest.importorskip("dcap._core", reason="installed without a compiler")
    return import_module(request.param)


@pytest.fixture
def twins() -> tuple[ModuleType, ModuleType]:
    """The C++ kernels and their numba twins."""
    core = pytest.importorskip("dcap._core", reason="installed without a compiler")
    return core, import_module("dcap.kernels._numba")
