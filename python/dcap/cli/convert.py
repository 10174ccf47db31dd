"""``dcap convert``: other annotation formats to records, records to COCO, smaller images, with all losses listed."""

from __future__ import annotations

import argparse
import dataclasses
import os
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from rich.table import Table
from rich.text import Text

from dcap.cli.arguments import add_max_image_pixels, add_sixteen_bit, require_image_bound
from dcap.convert.coco_writer import CocoOptions, to_coco
from dcap.convert.conversion import ConvertOptions, convert
from dcap.convert.conversion_report import ConversionReport, Loss
from dcap.convert.readers import READERS
from dcap.convert.resize import Resizer
from dcap.core.errors import ConfigError
from dcap.core.files import write_whole
from dcap.core.log import get_logger, output_console
from dcap.core.outputs import JSON_MARK, Output, check_outputs, marked, outputs_given
from dcap.core.schema import field_docs
from dcap.core.words import counted, printable, to_json
from dcap.records.files.opening import expand_sources, resolve_data

log = get_logger(__name__)

SOURCES = {
    "coco": "instances.json",
    "lvis": "lvis_v1_train.json",
    "labelme": "FOLDER",
    "voc": "FOLDER",
    "yolo": "data.yaml",
    "jsonl": "train.jsonl",
}
"""Input of each format, for the help."""

_PLACE = ("file", "image", "object")
_PLACES_SHOWN = 3
_ENDINGS_BELOW = {"labelme": ".json", "voc": ".xml", "yolo": ".txt"}
"""What a format reads of all files below a folder."""

