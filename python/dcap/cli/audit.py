"""``dcap audit``: every check of the contract over the data of a run; and what a trained model finds suspicious."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from dcap.audit.pieces import from_plain, to_plain
from dcap.cli.arguments import add_report, add_workers, inputs_of, require_at_least, shard_folder
from dcap.cli.run_data import RecordsConfig, load_config, sample_settings
from dcap.core.errors import ConfigError
from dcap.core.files import require_file, write_whole
from dcap.core.line_log import LineLog
from dcap.core.log import get_logger, output_console, print_json
from dcap.core.outputs import (
    JSON_MARK,
    PAGE_MARK,
    PICTURE_MARK,
    Output,
    check_folder,
    check_outputs,
    marked,
    outputs_given,
)
from dcap.core.progress import progress, progress_bars
from dcap.core.shard import WholeShard, check_same, keep_pieces, pieces_of
from dcap.core.words import counted, to_json
from dcap.records.files.opening import expand_sources
from dcap.train.config import RunConfig, load_run_config

if TYPE_CHECKING:
    from dcap.audit.auditing import Audit
    from dcap.audit.split_checks import CheckResult
    from dcap.audit.suspects import Suspects
    from dcap.data.config import Split
    from dcap.data.dataset import DenseCaptionDataset

log = get_logger(__name__)

AuditedConfig = RunConfig | RecordsConfig
SHEET, PAGE = "sheet.png", "index.html"
SIDE = 400
"""Longer side of a picture on the sheet, in pixels."""
_COUNTED = {"words": "without augmentation.words, this epoch would have made false"}
"""What the counts of a check are."""
_MOST_COUNTS = 40
_OVERRIDE = re.compile(r"[A-Za-z_][\w.\[\]]*=")

EPILOG = """\
examples:
  dcap audit configs/mine.yaml                        train and val as training would see them
  dcap audit configs/mine.yaml --encode all           tokenise every sample, not 256 of each split
  dcap audit configs/mine.yaml data.mode=mixed        with a field changed
  dcap audit train.jsonl more.jsonl                   records alone: no augmentation, any length
  dcap audit builtin:photos/train.jsonl --json        the result for programs
  dcap audit configs/mine.yaml --shard 0/8 --report audit.json     the first of eight parts; dcap guide many_machines
  dcap audit --losses runs/mine --out suspects        after training: labels that the model finds unlikely
  dcap audit --losses runs/mine --split val           the same of the validation records

The table has a line for each check: records, preprocessors, shapes, images, plans and lengths of one epoch, words that
augmentation would make false, answers that read back to the same objects, token counts, images of val that are in
train or look like one of it, duplicates, prompts, control tokens.
No weights are loaded.

--losses reads what a run kept (training.sample_losses) and lists the samples and objects with the highest loss, by kind
of token, with file and line: wrong captions and shapes are among them. --out writes sheet.png and index.html. Mend
records in their lines; the numbers of lines are those of the run.

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
        nargs="*",
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
    add_report(parser)
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    _add_losses(parser)
    parser.set_defaults(run=run, merge=merge, overrides=[])


