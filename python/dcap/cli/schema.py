"""``dcap schema``: the JSON Schema of the run config, for editors."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from dcap.core.schema import json_schema
from dcap.train.config import RunConfig

EPILOG = """\
example:
  dcap schema --out dcap.schema.json
  then begin a config with this line, and editors with a YAML language server complete and check it:
  # yaml-language-server: $schema=dcap.schema.json
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``dcap schema`` to the command line."""
    parser = subparsers.add_parser(
        "schema",
        help="print the JSON Schema of the config, for editors",
        description="Print the JSON Schema of a run config, so that an editor completes and checks the YAML.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="write it there instead of to the terminal")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print or write the schema."""
    text = json.dumps(config_schema(), indent=2, ensure_ascii=False) + "\n"
    if args.out is None:
        print(text, end="")
    else:
        args.out.write_text(text, "utf-8")
    return 0


def config_schema() -> dict[str, Any]:
    """Return the JSON Schema of a config *file*: it may extend others, so no field is required."""
    schema = _without_required(json_schema(RunConfig))
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


def _without_required(schema: Any) -> Any:
    if isinstance(schema, dict):
        # A field that happens to be named "required" holds a mapping, never a list.
        kept = {k: v for k, v in schema.items() if not (k == "required" and isinstance(v, list))}
        return {k: _without_required(v) for k, v in kept.items()}
    return [_without_required(v) for v in schema] if isinstance(schema, list) else schema
