"""Every kernel assertion runs on every backend that is installed."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

import pytest

from support.numba_cache import share_compiled_twins

share_compiled_twins()


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
