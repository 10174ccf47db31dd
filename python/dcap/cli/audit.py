"""``dcap audit``: every check of the contract over the data of a run, with an exit code for scripts."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from dcap.cli.arguments import add_workers, require_at_least
from dcap.cli.run_data import load_config
from dcap.core.log import output_console, print_json
from dcap.core.progress import progress_bars

if TYPE_CHECKING:
    from dcap.audit.split_checks import CheckResult

_OVERRIDE = re.compile(r"[A-Za-z_][\w.\[\]]*=")

EPILOG = """\
examples:
  dcap audit configs/mine.yaml                        train and val as training would see them
  dcap audit configs/mine.yaml --encode all           tokenise every sample, not 256 of each split
  dcap audit configs/mine.yaml data.mode=mixed        with a field changed
  dcap audit train.jsonl more.jsonl                   records alone: no augmentation, any length
  dcap audit builtin:photos/train.jsonl --json        the result for programs

The table has a line for each check: records, preprocessors, shapes, images, plans and lengths of one epoch, answers
that read back to the same objects, token counts, images of val that are in train, duplicates, prompts, control tokens.
No weights are loaded.

A note is no failure: the config allows it (data.on_bad_record, data.overlong), or it is legal and worth a look.

exit codes: 0 all passed, 1 a check failed, 2 the audit could not run.
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``dcap audit`` to the command line."""
    parser = subparsers.add_parser(
        "audit",
        help="run every check over the data of a run",
        description="Check the train and val data of a run as training would see them; exit with 1 if a check fails.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "sources",
        nargs="+",
        metavar="CONFIG.yaml|FILE.jsonl|KEY=VALUE",
        help="a run's config, or files of records; KEY=VALUE changes a field",
    )
    parser.add_argument(
        "--encode",
        type=_count_or_all,
        default=256,
        metavar="N|all",
        help="number of samples of each split that are tokenised, drawn by chance (default: 256)",
    )
    parser.add_argument(
        "--epoch", type=int, default=0, metavar="N", help="epoch whose samples are planned, from 0 (default: 0)"
    )
    parser.add_argument("--no-decode", action="store_true", help="read only the headers of images")
    add_workers(parser)
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.set_defaults(run=run, overrides=[])


def run(args: argparse.Namespace) -> int:
    """Print the table of checks; the exit code is 1 when one failed.

    Raises:
        ConfigError: A number is below 0, or the config is wrong.
    """
    require_at_least(args, 0, "epoch", "workers")
    changes = [item for item in args.sources if _OVERRIDE.match(item)]
    sources = [item for item in args.sources if item not in changes]
    config = load_config(sources, [*changes, *args.overrides], "dcap audit")
    # The tokenizer comes with transformers, which takes seconds to import.
    from dcap.audit.auditing import AuditOptions, audit
    from dcap.data.encode import load_tokenizer

    tokenizer = load_tokenizer(config.model.name_or_path, config.model.revision)
    options = AuditOptions(encode=args.encode, decode=not args.no_decode, epoch=args.epoch, num_workers=args.workers)
    with progress_bars() as told:
        results = audit(
            config.data,
            tokenizer,
            options,
            told,
            augmentation=config.augmentation,
            seed=config.seed,
            eval_limit=config.limit_of("val"),
        )
    failed = any(result.failed for result in results)
    if args.json:
        tree = {"passed": not failed, "checks": [result.to_dict() for result in results]}
        print_json(tree)
    else:
        _print(results, output_console())
    return 1 if failed else 0


def _count_or_all(text: str) -> int | None:
    if text == "all":
        return None
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"must be all, or at least 0, not {value}")
    return value


def _print(results: Sequence[CheckResult], console: Console) -> None:
    table = Table("", "split", "check", "checked", "failed", "noted", "what must hold", box=None, pad_edge=False)
    for result in results:
        counts = (str(number) for number in (result.checked, result.failed, result.noted))
        table.add_row(*map(Text, (result.status, result.split, result.name, *counts, result.about)))
    console.print(table)
    for result in results:
        if result.examples:
            console.print()
            console.print(Text(f"{result.split} {result.name}: {result.status}"))
            for example in result.examples:
                console.print(Text(f"  {example}"))
    failed = [result for result in results if result.failed]
    console.print()
    console.print(Text(f"{len(failed)} of {len(results)} checks failed" if failed else "all checks passed"))