EPILOG = """\
examples:
  dcap convert coco instances_train2017.json --images train2017 -o train.jsonl
  dcap convert coco instances_train2017.json --images train2017 --captions captions_train2017.json -o train.jsonl
  dcap convert lvis lvis_v1_train.json --images coco -o train.jsonl
  dcap convert labelme labels/ -o train.jsonl
  dcap convert voc VOCdevkit/VOC2012 --split ImageSets/Main/train.txt -o train.jsonl
  dcap convert yolo data.yaml --split val -o val.jsonl
  dcap convert yolo labels/train --classes classes.txt --images images/train -o train.jsonl
  dcap convert jsonl train.jsonl --max-pixels 1000000 -o small.jsonl     smaller images, shapes moved along
  dcap convert jsonl train.parquet -o train.jsonl     or shards/, train.tar, 'data/*.jsonl.gz'; images beside the output
  dcap convert to-coco val.jsonl -o val.json --categories instances_train2017.json

dcap convert FORMAT --help lists the options of a format. Image paths in the output are relative to its folder. Width,
height and shapes are those of the image as displayed, after its EXIF orientation is applied.

An image is the file that its path leads to below the folder of images, however it is written: absolute, with .. or with
backslashes. A path from another machine means the one file of its name there. Letter case, the form of Unicode letters
and a missing ending do not count. --follow-links lets links lead out of the folder, as in caches of model hubs or DVC.

Turned boxes become polygons of four corners. An outline that encloses nothing gives way to the box of its object. Ids
that two things share and keys that are given twice are errors, which name the place.

A conversion lists what it drops, changes or approximates, by reason, with the first places of each. --report writes
this list as JSON. With --strict nothing is written if anything is lost. A note is no loss.

exit codes: 0 fine, 1 broken input was left out (--on-bad skip), something was lost (--strict) or nothing is left to
write, 2 an error that the last line names.

next: dcap validate train.jsonl, dcap preview train.jsonl --out preview
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``dcap convert`` and its formats to the command line."""
    parser = subparsers.add_parser(
        "convert",
        help="make records of COCO, LVIS, Labelme, VOC or YOLO files, and COCO files of records",
        description="Convert annotations of other tools to JSONL records, or records to COCO, and list every loss.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    formats = parser.add_subparsers(title="formats", metavar="FORMAT", required=True)
    for name in READERS:
        _add_format(formats, name)
    _add_to_coco(formats)


def _add_format(formats: Any, name: str) -> None:
    maker: Any = READERS.get(name)
    shown = SOURCES.get(name, "SOURCE")
    about = (maker.__doc__ or name).strip().splitlines()[0]
    parser = formats.add_parser(
        name,
        help=about,
        description=about,
        epilog=f"example:\n  dcap convert {name} {shown} -o train.jsonl\n\nsee dcap convert --help for more.\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", metavar=shown, help="file or folder to read")
    parser.add_argument(
        "--images", type=Path, metavar="DIR", help="folder of the images; an image outside it is an error"
    )
    parser.add_argument(
        "--follow-links", action="store_true", help="let symbolic links lead out of the folder of images"
    )
    _add_common(parser, "FILE.jsonl")
    if dataclasses.is_dataclass(maker):
        _add_fields(parser, maker)
    parser.add_argument(
        "--frame",
        choices=("auto", "displayed", "stored"),
        default="auto",
        help="which frame the shapes of images with an EXIF orientation are in (default: auto, found out by width and "
        "height)",
    )
    parser.add_argument(
        "--swapped",
        choices=("drop", "order"),
        default="drop",
        help="box whose second corner is left of the first or above it: leave it out, or put its corners in order "
        "(default: drop)",
    )
    parser.add_argument(
        "--max-pixels",
        type=_positive,
        metavar="N",
        help="shrink larger images to N pixels, at the same aspect ratio, and scale their shapes. JPEG files are "
        "written with quality 95, others as PNG. A file that an earlier run made of the same image is kept",
    )
    parser.add_argument(
        "--resized", type=Path, metavar="DIR", help="folder of the smaller images (default: images-N beside the output)"
    )
    add_sixteen_bit(parser, "with --max-pixels")
    add_max_image_pixels(parser)
    parser.set_defaults(run=run, format=name)


def _add_common(parser: argparse.ArgumentParser, metavar: str) -> None:
    parser.add_argument(
        "-o", "--out", type=Path, required=True, metavar=metavar, help="file to write; it appears when it is complete"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an existing --out")
    parser.add_argument(
        "--on-bad",
        choices=("error", "skip"),
        default="error",
        help="broken input: stop, or leave out its image (default: error)",
    )
    parser.add_argument(
        "--report", type=Path, metavar="FILE.json", help="write the list of losses as JSON; an older one is replaced"
    )
    parser.add_argument("--strict", action="store_true", help="write nothing and exit with 1 if anything is lost")


def _add_fields(parser: argparse.ArgumentParser, maker: Any) -> None:
    """Add one option for each field of a reader, explained by the string under it."""
    hints, docs = get_type_hints(maker), field_docs(maker)
    for field in dataclasses.fields(maker):
        hint, name = hints[field.name], "--" + field.name.replace("_", "-")
        text = docs.get(field.name, "").replace("%", "%%")
        if hint is bool:
            parser.add_argument(name, action="store_true", help=text)
        elif get_origin(hint) is Literal:
            text = f"{text} (default: {field.default})"
            parser.add_argument(name, choices=get_args(hint), default=field.default, help=text)
        else:
            kind = next((t for t in (Path, int, float) if hint is t or t in get_args(hint)), str)
            shown = "FILE" if kind is Path else "N" if kind in (int, float) else "NAME"
            text += f" (default: {field.default})" if field.default not in (None, dataclasses.MISSING) else ""
            parser.add_argument(name, type=kind, metavar=shown, default=field.default, help=text)


def _add_to_coco(formats: Any) -> None:
    parser = formats.add_parser(
        "to-coco",
        help="From records to a COCO file.",
        description="Write records as a COCO instances file: texts as categories, lines in a list of their own.",
        epilog="example:\n  dcap convert to-coco train.jsonl -o coco.json\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "source",
        metavar="FILE.jsonl",
        help="records: .jsonl, .jsonl.gz, .parquet, .tar, a folder or pattern",
    )
    parser.add_argument("--images", type=Path, metavar="DIR", help="folder that file_name is relative to")
    parser.add_argument("--categories", type=Path, metavar="FILE.json", help="COCO file to take category ids from")
    _add_common(parser, "FILE.json")
    parser.set_defaults(run=run_to_coco)


def run(args: argparse.Namespace) -> int:
    """Convert to records and print what was lost; the exit code is 1 when that is a problem.

    Raises:
        ConfigError: An option needs another one, or the bound on pixels is none.
    """
    require_image_bound(args, "max_image_pixels")
    if args.resized and not args.max_pixels:
        raise ConfigError("--resized must come with --max-pixels, which says how small images become")
    maker: Any = READERS.get(args.format)
    fields = dataclasses.fields(maker) if dataclasses.is_dataclass(maker) else ()
    reader = maker(**{field.name: getattr(args, field.name) for field in fields})
    resizer = None
    if args.max_pixels:
        folder = args.resized or args.out.parent / f"images-{args.max_pixels}"
        resizer = Resizer(args.max_pixels, folder, args.overwrite, args.max_image_pixels, args.sixteen_bit)
    workers = min(8, os.cpu_count() or 1)
    options = ConvertOptions(
        images=args.images,
        follow_links=args.follow_links,
        frame=args.frame,
        swapped=args.swapped,
        max_image_pixels=args.max_image_pixels,
        resizer=resizer,
        workers=workers,
        strict=args.strict,
        overwrite=args.overwrite,
    )
    check_outputs(_outputs(args), _inputs(args))
    report = ConversionReport(args.on_bad)
    count = convert(reader, resolve_data(args.source), args.out, report, options)
    return _finish(args, report, count, "record")


def run_to_coco(args: argparse.Namespace) -> int:
    """Convert to COCO and print what was lost; the exit code is 1 when that is a problem."""
    check_outputs(_outputs(args), _inputs(args))
    report = ConversionReport(args.on_bad)
    options = CocoOptions(args.images, args.categories, strict=args.strict, overwrite=args.overwrite)
    count = to_coco(resolve_data(args.source), args.out, report, options)
    return _finish(args, report, count, "image")


def _outputs(args: argparse.Namespace) -> list[Output]:
    return outputs_given(("--out", args.out, args.overwrite), ("--report", args.report, JSON_MARK))


def _inputs(args: argparse.Namespace) -> list[Path]:
    """Return the files that are read, as far as an output may be one of them."""
    options = {name: value for name, value in vars(args).items() if name not in ("out", "report")}
    given = [Path(value) for value in options.values() if isinstance(value, str | Path)]
    name, source = options.get("format"), Path(args.source)
    if name in (None, "jsonl"):
        return [*given, *expand_sources([source])]
    # A list of a data set, such as --split of VOC, may be given relative to its folder.
    written = [path for path in (args.out, args.report) if path is not None]
    below = [path for path in written if _is_below(path, source, _ENDINGS_BELOW.get(str(name)))]
    return [*given, *(source / path for path in given), *below]


def _is_below(path: Path, folder: Path, ending: str | None) -> bool:
    return path.suffix.lower() == ending and folder.is_dir() and path.resolve().is_relative_to(folder.resolve())


def _finish(args: argparse.Namespace, report: ConversionReport, count: int | None, noun: str) -> int:
    _print(report)
    if report.found and not args.report:
        log.info("--report FILE.json lists more places of each of these")
    if args.report:
        write_whole(args.report, to_json(marked("convert", report.to_dict())) + "\n")
    if count is None:
        log.error("nothing was written: %d lost or changed, and --strict allows none", report.total)
        return 1
    if not count:
        log.error("nothing was written: no %s is left", noun)
        return 1
    log.info("%s in %s", counted(count, noun), args.out)
    return 1 if report.skipped else 0


def _print(report: ConversionReport) -> None:
    if not report.found:
        return
    table = Table("what", "why", "count", "first places", box=None, pad_edge=False)
    for loss in report.found:
        table.add_row(Text(loss.action), Text(printable(loss.reason)), str(loss.count), Text(printable(_places(loss))))
    output_console().print(table)


def _places(loss: Loss) -> str:
    """Return the first places of a loss, with what is special about the first; a file is named once."""
    first, *others = loss.examples
    where = ": ".join(first[key] for key in _PLACE if key in first)
    detail = f" ({first['detail']})" if "detail" in first else ""
    more = [
        ": ".join(each[key] for key in _PLACE[each.get("file") == first.get("file") :] if key in each)
        for each in others
    ]
    named = list(dict.fromkeys(place for place in more if place))[: _PLACES_SHOWN - 1]
    return "; ".join([where + detail, *named])


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, not {value}")
    return value
