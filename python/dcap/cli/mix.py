"""``dcap mix``: the share of each data set of a mixture in an epoch, and the epoch as one file."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from dcap.cli.arguments import add_overrides, require_at_least
from dcap.core.log import get_logger, output_console
from dcap.core.outputs import check_outputs, outputs_given
from dcap.core.words import counted

if TYPE_CHECKING:
    from dcap.convert.static_mixture import Share

log = get_logger(__name__)

EPILOG = """\
examples:
  dcap mix configs/mine.yaml                           samples per epoch of each data set of data.mixture
  dcap mix configs/mine.yaml --out mixed.jsonl         the records of epoch 0 as one file
  dcap mix configs/mine.yaml --epoch 3 --out e3.jsonl  those of another epoch
  dcap mix configs/mine.yaml data.mixture[1].ratio=0.5 with fields changed

The file holds the records of the epoch, shuffled. metadata.dataset names the data set of each. A run with data.mixture
does not need this file. Prompts, answer settings, caps and loss weights are not in it: they are no part of a record.
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``dcap mix`` to the command line."""
    parser = subparsers.add_parser(
        "mix",
        help="show a mixture of data sets, or write it as one file",
        description="Show how often an epoch takes the records of each data set, and write them as one file.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("config", metavar="CONFIG.yaml", help="a run's config")
    add_overrides(parser)
    parser.add_argument("--epoch", type=int, default=0, metavar="N", help="which epoch, from 0 (default: 0)")
    parser.add_argument("--out", type=Path, metavar="FILE.jsonl", help="write the records of the epoch into this file")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing --out")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the shares, write the file if asked, and return the exit code.

    Raises:
        ConfigError: The config is wrong, the epoch is negative, or ``--out`` is not to be replaced.
        RecordError: A record breaks the contract.
    """
    from dcap.cli.run_data import run_inputs
    from dcap.convert.static_mixture import shares, write_epoch
    from dcap.data.mixture import read_mixture
    from dcap.train.config import load_run_config

    config = load_run_config(args.config, args.overrides)
    require_at_least(args, 0, "epoch")
    outputs = outputs_given(("--out", args.out, args.overwrite))
    check_outputs(outputs, run_inputs(args.config, config.data, "train") if outputs else ())
    records, mixture = read_mixture(config.data, "train", seed=config.seed)
    output_console().print(_table(shares(mixture, config.seed, args.epoch)))
    if args.out is not None:
        count = write_epoch(records, mixture, config.seed, args.epoch, args.out, config.data.root)
        log.info("wrote %s to %s", counted(count, "record"), args.out)
    return 0


def _table(found: Sequence[Share]) -> Table:
    total = max(sum(share.samples for share in found), 1)
    table = Table("data set", "share", box=None, pad_edge=False)
    for title in ("records", "samples per epoch", "different records", "of all samples"):
        table.add_column(title, justify="right")
    for share in found:
        numbers = (f"{n:,}" for n in (share.records, share.samples, share.distinct))
        table.add_row(share.name, share.rule, *numbers, f"{share.samples / total:.1%}")
    return table
