"""``dcap merge``: make one output of the shards that several machines made."""

from __future__ import annotations

import argparse
import os
from importlib import import_module
from pathlib import Path

from dcap.cli.arguments import merged_output, parse_command
from dcap.core.errors import CheckpointError
from dcap.core.log import get_logger
from dcap.core.shard import WholeShard, shards_of, whole_shards

log = get_logger(__name__)

SHARDED = ("convert", "validate", "audit", "lengths", "predict")
"""Commands that take ``--shard``."""

EPILOG = """\
examples:
  dcap predict --model BASE --adapter runs/mine/final --data val.jsonl --out pred.jsonl --shard 0/2     one machine
  dcap predict --model BASE --adapter runs/mine/final --data val.jsonl --out pred.jsonl --shard 1/2     another one
  dcap merge pred.jsonl                                  when both are done

OUT is the --out, or the --report, that the parts were given; they are in the folder OUT.shards. The result is that of
one run without --shard, byte for byte: the file, what is beside it, what is printed, and the exit code. Parts that are
missing are named, with the commands that make them. Parts that were made with other settings, by another version or
from other files are refused. Start it in the folder where the parts were started, with the same files in place. The
folder OUT.shards stays; delete it when you need it no more.

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
        CheckpointError: A shard is damaged, or is that of another output.
    """
    shards = whole_shards(args.out)
    made = _parsed(shards[0])
    made.overwrite, made.shard = args.overwrite, None
    out = merged_output(made)
    if out is None or os.path.realpath(shards_of(out)) != os.path.realpath(shards_of(args.out)):
        raise CheckpointError(
            f"{shards[0].marker} must be made for {args.out}, not for {out}. Start dcap merge in the folder "
            "where the parts were started"
        )
    return int(made.merge(made, shards))


def _parsed(shard: WholeShard) -> argparse.Namespace:
    """Return the arguments that made a shard."""
    name = shard.command[0] if shard.command else ""
    if name not in SHARDED:
        raise CheckpointError(f"{shard.marker} must be made by {', '.join(SHARDED)}, not by {name!r}. Make it anew")
    parser = argparse.ArgumentParser(prog="dcap")
    import_module(f"dcap.cli.{name}").add_parser(parser.add_subparsers())
    return parse_command(parser, shard.command)
