"""The texts of errors as the sources have them, and whether a message could be one of them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_LEAST_LETTERS = 16
"""A text with fewer letters of its own, such as ``{where}: {error}``, could be anything."""
_LEAST_SHARE = 0.25
"""Share of a message that must be the text's own letters."""


@dataclass(frozen=True)
class Text:
    """A text of the sources; what is filled in is None."""

    kind: str
    """The error that is raised with it, empty where that is decided elsewhere."""
    parts: tuple[str | None, ...]

    @property
    def num_letters(self) -> int:
        return sum(len(part) for part in self.parts if part)

    def may_be(self, message: str) -> bool:
        """Whether the text, filled in, is in the message, and enough of it is the text's own."""
        own = [part for part in self.parts if part]
        if self.num_letters < max(_LEAST_LETTERS, _LEAST_SHARE * len(message)) or any(p not in message for p in own):
            return False
        return re.search(".*".join(map(re.escape, own)), message) is not None


def texts_of(sources: Path) -> list[Text]:
    """Return every text of a package with what it raises; docstrings are none."""
    return [text for path in sorted(sources.rglob("*.py")) for text in _texts(ast.parse(path.read_text("utf-8")))]


def _texts(tree: ast.AST) -> Iterator[Text]:
    raised: dict[ast.AST, str] = {}
    nodes = list(ast.walk(tree))
    for node in nodes:
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and isinstance(node.exc.func, ast.Name):
            if not node.exc.func.id[0].isupper():  # a parameter: the caller decides
                continue
            raised |= dict.fromkeys(node.exc.args, node.exc.func.id)
    docs = {node.value for node in nodes if isinstance(node, ast.Expr)}
    inner = {part for node in nodes if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in nodes:
        if isinstance(node, ast.JoinedStr):
            yield Text(raised.get(node, ""), tuple(_part(part) for part in node.values))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in docs | inner:
            yield Text(raised.get(node, ""), (node.value,))


def _part(node: ast.expr) -> str | None:
    return str(node.value) if isinstance(node, ast.Constant) else None
