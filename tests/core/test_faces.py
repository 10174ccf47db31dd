"""The faces of the packages: what they promise is there, and costs nothing until it is used."""

from __future__ import annotations

import ast
import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

import dcap

SOURCES = Path(dcap.__file__).parent
FACES = sorted(path for path in SOURCES.rglob("__init__.py") if "lazy(" in path.read_text("utf-8"))


WITHOUT_TORCH = ("core", "kernels", "geometry", "records", "answers", "augment", "view", "evaluate", "convert")
"""Rooms that work without torch."""


def name_of(path: Path) -> str:
    return ".".join(("dcap", *path.parent.relative_to(SOURCES).parts))


def typed_names(path: Path) -> set[str]:
    """The names that the face shows to type checkers, under ``if TYPE_CHECKING``."""
    blocks = [node for node in ast.parse(path.read_text("utf-8")).body if isinstance(node, ast.If)]
    imports = [node for block in blocks for node in block.body if isinstance(node, ast.ImportFrom)]
    return {alias.asname or alias.name for node in imports for alias in node.names}


@pytest.mark.parametrize("path", FACES, ids=name_of)
def test_a_face_gives_all_that_it_names(path: Path) -> None:
    if path.parent.relative_to(SOURCES).parts[0] not in WITHOUT_TORCH:
        pytest.importorskip("torch", reason="this room needs it")
    package = importlib.import_module(name_of(path))
    assert sorted(package.__all__) == dir(package) == sorted(typed_names(path))
    for name in package.__all__:
        assert getattr(package, name).__doc__, f"{name_of(path)}.{name} must have a docstring"
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = package.nothing


@pytest.mark.parametrize("path", FACES, ids=name_of)
def test_no_module_hides_a_name_of_its_package(path: Path) -> None:
    package = importlib.import_module(name_of(path))
    assert {p.stem for p in path.parent.iterdir()} & set(package.__all__) == set()


IMPORTS = """
import importlib, json, sys
found = {}
for name in sys.argv[1:]:
    importlib.import_module(name)
    found[name] = sorted({"torch", "transformers", "cv2", "numba"} & set(sys.modules))
print(json.dumps(found))
"""


def test_importing_a_face_is_cheap() -> None:
    """No face imports what takes long; all are imported by one process, one after the other."""
    names = [name_of(path) for path in FACES]
    command = [sys.executable, "-c", IMPORTS, *names]
    out = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert json.loads(out.stdout) == {name: [] for name in names}
