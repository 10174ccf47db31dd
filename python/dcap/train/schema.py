"""The JSON Schema of a run's config with the parameters of every op, and the ops in words."""

from __future__ import annotations

import dataclasses
import inspect
import json
from collections.abc import Iterator
from typing import Any

from dcap.augment import OPS
from dcap.core.schema import json_schema
from dcap.train.config import RunConfig

SCHEMA_TITLE = "dcap run config"
OPS_TITLE = "Ops for augmentation.ops, a list of {name: ..., prob: 1.0, params: {...}}. Below each name are its params."


def config_schema() -> dict[str, Any]:
    """Return the JSON Schema of a config *file*: it may extend others, so no field is required.

    Raises:
        PluginError: An op of another package cannot be loaded.
    """
    schema = _without_required(json_schema(RunConfig))
    _add_ops(schema["properties"]["augmentation"]["properties"]["ops"]["items"])
    bases = {"type": "array", "items": {"type": "string"}}
    extends = {
        "anyOf": [{"type": "string"}, bases],
        "description": "Config files to build on, relative to this one; later ones win, this one last.",
    }
    schema["properties"] = {"extends": extends, **schema["properties"]}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": SCHEMA_TITLE,
        **schema,
    }


def op_lines() -> Iterator[str]:
    """Yield the ops in words: a line for each with what it does, then its parameters.

    Raises:
        PluginError: An op of another package cannot be loaded.
    """
    yield OPS_TITLE
    for name, schema in _ops().items():
        yield f"\n{name}: {schema['description']}"
        for field, about in schema["properties"].items():
            default = f" = {json.dumps(about['default'])}" if "default" in about else " (must be given)"
            text = " ".join(about["description"].replace("`", "").split())
            yield f"  {field}{default}" + f"\n      {text}" * bool(text)


def _ops() -> dict[str, dict[str, Any]]:
    """Return the schema of each op's parameters. An op must be a dataclass; others are left out."""
    ops = {name: OPS.get(name) for name in OPS}
    schemas = {name: json_schema(op) for name, op in ops.items() if dataclasses.is_dataclass(op)}
    for name, schema in schemas.items():
        schema["description"] = inspect.cleandoc(ops[name].__doc__ or "").partition("\n\n")[0].replace("\n", " ")
    return schemas


def _add_ops(item: dict[str, Any]) -> None:
    """Let `item`, one of ``augmentation.ops``, take the known names, each with its own parameters."""
    ops = _ops()
    item["properties"]["name"]["enum"] = list(ops)
    # A list replaces the whole list of a base file, so the required parameters of an op are required here.
    item["required"] = ["name"]
    item["allOf"] = [
        {
            "if": {"properties": {"name": {"const": name}}, "required": ["name"]},
            "then": {"properties": {"params": schema}, "required": ["params"] if "required" in schema else []},
        }
        for name, schema in ops.items()
    ]


def _without_required(schema: Any) -> Any:
    if isinstance(schema, dict):
        # A field that happens to be named "required" holds a mapping, never a list.
        kept = {k: v for k, v in schema.items() if not (k == "required" and isinstance(v, list))}
        return {k: _without_required(v) for k, v in kept.items()}
    return [_without_required(v) for v in schema] if isinstance(schema, list) else schema
