"""Records that are made and not read: their names, ``builtin:NAME?OPTIONS``, and the code that makes them.

A source of records has a name in `RECORD_SOURCES`. Its options follow in the form of a URL's query, such as
``builtin:scenes?num=500&kinds=box,star``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TypeVar, get_args, get_origin, get_type_hints
from urllib.parse import unquote

from dcap.core.config import build, parse_yaml
from dcap.core.errors import ConfigError
from dcap.core.registry import Registry, calling
from dcap.core.words import show
from dcap.records.files.source import RecordSource

C = TypeVar("C")

PREFIX = "builtin:"
"""Begins the names of bundled files and of records that are made."""
RECORD_SOURCES: Registry[Callable[[str, Mapping[str, str]], RecordSource]] = Registry(
    "source of records", "dcap.record_sources"
)
"""Makers of records by name. Each gets the full name, which becomes the `path` of the records, and the options."""


def is_generated(path: str | Path) -> bool:
    """Whether a path of `expand_sources` is the name of records that are made. Bundled files have real paths there."""
    return str(path).startswith(PREFIX)


def open_generated(name: str) -> RecordSource:
    """Return the records that a name means. No record is made yet.

    Args:
        name: ``builtin:NAME?OPTIONS``. An option may be given once; ``%26`` stands for ``&``.

    Raises:
        ConfigError: There is no such source, or it refuses the options.
        PluginError: A source of another package failed.
    """
    kind, _, query = name.removeprefix(PREFIX).partition("?")
    make = RECORD_SOURCES.get(kind)
    try:
        options = options_of([unquote(item) for item in query.split("&") if item])
        with calling(f"source of records {name}"):
            return make(name, options)
    except ConfigError as error:
        raise ConfigError(f"{name}: {error}") from None


def options_of(items: Iterable[str]) -> dict[str, str]:
    """Return options by name, from texts such as ``num=500``.

    Raises:
        ConfigError: A text has no ``=``, or an option is given twice.
    """
    options: dict[str, str] = {}
    for item in items:
        key, sign, value = item.partition("=")
        if not sign:
            raise ConfigError(f"option must be KEY=VALUE, not {show(item)}")
        if key in options:
            raise ConfigError(f"option {key} must be given once, not twice")
        options[key] = value
    return options


def read_options(cls: type[C], given: Mapping[str, str], what: str) -> C:
    """Build a frozen dataclass from options as texts: values are YAML, those of a list have commas between them.

    Args:
        cls: The dataclass; see `dcap.core.config.build`.
        given: The options.
        what: Whose options they are, for messages.

    Raises:
        ConfigError: An option is unknown, or a value is not what its field takes; the message names the nearest.
    """
    lists = {name for name, hint in get_type_hints(cls).items() if _is_list(hint)}
    tree = {key: _value(f"{what}.{key}", text, key in lists) for key, text in given.items()}
    return build(cls, tree, what)


def _is_list(hint: object) -> bool:
    return tuple in {get_origin(part) for part in (hint, *get_args(hint))}


def _value(name: str, text: str, is_list: bool) -> object:
    if not text.strip():
        raise ConfigError(f"{name} must have a value, and is empty. Leave it out for the default")
    parts = text.split(",") if is_list else [text]
    try:
        values = [parse_yaml(part) for part in parts]
    except ConfigError as error:
        raise ConfigError(f"{name} must have a YAML value, not {show(text)} ({error})") from None
    return values if is_list else values[0]
