"""Configuration: YAML with ``extends:`` and ``key=value`` overrides, turned into frozen dataclasses.

Owns reading, merging and checking. What the fields mean is written beside their owners; a field is described by
the string under it, which also feeds the JSON Schema (`dcap.core.schema`).
"""

from __future__ import annotations

import dataclasses
import math
import re
import types
import typing
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

import yaml

from dcap.core.errors import ConfigError, nearest_hint
from dcap.core.files import require_file
from dcap.core.words import show

C = TypeVar("C")

MAX_CONFIG_BYTES = 1 << 20
MAX_VALUES = 100_000
"""Most values of a config, what an alias stands for counted each time."""
MAX_DEPTH = 64
"""Deepest nesting of a config."""
MAX_WHOLE_NUMBER = 1 << 1000
"""Larger ones do not fit a float."""


class UnknownFieldError(ConfigError):
    """A key that is no field.

    Args:
        key: The key as written.
        section: Dotted path of its section; empty at the top.
        known: The fields there are.
    """

    def __init__(self, key: str, section: str, known: Iterable[str]) -> None:
        self.key, self.section, self.known = key, section, tuple(known)
        self.problem = (
            f"{section}.{key} is not a field of {section}" if section else f"{key} is not a field of the config"
        )
        super().__init__(self.problem + nearest_hint(key, self.known))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.key, self.section, self.known)


class _Loader(yaml.SafeLoader):
    """YAML where ``1e-4`` is a number and a repeated key is an error."""

    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            place = _place(self.peek_event().start_mark)  # type: ignore[no-untyped-call]
            raise ConfigError(f"{place}: value must not be nested deeper than {MAX_DEPTH} levels")
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            value = super().construct_object(node, deep)
        except ConfigError:
            raise
        # What PyYAML raises for a date in month 13, ``!!bool x``, a list as a key or a number of 5000 digits.
        except (ValueError, TypeError, LookupError, AttributeError):
            raise ConfigError(f"{_place(node.start_mark)}: value must be one that YAML knows") from None
        if type(value) is int and abs(value) >= MAX_WHOLE_NUMBER:
            raise ConfigError(f"{_place(node.start_mark)}: number must have at most 300 digits")
        return value


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d[\d_]*(?:\.[\d_]*)?|\.[\d_]+)([eE][-+]?\d+)$"),
    list("-+0123456789."),
)


def _unique_mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[Any] = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        place = _place(key_node.start_mark)
        if not isinstance(key, Hashable):
            raise ConfigError(f"{place}: key must be a text, not {show(key)}")
        if key in seen:
            raise ConfigError(f"{place}: key {show(key)} must be given once, not twice")
        seen.add(key)
    return dict(loader.construct_pairs(node, deep=True))


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _unique_mapping)


