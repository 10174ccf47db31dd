"""The options of a reader of annotations: its fields, on the command line of ``dcap convert FORMAT``.

Readers come from other packages too. One whose fields cannot be options stops its own command, and no other.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from dcap.cli.arguments import finite_number
from dcap.convert.division import Division
from dcap.convert.readers import READERS
from dcap.core.errors import ConfigError, PluginError
from dcap.core.registry import calling
from dcap.core.schema import field_docs

SPLIT = "split"
"""A field of this name shares ``--split`` with the division of the output."""
_BEFORE = "reader_"
"""Begin of the names under which parsed arguments hold the fields of a reader."""


def add_reader_options(parser: argparse.ArgumentParser, reader: str) -> None:
    """Add one option for each field of a reader but `SPLIT`, explained by the string under it.

    Raises:
        PluginError: The reader cannot be loaded, or a field is an option of ``dcap convert`` itself.
    """
    for name, settings in _settings(reader).items():
        if name == SPLIT:
            continue
        option = f"--{name.replace('_', '-')}"
        try:
            parser.add_argument(option, dest=_BEFORE + name, **settings)
        except argparse.ArgumentError:
            raise PluginError(
                f"reader {reader!r} must have other fields than {name}: {option} is an option of dcap convert itself. "
                "Give the field another name"
            ) from None


def split_help(reader: str) -> str:
    """Return what ``--split`` means for the source itself; empty where the reader has no such field.

    Raises:
        PluginError: As `add_reader_options`.
    """
    settings = _settings(reader).get(SPLIT)
    if settings is None:
        return ""
    text = settings["help"] or "which part of it to read"
    return f" Another value is one of the source: {text[:1].lower()}{text[1:]}"


def make_reader(args: argparse.Namespace, reader: str, splits: Sequence[str]) -> Any:
    """Return the reader that the arguments describe.

    Args:
        args: Parsed arguments, of a parser with `add_reader_options`.
        reader: Its name, which is that of the format.
        splits: Values of ``--split`` that are no shares.

    Raises:
        ConfigError: The reader has no such split.
        PluginError: The reader cannot be made.
    """
    settings = _settings(reader)
    maker: Any = READERS.get(reader)
    values = {name: getattr(args, _BEFORE + name) for name in settings if name != SPLIT}
    if splits and SPLIT not in settings:
        raise ConfigError(f"--split must be 2 or 3 shares that sum to 1, such as 0.9,0.1, not {splits[0]}")
    if SPLIT in settings:
        values[SPLIT] = _split(settings[SPLIT], splits)
    with calling(f"reader {reader!r}"):
        return maker(**values)


def tell_splits(given: Sequence[str]) -> tuple[list[tuple[float, ...]], list[str]]:
    """Tell shares from other values of ``--split``.

    Raises:
        ConfigError: There are two of one kind.
    """
    found = [(text, Division.parse_shares(text)) for text in given]
    shares = [each for _, each in found if each is not None]
    others = [text for text, each in found if each is None]
    if len(shares) > 1 or len(others) > 1:
        raise ConfigError(f"--split must be given once, not {len(given)} times")
    return shares, others


def _split(settings: dict[str, Any], splits: Sequence[str]) -> Any:
    if not splits:
        if settings.get("required"):
            raise ConfigError(f"--split must name a part of the source: {settings['help'].replace('%%', '%')}")
        return settings["default"]
    (text,) = splits
    try:
        value = settings.get("type", str)(text)
    except (ValueError, argparse.ArgumentTypeError):
        raise ConfigError(f"--split must be shares such as 0.9,0.1 or a number, not {text}") from None
    choices = settings.get("choices")
    if choices is not None and value not in choices:
        named = ", ".join(map(str, choices))
        raise ConfigError(f"--split must be shares such as 0.9,0.1 or one of {named}, not {text}")
    return value


def _settings(reader: str) -> dict[str, dict[str, Any]]:
    """Return the arguments of ``add_argument`` for each field of a reader."""
    maker: Any = READERS.get(reader)
    if not dataclasses.is_dataclass(maker):
        return {}
    with calling(f"reader {reader!r}"):
        hints = get_type_hints(maker)
    docs = field_docs(maker if isinstance(maker, type) else type(maker))
    fields = (field for field in dataclasses.fields(maker) if field.init)
    return {field.name: _of_field(field, hints[field.name], docs.get(field.name, "")) for field in fields}


def _of_field(field: dataclasses.Field[Any], hint: Any, doc: str) -> dict[str, Any]:
    default = field.default
    if field.default_factory is not dataclasses.MISSING:
        default = field.default_factory()
    text = doc.replace("%", "%%")
    if hint is bool:
        # What is on by default gets --no-NAME too.
        action = argparse.BooleanOptionalAction if default is True else "store_true"
        return {"action": action, "default": default is True, "help": text}
    settings: dict[str, Any] = {"help": text, "required": True}
    if default is not dataclasses.MISSING:
        shown = "" if default is None else f" (default: {default})"
        settings = {"help": text + shown, "default": default}
    if get_origin(hint) is Literal:
        return {**settings, "choices": get_args(hint)}
    kind = next((t for t in (Path, int, float) if hint is t or t in get_args(hint)), str)
    shown = {Path: "FILE", int: "N", float: "N"}.get(kind, "NAME")
    return {**settings, "type": finite_number if kind is float else kind, "metavar": shown}
