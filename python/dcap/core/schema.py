"""JSON Schema of the configuration, made from the dataclasses and the strings under their fields."""

from __future__ import annotations

import ast
import dataclasses
import functools
import inspect
import itertools
import json
import textwrap
import types
import typing
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from dcap.core.config import to_tree


def field_docs(cls: type) -> dict[str, str]:
    """Return the string written under each field of a dataclass and of those it inherits, keyed by the field's name.

    A class without source text, such as one typed into an interpreter, has none.
    """
    docs: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if dataclasses.is_dataclass(base):
            docs |= _own_field_docs(base)
    return docs


@functools.cache
def _own_field_docs(cls: type) -> dict[str, str]:
    try:
        source = inspect.getsource(cls)
    except OSError:
        return {}
    body = ast.parse(textwrap.dedent(source)).body[0]
    docs: dict[str, str] = {}
    statements = getattr(body, "body", [])
    for field, text in itertools.pairwise(statements):
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
            docs[ast.unparse(field.target)] = inspect.cleandoc(str(text.value.value))
    return docs


def json_schema(cls: type) -> dict[str, Any]:
    """Return the JSON Schema of a config dataclass, for editors that complete and check YAML."""
    hints, docs = typing.get_type_hints(cls), field_docs(cls)
    properties, required = {}, []
    for field in dataclasses.fields(cls):
        schema = _schema_of(hints[field.name])
        schema["description"] = docs.get(field.name, "")
        if field.default is not dataclasses.MISSING:
            schema["default"] = json.loads(json.dumps(to_tree(field.default)))
        elif field.default_factory is dataclasses.MISSING:
            required.append(field.name)
        properties[field.name] = schema
    out: dict[str, Any] = {"type": "object", "additionalProperties": False, "properties": properties}
    return {**out, "required": required} if required else out


def _schema_of(hint: Any) -> dict[str, Any]:
    origin, args = get_origin(hint), get_args(hint)
    if dataclasses.is_dataclass(hint):
        return json_schema(typing.cast("type", hint))
    if origin in (Union, types.UnionType):
        return {"anyOf": [_schema_of(a) for a in args]}
    if origin is Literal:
        return {"enum": list(args)}
    if origin is tuple:
        if len(args) == 2 and args[1] is Ellipsis:
            return {"type": "array", "items": _schema_of(args[0])}
        return {"type": "array", "minItems": len(args), "maxItems": len(args)}
    if origin is dict:
        return {"type": "object"}
    names = {float: "number", int: "integer", bool: "boolean", str: "string", type(None): "null", Path: "string"}
    return {"type": names[hint]} if hint in names else {}
