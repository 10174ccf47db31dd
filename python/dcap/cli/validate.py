"""``dcap validate``: list everything that is wrong with annotation files."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from dcap.audit.pieces import from_plain, to_plain
from dcap.audit.validation import OnRead, Tally, Validation
from dcap.audit.validation_report import ValidationReport, print_validation, validation_page
from dcap.cli.arguments import (
    add_report,
    add_workers,
    inputs_of,
    require_at_least,
    require_image_bound,
    shard_folder,
)
from dcap.core.errors import ConfigError
from dcap.core.files import write_whole
from dcap.core.line_log import LineLog
from dcap.core.log import output_console, print_json
from dcap.core.outputs import JSON_MARK, PAGE_MARK, check_outputs, marked, outputs_given
from dcap.core.progress import progress_bars
from dcap.core.shard import WholeShard, check_same, keep_pieces, pieces_of
from dcap.core.words import to_json
from dcap.geometry.canvas import MAX_PIXELS
from dcap.records.checking import ImageRules
from dcap.records.files.opening import expand_sources, resolve_data

EPILOG = """\
examples:
  dcap validate train.jsonl                     records and image headers
  dcap validate train.jsonl val.jsonl --decode  every pixel too: finds truncated files
  dcap validate train.jsonl --root /data        image paths must stay inside /data
  dcap validate train.jsonl --no-images         records only: needs no image, and is fastest
  dcap validate train.jsonl --json              the report for programs
  dcap validate 'data/*.jsonl.gz' shards        wildcards and folders; ranges too: 'train-{0000..0127}.tar'
  dcap validate train.jsonl --html report.html  sizes, lengths and captions as charts
  dcap validate train.jsonl --shard 0/8 --report report.json     the first of eight parts; dcap guide many_machines
  dcap validate builtin:photos/train.jsonl      the bundled photos

A record is one line of JSON:
  {"images": ["a.jpg"], "width": 640, "height": 480,
   "objects": [{"desc": "cup", "bbox_2d": [10, 20, 90, 120]}], "summary": "a cup on a table"}
Width, height and coordinates are pixels of the image as displayed, after its EXIF orientation is applied. A .parquet
file has the same keys as columns. A .tar shard holds the image KEY.jpg beside each record KEY.json.

Notes are about legal things that are worth a look: shapes partly outside their image, keys that look misspelt,
coordinates that look like fractions, 16-bit images that decode nearly black (with --decode), and duplicates (of
records, of image files by path or content, of objects in one record). A file without records is a problem.

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
    parser.add_argument(
        "files", nargs="+", metavar="FILE", help="records: .jsonl, .jsonl.gz, .jsonl.zst, .parquet or .tar"
    )
    parser.add_argument("--root", metavar="DIR", help="report images that are outside this folder")
    parser.add_argument("--decode", action="store_true", help="decode every image; without it only headers are read")
    parser.add_argument("--no-images", action="store_true", help="do not open image files")
    parser.add_argument(
        "--html",
        type=Path,
        metavar="FILE",
        help="write a page of charts, which needs no network; an older one is replaced",
    )
    add_report(parser)
    add_workers(parser)
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.add_argument(
        "--max-pixels",
        type=int,
        default=MAX_PIXELS,
        metavar="N",
        help="report images with more than N pixels, height times width (default: %(default)s)",
    )
    parser.set_defaults(run=run, merge=merge)


def run(args: argparse.Namespace) -> int:
    """Print the report; the exit code is 1 when there are problems. A shard is kept, and nothing is printed.

    Raises:
        ConfigError: ``--decode`` is given with ``--no-images``, a number is too small, there is no such file,
            ``--html`` or ``--report`` names one that is not to be replaced, or ``--shard`` goes without ``--report``.
    """
    folder = shard_folder(args)
    files = _checked_files(args)
    with progress_bars() as told:
        work = _open(args, files, told)
        if folder is None:
            report = work.report(work.tallies(work.ranges))
        else:
            ranges = work.ranges
            span = folder.shard.of(len(ranges))

            def make(kept: LineLog) -> Iterator[Any]:
                return map(to_plain, work.tallies([ranges[k] for k in span[kept.kept :]]))

            keep_pieces(folder, _made_with(args, files), span, len(ranges), make, args.overwrite)
            return 0
    return _finish(args, report)


def merge(args: argparse.Namespace, shards: Sequence[WholeShard]) -> int:
    """Print the report that shards make together, and write what a whole run writes; see `run`.

    Raises:
        ConfigError: The files are not those of the shards, or an output is not to be replaced.
        CheckpointError: A shard is damaged.
    """
    files = _checked_files(args)
    check_same(shards, _made_with(args, files))
    work = _open(args, files, lambda *_: None)
    return _finish(args, work.report(from_plain(piece, Tally) for piece in pieces_of(shards)))


def _checked_files(args: argparse.Namespace) -> list[Path]:
    """Return the files of records, once all options are checked."""
    require_at_least(args, 0, "workers")
    require_image_bound(args, "max_pixels")
    if args.decode and args.no_images:
        raise ConfigError("--decode must not be given with --no-images")
    files = expand_sources(args.files)
    check_outputs(outputs_given(("--html", args.html, PAGE_MARK), ("--report", args.report, JSON_MARK)), files)
    return files


def _open(args: argparse.Namespace, files: Sequence[Path], told: OnRead) -> Validation:
    images = None if args.no_images else ImageRules(args.root, args.max_pixels, args.decode)
    return Validation.open(files, images, args.workers, told)


def _made_with(args: argparse.Namespace, files: Sequence[Path]) -> dict[str, Any]:
    """Return what a report depends on."""
    return {
        "command": "validate", "data": inputs_of(files), "root": args.root, "decode": args.decode,
        "no-images": args.no_images, "max-pixels": args.max_pixels,
    }  # fmt: skip


def _finish(args: argparse.Namespace, report: ValidationReport) -> int:
    if args.html:
        names = ", ".join(Path(name).name for name in args.files)
        write_whole(args.html, validation_page(report, f"dcap validate: {names}"))
    if args.report:
        write_whole(args.report, to_json(marked("validate", report.to_dict())) + "\n")
    if args.json:
        print_json(report.to_dict())
    else:
        given = {str(resolve_data(name)): name for name in args.files}
        print_validation(report, {file: given.get(file, file) for file in report.files}, output_console())
    return 1 if report.problems else 0
