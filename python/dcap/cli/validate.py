"""``dcap validate``: everything that is wrong with annotation files, before a run finds out."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from dcap.core.log import console as log_console
from dcap.core.log import output_console
from dcap.core.words import counted
from dcap.data.builtin import resolve_data
from dcap.data.formats.paths import expand_sources
from dcap.data.validate import Finding, Report, validate
from dcap.geometry.canvas import MAX_PIXELS

EPILOG = """\
examples:
  dcap validate train.jsonl                     records and image headers
  dcap validate train.jsonl val.jsonl --decode  every pixel too: finds truncated files
  dcap validate train.jsonl --root /data        image paths must stay inside /data
  dcap validate train.jsonl --json              the report for programs
  dcap validate 'data/*.jsonl.gz' shards        wildcards and folders; ranges too: 'train-{0000..0127}.tar'
  dcap validate builtin:photos/train.jsonl      the bundled photos

a record is one line of JSON:
  {"images": ["a.jpg"], "width": 640, "height": 480,
   "objects": [{"desc": "cup", "bbox_2d": [10, 20, 90, 120]}], "summary": "a cup on a table"}
width, height and all coordinates are pixels of the image as displayed, its EXIF orientation applied. A row of a
.parquet file has the same keys as columns, a sample of a .tar shard is key.json with its image key.jpg.

shapes partly outside their image and keys that look misspelt are legal and listed as notes; a file without records
is a problem.

exit codes: 0 no problems, 1 problems were listed, 2 a file could not be read at all.
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``dcap validate`` to the command line."""
    parser = subparsers.add_parser(
        "validate",
        help="list every problem of annotation files and their images",
        description="Check every record and image of annotation files and list all problems, not only the first.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("files", nargs="+", metavar="FILE", help=".jsonl, .jsonl.gz, .jsonl.zst, .parquet, .tar")
    parser.add_argument("--root", metavar="DIR", help="image paths must stay inside this folder")
    parser.add_argument("--decode", action="store_true", help="decode all pixels; without it headers are read")
    parser.add_argument("--json", action="store_true", help="print the report as one JSON object")
    parser.add_argument(
        "--max-pixels",
        type=_positive,
        default=MAX_PIXELS,
        metavar="N",
        help="largest image, height x width (default: %(default)s)",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the report; the exit code is 1 when there are problems."""
    files = expand_sources(args.files)
    with _progress() as progress:
        task = progress.add_task("validate", total=None)
        report = validate(
            files,
            args.root,
            args.max_pixels,
            args.decode,
            lambda done, total: progress.update(task, completed=done, total=total),
        )
    if args.json:
        print(json.dumps(report.to_dict(), indent=2, ensure_ascii=False))
    else:
        given = {str(resolve_data(name)): name for name in args.files}
        _print(report, {file: given.get(file, file) for file in report.files}, output_console())
    return 1 if report.problems else 0


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, not {value}")
    return value


@contextmanager
def _progress() -> Iterator[Progress]:
    """A bar on stderr that disappears at the end; nothing where stderr is no terminal."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=log_console, transient=True, disable=not log_console.is_terminal) as progress:
        yield progress


def _print(report: Report, names: Mapping[str, str], console: Console) -> None:
    """Print the report; `names` are the files as they were given."""
    for title, findings in (("problem", report.problems), ("note, no problem", report.notes)):
        if findings:
            console.print(_table(title, findings, names))
            console.print()
    for line in _summary(report):
        console.print(Text(line))


def _table(title: str, findings: Sequence[Finding], names: Mapping[str, str]) -> Table:
    table = Table("where", "field", title, box=None, pad_edge=False)
    for found in findings:
        # One file needs no folder to be known; of several, two may have the same name.
        name = names[found.file] if len(names) > 1 else Path(found.file).name
        table.add_row(Text(f"{name}:{found.line}"), Text(found.field), Text(found.text))
    return table


def _summary(report: Report) -> list[str]:
    kinds = ", ".join(f"{count} {key}" for key, count in report.objects.items())
    lines = [
        f"records   {report.records} good, {report.bad} bad; "
        f"{report.negatives} of the good without objects, {report.summaries} with a summary",
        f"objects   {sum(report.objects.values())}: {kinds}",
    ]
    if report.clipped:
        whose = "its image" if report.clipped == 1 else "their images"
        lines.append(
            f"clipped   {counted(report.clipped, 'shape')} partly outside {whose}; only the inner part is used"
        )
    if report.images_missing:
        lines.append(f"images    {report.images_missing} missing")
    lines.append(f"problems  {len(report.problems)}" if report.problems else "no problems")
    return lines
