"""The modules of dcap as a graph of imports; ``python tests/support/import_graph.py`` prints it, room by room.

Every import counts, also one inside a function or for type checkers only: a circle of those is a circle for readers.
"""

from __future__ import annotations

import ast
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

SOURCES = Path(__file__).resolve().parents[2] / "python" / "dcap"

Graph = dict[str, set[str]]


def module_name(path: Path, sources: Path = SOURCES) -> str:
    """Return the dotted name of a file of the package."""
    parts = path.relative_to(sources.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(tree: ast.Module, known: set[str]) -> Iterator[str]:
    """Yield the modules of dcap that a file imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            yield from names & known or {node.module} & known


def import_graph(sources: Path = SOURCES) -> Graph:
    """Return for each module the modules that it imports; a package's face is left out, since it only shows others."""
    paths = {module_name(path, sources): path for path in sorted(sources.rglob("*.py"))}
    modules = {name: path for name, path in paths.items() if path.name != "__init__.py"}
    known = set(modules)
    return {name: set(imported(ast.parse(path.read_text("utf-8")), known)) - {name} for name, path in modules.items()}


def circle_of(graph: Mapping[str, set[str]]) -> list[str]:
    """Return the modules of one circle of imports, in order; none when there is no circle."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(reversed(error.args[1]))
    return []


def num_floors(graph: Mapping[str, set[str]]) -> int:
    """Return how many modules the longest chain of imports has; 0 where there is a circle."""
    if circle_of(graph):
        return 0
    depth: dict[str, int] = {}
    for name in TopologicalSorter(graph).static_order():
        depth[name] = 1 + max((depth[other] for other in graph.get(name, ())), default=0)
    return max(depth.values(), default=0)


def room_of(module: str) -> str:
    """Return the room of a module: its package below dcap."""
    return module.split(".")[1]


def report(sources: Path = SOURCES) -> str:
    """Return files, lines, floors and arrows of every room, and the circles of all."""
    graph = import_graph(sources)
    rooms: defaultdict[str, list[str]] = defaultdict(list)
    for module in graph:
        rooms[room_of(module)].append(module)
    lines = ["room          files  lines  floors  imports"]
    for room, modules in sorted(rooms.items()):
        paths = [sources.parent / Path(*module.split(".")).with_suffix(".py") for module in modules]
        count = sum(len(path.read_text("utf-8").splitlines()) for path in paths)
        inside = {module: graph[module] & set(modules) for module in modules}
        others = sorted({room_of(other) for module in modules for other in graph[module]} - {room})
        lines.append(f"{room:12}  {len(modules):5}  {count:5}  {num_floors(inside):6}  {', '.join(others)}")
    circle = circle_of(graph)
    return "\n".join([*lines, f"circles: {' -> '.join(circle) if circle else 'none'}"])


if __name__ == "__main__":
    print(report(Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else SOURCES))
