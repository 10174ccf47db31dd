"""Lazy package faces (PEP 562): a name of a package's ``__all__`` is imported when it is first asked for."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any


def lazy(package: str, modules: Mapping[str, tuple[str, ...]]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return the ``__getattr__`` and ``__dir__`` of a package whose names are imported on first use.

    Importing the package then costs nothing, and a name costs what its module needs.

    Args:
        package: ``__name__`` of the package.
        modules: For each module of the package, without the package's name, the names that it gives to the face.
    """
    places = {name: module for module, names in modules.items() for name in names}

    def get(name: str) -> Any:
        if name not in places:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"{package}.{places[name]}"), name)

    def names() -> list[str]:
        return sorted(places)

    return get, names