def parse_yaml(text: str) -> Any:
    """Return the value of YAML text.

    Raises:
        ConfigError: The text is not YAML, is nested too deep, or grows beyond `MAX_VALUES` by its aliases; the message
            has line and column.
    """
    loader = None
    try:
        loader = _Loader(text)  # it looks at the first characters
        node = loader.get_single_node()
        if node is None:
            return None
        _num_values(node, {})
        return loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        place = _place(error.problem_mark) if error.problem_mark else "config"
        raise ConfigError(f"{place}: text must be YAML: {error.problem or error.context}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"text must be YAML: {str(error).splitlines()[0]}") from None
    finally:
        if loader is not None:
            loader.dispose()


def _num_values(node: yaml.Node, known: dict[yaml.Node, int]) -> int:
    """Return how many values a node holds, with those of its aliases."""
    if node in known:
        if not known[node]:
            raise ConfigError(f"{_place(node.start_mark)}: value must not hold itself by an alias")
        return known[node]
    known[node] = 0
    inner = [n for pair in node.value for n in pair] if isinstance(node, yaml.MappingNode) else node.value
    count = 1 + (sum(_num_values(n, known) for n in inner) if isinstance(node, yaml.CollectionNode) else 0)
    if count > MAX_VALUES:
        place = _place(node.start_mark)
        raise ConfigError(f"{place}: value must hold at most {MAX_VALUES} values, those of its aliases counted")
    known[node] = count
    return count


def _place(mark: Any) -> str:
    return f"line {mark.line + 1} column {mark.column + 1}"


def read_yaml(path: Path) -> dict[str, Any]:
    """Read one YAML mapping and merge it over the files that its ``extends`` names.

    Paths of bases are relative to the file. Bases are merged in order, then the file itself; the later wins.

    Raises:
        ConfigError: The file is missing, too large, no mapping, not YAML, or extends itself.
    """
    return _read_yaml(path.resolve(), (), {})


def config_files(path: Path) -> list[Path]:
    """Return a config file and the files that it extends, resolved.

    Raises:
        ConfigError: As `read_yaml`.
    """
    known: dict[Path, dict[str, Any]] = {}
    _read_yaml(path.resolve(), (), known)
    return list(known)


def _read_yaml(path: Path, chain: tuple[Path, ...], known: dict[Path, dict[str, Any]]) -> dict[str, Any]:
    if path in chain:
        names = " -> ".join(p.name for p in (*chain, path))
        raise ConfigError(f"{path}: extends must not form a cycle: {names}")
    if path not in known:
        tree = _parse_file(path, chain)
        bases = tree.pop("extends", [])
        bases = [bases] if isinstance(bases, str) else bases
        if not isinstance(bases, list) or not all(isinstance(base, str) and "\0" not in base for base in bases):
            raise ConfigError(f"{path}: extends must be a path or a list of paths, not {show(bases)}")
        merged: dict[str, Any] = {}
        for base in bases:
            merged = merge(merged, _read_yaml((path.parent / base).resolve(), (*chain, path), known))
        known[path] = merge(merged, tree)
    return known[path]


def _parse_file(path: Path, chain: tuple[Path, ...]) -> dict[str, Any]:
    require_file(path, "config", ConfigError, f"{chain[-1]} extends it." if chain else "")
    try:
        if path.stat().st_size > MAX_CONFIG_BYTES:
            raise ConfigError(f"{path}: config must be at most {MAX_CONFIG_BYTES} bytes")
        text = path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: config must be UTF-8, and byte {error.start} is not. Save it as UTF-8.") from None
    except OSError as error:
        raise ConfigError(f"{path}: config must be readable, not {error.strerror}") from None
    try:
        tree = parse_yaml(text)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}: config must be a mapping of sections, not {show(tree)}")
    return tree


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` with `over` on top: mappings merge key by key, everything else is replaced."""
    out = dict(base)
    for key, value in over.items():
        both = isinstance(out.get(key), dict) and isinstance(value, dict)
        out[key] = merge(out[key], value) if both else value
    return out


def apply_overrides(tree: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Return `tree` with command-line overrides such as ``training.learning_rate=1e-4`` applied in order.

    Values are YAML; ``a.b[2].c=...`` reaches into a list.

    Raises:
        ConfigError: An item is not ``key=value``, or its path goes through something that is no section.
    """
    for item in overrides:
        key, sign, text = item.partition("=")
        if not sign or not key:
            raise ConfigError(f"override must be key=value, not {show(item)}")
        try:
            value = parse_yaml(text)
        except ConfigError as error:
            raise ConfigError(f"override {key} must have a YAML value, not {show(text)} ({error})") from None
        tree = _with_value(tree, re.findall(r"[^.\[\]]+|\[\d{1,9}\]", key), value, key)
    return tree


def _with_value(node: Any, path: list[str], value: Any, key: str) -> Any:
    if not path:
        return value
    head, rest = path[0], path[1:]
    if head.startswith("["):
        index = int(head[1:-1])
        if not isinstance(node, list) or index >= len(node):
            raise ConfigError(f"override {key}: index {index} must be inside the list")
        return [_with_value(v, rest, value, key) if i == index else v for i, v in enumerate(node)]
    if node is not None and not isinstance(node, dict):
        raise ConfigError(f"override {key}: {head!r} must be inside a section, not inside {show(node)}")
    node = node or {}
    return {**node, head: _with_value(node.get(head), rest, value, key)}


def build(cls: type[C], tree: Any, where: str = "") -> C:
    """Build the frozen dataclass `cls` from a plain tree, checking every name and type.

    Args:
        cls: Dataclass; nested dataclasses, ``tuple[X, ...]``, ``dict[str, X]``, ``X | None`` and ``Literal`` are
            followed.
        tree: Mapping from YAML.
        where: Dotted path so far, for messages.

    Raises:
        UnknownFieldError: An unknown key.
        ConfigError: A missing key, a wrong type, or a value that the dataclass refuses.
    """
    dot = f"{where}." if where else ""
    if not isinstance(tree, Mapping):
        raise ConfigError(f"{where or 'config'} must be a section of keys, not {show(tree)}")
    hints = _hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for key in tree:
        if key not in fields:
            name = key if isinstance(key, str) and len(key) <= 60 else show(key)
            raise UnknownFieldError(name, where, fields)
    for name, field in fields.items():
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and name not in tree:
            raise ConfigError(f"{dot}{name} must be given; it has no default")
    values = {name: _convert(value, hints[name], f"{dot}{name}") for name, value in tree.items()}
    try:
        return cls(**values)
    except ConfigError as error:
        raise ConfigError(f"{dot}{error}" if dot and not str(error).startswith(dot) else str(error)) from None


def check_fields(config: Any) -> None:
    """Check a config dataclass that was made in code as `build` checks one from YAML; for its ``__post_init__``.

    A list becomes a tuple, a whole number of a decimal field a float, and a mapping the dataclass of its field.

    Raises:
        ConfigError: A value has a wrong type.
    """
    for name, hint in _hints(type(config)).items():
        object.__setattr__(config, name, _convert(getattr(config, name), hint, name))


_HINTS: dict[type, dict[str, Any]] = {}  # reading annotations takes longer than all checks


def _hints(cls: type) -> dict[str, Any]:
    if cls not in _HINTS:
        hints = typing.get_type_hints(cls)
        _HINTS[cls] = {field.name: hints[field.name] for field in dataclasses.fields(cls)}
    return _HINTS[cls]


def _convert(value: Any, hint: Any, where: str) -> Any:
    origin, args = get_origin(hint), get_args(hint)
    if hint is Any:
        return value
    if origin in (Union, types.UnionType):
        return _convert_union(value, args, where)
    if origin is Literal:
        if any(value == a and type(value) is type(a) for a in args):
            return value
        raise ConfigError(f"{where} must be one of {', '.join(map(show, args))}, not {show(value)}")
    if dataclasses.is_dataclass(hint):
        kind = typing.cast("type[Any]", hint)
        return value if isinstance(value, kind) else build(kind, value, where)
    if origin is tuple:
        return _convert_tuple(value, args, where)
    if origin is dict:
        if not isinstance(value, dict):
            raise ConfigError(f"{where} must be a mapping, not {show(value)}")
        return {k: _convert(v, args[1], f"{where}.{k}") for k, v in value.items()}
    return _convert_scalar(value, hint, where)


def _convert_union(value: Any, args: tuple[Any, ...], where: str) -> Any:
    if value is None and type(None) in args:
        return None
    options = [a for a in args if a is not type(None)]
    said: ConfigError | None = None
    for option in options:
        try:
            return _convert(value, option, where)
        except ConfigError as error:
            if len(options) == 1 or _has_form(value, option):
                said = said or error
    kinds = list(dict.fromkeys(map(_kind_words, options)))
    words = " or ".join(filter(None, (", ".join(kinds[:-1]), kinds[-1])))
    raise said or ConfigError(f"{where} must be {words}, not {show(value)}")


def _has_form(value: Any, hint: Any) -> bool:
    """Whether a value is written as one of a type is, so that what is wrong with it is inside."""
    if dataclasses.is_dataclass(hint) or get_origin(hint) is dict:
        return isinstance(value, Mapping)
    if get_origin(hint) is tuple:
        return isinstance(value, list | tuple)
    return type(value) is hint


def _kind_words(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return f"one of {', '.join(map(show, get_args(hint)))}"
    if get_origin(hint) is tuple:
        return "a list"
    if dataclasses.is_dataclass(hint) or get_origin(hint) is dict:
        return "a section of keys"
    return "a string" if hint is Path else _type_words(hint)


def _convert_tuple(value: Any, args: tuple[Any, ...], where: str) -> tuple[Any, ...]:
    if not isinstance(value, (list, tuple)):
        raise ConfigError(f"{where} must be a list, not {show(value)}")
    if len(args) == 2 and args[1] is Ellipsis:
        return tuple(_convert(v, args[0], f"{where}[{i}]") for i, v in enumerate(value))
    if len(value) != len(args):
        raise ConfigError(f"{where} must be a list of {len(args)} values, not {len(value)}")
    return tuple(_convert(v, a, f"{where}[{i}]") for i, (v, a) in enumerate(zip(value, args, strict=True)))


def _convert_scalar(value: Any, hint: type, where: str) -> Any:
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value) if abs(value) < MAX_WHOLE_NUMBER else math.inf
    if isinstance(value, str) and "\0" in value:
        raise ConfigError(f"{where} must be text without NUL characters, not {show(value)}")
    if hint in (str, Path) and isinstance(value, str | Path):
        return hint(value)
    if type(value) is not hint:
        raise ConfigError(f"{where} must be {_type_words(hint)}, not {show(value)}")
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{where} must be finite, not {show(value)}")
    return value


def _type_words(hint: type) -> str:
    return {float: "a number", int: "an integer", bool: "true or false", str: "a string"}.get(hint, hint.__name__)


def to_tree(config: Any) -> Any:
    """Return a config dataclass as plain YAML-ready dicts and lists; `build` reads it back."""
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        return {f.name: to_tree(getattr(config, f.name)) for f in dataclasses.fields(config)}
    if isinstance(config, Mapping):
        return {k: to_tree(v) for k, v in config.items()}
    if isinstance(config, (tuple, list)):
        return [to_tree(v) for v in config]
    return str(config) if isinstance(config, Path) else config


def differences(saved: Any, current: Any) -> Iterator[tuple[str, str]]:
    """Yield the dotted name of each differing value, and the difference in words."""
    for name, before, now in differing(saved, current):
        yield name, f"{name} was {show(before, 400)} and is {show(now, 400)}"


def differing(first: Any, second: Any, name: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield the dotted name of each value that differs between two trees of plain data, and both values."""
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        for key in sorted({*first, *second}, key=str):
            yield from differing(first.get(key), second.get(key), f"{name}.{key}" if name else str(key))
    elif first != second:
        yield name, first, second


def dump_yaml(config: Any) -> str:
    """Return a config dataclass as YAML text."""
    text: str = yaml.safe_dump(to_tree(config), sort_keys=False, allow_unicode=True)
    if any(breaks in text for breaks in "\x85\u2028\u2029"):
        # YAML reads these as line breaks; escaped they come back as they were.
        text = yaml.safe_dump(to_tree(config), sort_keys=False, allow_unicode=False)
    return text
