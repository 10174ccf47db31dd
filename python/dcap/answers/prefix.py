r"""The prefix of an answer: a header in front of its objects, with counts of them.

::

    template   {num_objects} objects, {num_lines} of them lines\n
    text       2 objects, 1 of them lines
               {"object_1": ...
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from string import Formatter
from unicodedata import is_normalized

from dcap.core.errors import ConfigError
from dcap.core.words import show
from dcap.geometry.shapes import GeometryKind

PREFIX_FIELDS: dict[str, GeometryKind | None] = {
    "num_objects": None,
    "num_boxes": GeometryKind.BOX,
    "num_polygons": GeometryKind.POLYGON,
    "num_lines": GeometryKind.LINE,
}
"""What a template may count: the shapes of one kind, or of all kinds."""

_NUMBER = "(0|[1-9][0-9]*)"
_REFUSED = re.compile(r"<\|\w+\|>|</?think>")
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Prefix:
    """A template that was checked.

    Raises:
        ConfigError: The template is empty, begins with a blank or a line break, has an unknown field, a field with
            nothing or a digit behind it, a control character, a control token, or letters that are not in form NFC.
    """

    template: str
    """Text with fields in braces, `PREFIX_FIELDS`. ``{{`` and ``}}`` are braces."""
    parts: tuple[tuple[str, str | None], ...] = field(init=False, repr=False, compare=False)
    """Texts, each with the field behind it. `None`: no field."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "parts", tuple(_parts(self.template)))

    def write(self, kinds: Sequence[int]) -> str:
        """Return the prefix of an answer.

        Args:
            kinds: The kind of each object.
        """
        return "".join([text + ("" if name is None else str(_count(name, kinds))) for text, name in self.parts])

    def end_in(self, text: str, start: int) -> int | None:
        """Return the place behind the prefix that begins at `start`, whatever it counts. `None`: there is no prefix."""
        pattern = "".join([re.escape(part) + ("" if name is None else _NUMBER) for part, name in self.parts])
        match = re.compile(pattern).match(text, start)
        return None if match is None else match.end()


def _count(name: str, kinds: Sequence[int]) -> int:
    kind = PREFIX_FIELDS[name]
    return len(kinds) if kind is None else sum(each == kind for each in kinds)


def check_fixed_text(text: str, name: str) -> None:
    """Refuse a text of a profile that would not come back from the model as it is.

    Args:
        text: The text.
        name: Its field, for messages.

    Raises:
        ConfigError: It is empty, begins with a blank or a line break, has a control character, a control token, or
            letters that are not in form NFC.
    """
    if not text or text[0].isspace():
        raise ConfigError(f"{name} must begin with a character that is not blank, not {show(text)}. null: no {name}")
    if not is_normalized("NFC", text):  # the tokenizer would change it
        raise ConfigError(f"{name} must be in Unicode's form NFC, not {show(text)}")
    if found := _REFUSED.search(text) or _CONTROL.search(text):
        raise ConfigError(f"{name} must not hold {show(found[0])}: control characters and tokens have a meaning")


def _parts(template: str) -> list[tuple[str, str | None]]:
    check_fixed_text(template, "prefix")
    try:
        pieces = list(Formatter().parse(template))
    except ValueError as error:
        raise ConfigError(f"prefix must be a text with fields in braces ({error}). Write {{{{ for a brace") from None
    parts = []
    for k, (text, name, form, conversion) in enumerate(pieces):
        if name is not None and (name not in PREFIX_FIELDS or form or conversion):
            known = ", ".join(f"{{{field}}}" for field in PREFIX_FIELDS)
            raise ConfigError(f"prefix must have no fields but {known}, not {show(name)}. Write {{{{ for a brace")
        after = pieces[k + 1][0] if k + 1 < len(pieces) else ""
        if name is not None and (not after or after[0].isdigit()):
            raise ConfigError(f"prefix must have a text that begins with no digit behind {{{name}}}")
        parts.append((text, name))
    return parts