def _add_losses(parser: argparse.ArgumentParser) -> None:
    """Add ``--losses`` and what goes with it."""
    group = parser.add_argument_group("labels that a trained model finds unlikely")
    group.add_argument("--losses", type=Path, metavar="RUN", help="folder of a run; its config is used")
    group.add_argument("--split", choices=("train", "val"), help="which data (default: train)")
    group.add_argument("--worst", type=int, metavar="N", help="number of samples and of objects (default: 20)")
    group.add_argument(
        "--out", type=Path, metavar="DIR", help="folder to write sheet.png and index.html into; older ones of dcap are "
        "replaced",
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Print the table of checks; the exit code is 1 when one failed.

    Raises:
        ConfigError: A number is below 0, or the config is wrong.
    """
    require_at_least(args, 0, "epoch", "workers")
    sources, changes = _sources_and_changes(args)
    if args.losses is not None:
        for name in ("report", "shard"):
            if getattr(args, name) is not None:
                raise ConfigError(f"--{name} must go without --losses")
        return _suspects(args, sources, changes)
    for name in ("split", "worst", "out"):
        if getattr(args, name) is not None:
            raise ConfigError(f"--{name} must go with --losses")
    config, folder = _checked_config(args, sources, changes), shard_folder(args)
    with progress_bars() as told:
        work = _open(args, config)
        if folder is None:
            results = work.results(work.pieces(work.runs, told))
        else:
            runs = work.runs
            span = folder.shard.of(len(runs))

            def make(kept: LineLog) -> Iterator[Any]:
                return map(to_plain, work.pieces(runs[span.start + kept.kept : span.stop], told, keeps_looks=True))

            keep_pieces(folder, _made_with(args, config), span, len(runs), make, args.overwrite)
            return 0
    return _finish(args, results)


def merge(args: argparse.Namespace, shards: Sequence[WholeShard]) -> int:
    """Print the table that shards make together, and return the exit code of `run`.

    Raises:
        ConfigError: The config or the files are not those of the shards, or the report is not to be replaced.
        CheckpointError: A shard is damaged.
    """
    config = _checked_config(args, *_sources_and_changes(args))
    check_same(shards, _made_with(args, config))
    from dcap.audit.auditing import AuditPiece

    return _finish(args, _open(args, config).results(from_plain(piece, AuditPiece) for piece in pieces_of(shards)))


def _sources_and_changes(args: argparse.Namespace) -> tuple[list[str], list[str]]:
    """Return files, and ``KEY=VALUE`` among them."""
    changes = [item for item in args.sources if _OVERRIDE.match(item)]
    return [item for item in args.sources if item not in changes], changes


def _checked_config(args: argparse.Namespace, sources: Sequence[str], changes: Sequence[str]) -> AuditedConfig:
    config = load_config(sources, [*changes, *args.overrides], "dcap audit")
    check_outputs(outputs_given(("--report", args.report, JSON_MARK)), _records_of(config))
    texts = [entry.name for entry in config.data.mixture if entry.text]
    if texts and len(texts) == len(config.data.mixture):
        raise ConfigError(
            "data.mixture must hold a data set with images, which dcap audit checks, and all of them hold conversations"
        )
    if texts:
        log.info("not audited, as they are conversations: %s", ", ".join(texts))
    return config


def _records_of(config: AuditedConfig) -> list[Path]:
    """Return the files of records that are read."""
    data = config.data
    names = [name for split in ("train", "val") for entry in data.entries(split) for name in entry.files(split)]
    return [path for name in names for path in expand_sources([name])]


def _open(args: argparse.Namespace, config: AuditedConfig) -> Audit:
    # The tokenizer comes with transformers, which takes seconds to import.
    from dcap.audit.auditing import Audit, AuditOptions
    from dcap.data.encode import load_tokenizer

    tokenizer = load_tokenizer(config.model.name_or_path, config.model.revision)
    options = AuditOptions(encode=args.encode, decode=not args.no_decode, epoch=args.epoch, num_workers=args.workers)
    return Audit.open(
        config.data,
        tokenizer,
        options,
        augmentation=config.augmentation,
        seed=config.seed,
        eval_limit=config.limit_of("val"),
    )


def _made_with(args: argparse.Namespace, config: AuditedConfig) -> dict[str, Any]:
    """Return what the result depends on."""
    return {
        "command": "audit", "encode": args.encode, "epoch": args.epoch, "no-decode": args.no_decode,
        "config": sample_settings(config), "inputs": inputs_of(_records_of(config)),
    }  # fmt: skip


def _finish(args: argparse.Namespace, results: Sequence[CheckResult]) -> int:
    failed = any(result.failed for result in results)
    tree = {"passed": not failed, "checks": [result.to_dict() for result in results]}
    if args.report:
        write_whole(args.report, to_json(marked("audit", tree)) + "\n")
    if args.json:
        print_json(tree)
    else:
        _print(results, output_console())
    return 1 if failed else 0


def _suspects(args: argparse.Namespace, sources: Sequence[str], changes: Sequence[str]) -> int:
    """Show the samples and objects with the highest loss."""
    if sources:
        raise ConfigError(f"--losses must be given alone, as the config is that of the run, not with {sources[0]}")
    split: Split = args.split or "train"
    worst = 20 if args.worst is None else args.worst
    if worst < 1:
        raise ConfigError(f"--worst must be at least 1, not {worst}")
    files = _loss_files(args.losses, split)
    config = load_run_config(args.losses / "config.yaml", changes)
    if args.out is not None:
        check_folder("--out", args.out)
        outputs = [Output("--out", args.out / SHEET, PICTURE_MARK), Output("--out", args.out / PAGE, PAGE_MARK)]
        check_outputs(outputs, [path for _, path in files])
    from dcap.audit.suspects import find_suspects
    from dcap.data.dataset import DenseCaptionDataset
    from dcap.view.tables import print_grid

    dataset = DenseCaptionDataset(
        config.data, split, None, augmentation=config.augmentation, seed=config.seed, limit=config.limit_of(split)
    )
    suspects = find_suspects(dataset, files, worst, str(args.losses / "config.yaml"))
    if args.json:
        print_json({"run": str(args.losses), "split": split, **suspects.to_dict()})
    else:
        for grid in suspects.grids():
            print_grid(grid, output_console())
    if args.out is not None:
        _write_suspects(args.out, dataset, suspects, f"dcap audit --losses {args.losses}")
    return 0


def _loss_files(run: Path, split: Split) -> list[tuple[int, Path]]:
    """Return epoch and file of the losses of a run, oldest first.

    Raises:
        ConfigError: It is no run, or kept no losses.
    """
    from dcap.data.sample_losses import epoch_files, validation_file

    require_file(run / "config.yaml", "config of the run", ConfigError, "Name the folder of a run.")
    if split == "train":
        found = list(epoch_files(run).items())
    else:
        found = [(0, validation_file(run))] if validation_file(run).is_file() else []
    if not any(path.stat().st_size for _, path in found):
        raise ConfigError(
            f"--losses must name a run that kept the losses of its samples, and {run} has none of {split}. Train with "
            "training.sample_losses=true, until a checkpoint is saved or an epoch ends"
        )
    return found


def _write_suspects(folder: Path, dataset: DenseCaptionDataset, suspects: Suspects, title: str) -> None:
    from dcap.audit.suspects import suspect_entry, suspect_tile
    from dcap.view.page import samples_page
    from dcap.view.sheet import contact_sheet, write_png

    shown, sources = suspects.pictures(), suspects.sources
    tiles = [suspect_tile(dataset, each, sources, SIDE) for each in shown]
    sheet = contact_sheet(tiles, 4, SIDE, heading=sources.legend)
    write_png(folder / SHEET, sheet)
    entries = [suspect_entry(dataset, each, sources, suspects.replay) for each in progress(shown, "Page")]
    write_whole(folder / PAGE, samples_page(title, ". ".join(suspects.notes()), entries))
    log.info("%s and %s beside it: %s", folder / SHEET, PAGE, counted(len(shown), "record"))


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
    for result in results:
        if result.counts:
            console.print()
            console.print(Text(f"{result.split} {result.name}: {_COUNTED[result.name]}"))
            listed = ", ".join(f"{name} {number}" for name, number in list(result.counts.items())[:_MOST_COUNTS])
            console.print(Text(f"  {listed}"), soft_wrap=True)
    failed = [result for result in results if result.failed]
    console.print()
    console.print(Text(f"{len(failed)} of {len(results)} checks failed" if failed else "all checks passed"))
