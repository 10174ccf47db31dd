"""``dcap merge``: make one output of the shards that several machines made."""

from __future__ import annotations

import argparse
import os
import shlex
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from dcap.cli.arguments import CommandParser, merged_output, parse_command
from dcap.core.errors import CheckpointError, ConfigError
from dcap.core.log import get_logger
from dcap.core.shard import WholeShard, merging, shards_of
from dcap.core.words import show

log = get_logger(__name__)

SHARDED = ("convert", "validate", "audit", "lengths", "predict")
"""Commands that take ``--shard``."""

EPILOG = """\
examples:
  dcap predict --model BASE --adapter runs/mine/final --data val.jsonl --out pred.jsonl --shard 0/2     one machine
  dcap predict --model BASE --adapter runs/mine/final --data val.jsonl --out pred.jsonl --shard 1/2     another one
  dcap merge pred.jsonl                                  when both are done

OUT is the --out, or the --report, that the parts were given; they are in the folder OUT.shards. The result is that of
one run without --shard, byte for byte: the file, what is beside it, what is printed, and the exit code. What the first
part was given for the whole, such as --json, --html or --sheet, is made here. Parts that are missing or damaged are
named, with the commands that make them. Parts that were made with other settings, by another version or from other
files are refused. Start it in the folder where the parts were started, with the same files in place. The folder
OUT.shards stays; delete it when you need it no more.

next: dcap guide many_machines has the scripts for Slurm, Kubernetes and Ray.
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``dcap merge`` to the command line."""
    parser = subparsers.add_parser(
        "merge",
        help="make one output of the parts that several machines made",
        description="Join the parts that a command with --shard made on several machines.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("out", type=Path, metavar="OUT", help="file that the parts were made for")
    parser.add_argument("--overwrite", action="store_true", help="replace OUT if it is there")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Merge; the exit code is that of the command without ``--shard``.

    Raises:
        ConfigError: Shards are missing, are there twice, or do not fit each other; or `out` is not to be replaced.
        CheckpointError: A shard is damaged, or is that of another output; or another merge is not done.
    """
    with merging(args.out) as shards:
        made = _parsed(shards[0])
        made.overwrite, made.shard = args.overwrite, None
        out = merged_output(made)
        if out is None or os.path.realpath(shards_of(out)) != os.path.realpath(shards_of(args.out)):
            raise CheckpointError(
                f"{shards[0].marker} must be made for {args.out}, not for {out}. Start dcap merge in the folder "
                "where the parts were started"
            )
        return int(made.merge(made, shards))


class _CommandOfShard(CommandParser):
    """Reads the words that made a shard: nothing is printed, and nothing ends the process."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{**settings, "add_help": False})

    def error(self, message: str) -> NoReturn:
        raise ConfigError(message)


def _parsed(shard: WholeShard) -> argparse.Namespace:
    """Return the arguments that made a shard."""
    name = shard.command[0] if shard.command else ""
    if name not in SHARDED:
        said = f"must be made by {', '.join(SHARDED)}, not by {show(name)}"
        raise CheckpointError(f"{shard.marker} {said}. Make it anew, with --overwrite")
    parser = _CommandOfShard(prog="dcap")
    import_module(f"dcap.cli.{name}").add_parser(parser.add_subparsers())
    shown = f"{shard.marker} must name the command that made it, not {show(shlex.join(shard.command))}"
    try:
        made = parse_command(parser, shard.command)
    except ConfigError as error:
        raise CheckpointError(f"{shown}: {error}. Make it anew, with --overwrite") from None
    if getattr(made, "shard", None) != shard.shard:
        raise CheckpointError(f"{shown}: it does not make part {shard.shard}. Make it anew, with --overwrite")
    return made
