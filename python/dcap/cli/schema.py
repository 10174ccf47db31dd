"""``dcap schema``: the JSON Schema of the run config, for editors; and the augmentation ops, for people."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from dcap.core.files import write_whole
from dcap.train.schema import config_schema, op_lines

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
