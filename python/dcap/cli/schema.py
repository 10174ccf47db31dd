"""``dcap schema``: the JSON Schema of the run config, for editors; and the augmentation ops, for people."""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dcap.augment import OPS
from dcap.core.files import write_whole
from dcap.core.schema import json_schema
from dcap.train.config import RunConfig

EPILOG = """\
examples:
  dcap schema --ops                     every op of augmentation.ops, with its parameters and their defaults
  dcap schema --out dcap.schema.json
  then begin a config with this line, and editors with a YAML language server complete and check it:
  # yaml-language-server: $schema=dcap.schema.json
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``dcap schema`` to the command line."""
    parser = subparsers.add_parser(
        "schema",
        help="list the augmentation ops; print the JSON Schema of the config, for editors",
        description="Print the JSON Schema of a run config, so that an editor completes and checks the YAML, or list "
        "the augmentation ops. Those of other installed packages are among them.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--ops", action="store_true", help="list the augmentation ops in words, instead of the schema")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write into this file instead of to the terminal")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print or write the schema, or the list of ops.

    Raises:
        PluginError: An op of another package cannot be loaded.
    """
    text = "\n".join(op_lines()) if args.ops else json.dumps(config_schema(), indent=2, ensure_ascii=False)
    text += "\n"
    if args.out is None:
        print(text, end="")
    else:
        write_whole(args.out, text)
    return 0


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
        "title": "dcap run config",
        **schema,
    }


def op_lines() -> Iterator[str]:
    """Yield the ops in words: a line for each with what it does, then its parameters.

    Raises:
        PluginError: An op of another package cannot be loaded.
    """
    yield "Ops for augmentation.ops, a list of {name: ..., prob: 1.0, params: {...}}. Below each name are its params."
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
