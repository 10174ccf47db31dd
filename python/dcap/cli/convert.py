"""``dcap convert``: other annotation formats to records, records to COCO, smaller images, with all losses listed."""

from __future__ import annotations

import argparse
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn, get_args

from rich.table import Table
from rich.text import Text

from dcap.cli.arguments import (
    add_max_image_pixels,
    add_shard,
    add_sixteen_bit,
    finite_number,
    inputs_of,
    require_image_bound,
    shard_folder,
)
from dcap.cli.reader_options import add_reader_options, make_reader, split_help, tell_splits
from dcap.convert.coco_writer import CocoOptions, to_coco
from dcap.convert.conversion import Conversion, ConvertOptions, convert, write_pieces
from dcap.convert.conversion_piece import Piece, last_item
from dcap.convert.conversion_report import ConversionReport, Loss
from dcap.convert.division import Division, GroupBy
from dcap.convert.label_map import LabelMap, Unmapped
from dcap.convert.reader import Reader
from dcap.convert.readers import READERS
from dcap.convert.resize import Resizer
from dcap.core.config import to_tree
from dcap.core.errors import ConfigError, DcapError, PluginError
from dcap.core.files import write_whole
from dcap.core.line_log import LineLog
from dcap.core.log import get_logger, output_console
from dcap.core.outputs import JSON_MARK, Output, check_outputs, marked, outputs_given
from dcap.core.shard import WholeShard, check_same, keep_pieces, pieces_of, shards_of
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
_NO_SETTINGS = {"run", "merge", "merged", "argv", "shard", "overwrite", "report"}
"""Attributes of the arguments that change no record."""
_ANNOTATIONS = {".json", ".xml", ".txt", ".yaml", ".yml", ".csv"}
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
  dcap convert coco instances.json --split 0.9,0.1 -o train.jsonl     train.jsonl and val.jsonl; look-alikes in one file
  dcap convert coco instances.json --sample 500 --map labels.yaml --min-area 64 -o try.jsonl
  dcap convert jsonl train.jsonl --max-pixels 1000000 -o small.jsonl     smaller images, shapes moved along
  dcap convert jsonl train.parquet -o train.jsonl     or shards/, train.tar, 'data/*.jsonl.gz'; images beside the output
  dcap convert coco instances.json -o train.jsonl --shard 0/8     the first of eight parts; dcap guide many_machines
  dcap convert to-coco val.jsonl -o val.json --categories instances_train2017.json

dcap convert FORMAT --help lists the options of a format. Image paths in the output are relative to its folder. Width,
height and shapes are those of the image as displayed, after its EXIF orientation is applied.

An image is the file that its path leads to below the folder of images, however it is written: absolute, with .. or with
backslashes. A path from another machine means the one file of its name there. Letter case, the form of Unicode letters
and a missing ending do not count. --follow-links lets links lead out of the folder, as in caches of model hubs or DVC.

Turned boxes become polygons of four corners. An outline that encloses nothing gives way to the box of its object. Ids
that two things share and keys that are given twice are errors, which name the place.

--sample N converts N images, --split divides records into files, each by hashes and --seed: the same images are chosen
whatever their order, and nearly the same when images are added. --split 0.8,0.1,0.1 gives train, val and test, named
after --out. YOLO and VOC have a --split of their own, which names images of the source; it may be given beside:
--split val --split 0.5,0.5.

A map of labels is YAML. It renames and merges labels, and drops those that it maps to null:
  car: vehicle
  truck: vehicle
  shadow: null

A conversion lists what it drops, changes or approximates, by reason, with the first places of each. --report writes
this list as JSON. With --strict nothing is written if anything is lost. A note is no loss. An object that --min-area or
--map drops is a loss: its image then says that nothing is there. A new name and an image left out by --sample are not.

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
        try:
            about = (READERS.get(name).__doc__ or name).strip().splitlines()[0]
            split = split_help(name)
        except DcapError as error:
            _add_broken(formats, name, error)
        else:
            _add_format(formats, name, about, split)
    _add_to_coco(formats)


def _refusing(error: DcapError) -> Callable[[argparse.Namespace], NoReturn]:
    """Return what a format does that cannot be used: it says why. The others work."""

    def refuse(_: argparse.Namespace) -> NoReturn:
        raise error

    return refuse


def _add_broken(formats: Any, name: str, error: DcapError) -> None:
    """Add the format of a package that cannot be loaded."""
    # No sign begins an option, so that whatever is given is taken.
    parser = formats.add_parser(name, help="cannot be used, and says why", prefix_chars="\0", add_help=False)
    parser.add_argument("given", nargs="*")
    parser.set_defaults(run=_refusing(error))


def _add_format(formats: Any, name: str, about: str, split: str) -> None:
    shown = SOURCES.get(name, "SOURCE")
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
    _add_selection(parser, split)
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
    add_shard(parser, "--out")
    parser.set_defaults(run=run, merge=merge, format=name)
    try:
        add_reader_options(parser, name)
    except PluginError as error:
        parser.set_defaults(run=_refusing(error))


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


def _add_selection(parser: argparse.ArgumentParser, split: str) -> None:
    """Add the options that choose images and objects, and files for them; `split` ends the help of ``--split``."""
    group = parser.add_argument_group("which images and objects, and into which files")
    group.add_argument("--sample", type=_positive, metavar="N", help="convert only N images, chosen by --seed")
    group.add_argument(
        "--min-area", type=finite_number, default=0.0, metavar="PX2",
        help="leave out boxes and polygons of less than PX2 square pixels, before --max-pixels; lines stay",
    )  # fmt: skip
    group.add_argument("--map", type=Path, metavar="FILE.yaml", help="new names of labels; null drops their objects")
    group.add_argument(
        "--unmapped", choices=get_args(Unmapped), default="error",
        help="objects whose label --map does not name: an error, keep them, or drop them (default: error)",
    )  # fmt: skip
    group.add_argument(
        "--split", action="append", metavar="SHARES", default=[],
        help=f"write two or three files, such as 0.9,0.1 for train and val.{split}",
    )  # fmt: skip
    group.add_argument(
        "--by", choices=get_args(GroupBy), default="hash",
        help="with --split, what keeps images in one file. hash: they have the same content or look alike. folder: "
        "they are in one folder. name: nothing; no image is opened (default: hash)",
    )  # fmt: skip
    group.add_argument("--seed", type=int, default=0, metavar="N", help="seed of --sample and --split (default: 0)")


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
    """Convert to records and print what was lost; the exit code is 1 when that is a problem. A shard is kept.

    Raises:
        ConfigError: An option needs another one, or the bound on pixels is none.
    """
    reader, options = _reader_and_options(args)
    folder = shard_folder(args)
    check_outputs(_outputs(args), _inputs(args))
    report, source = ConversionReport(args.on_bad), resolve_data(args.source)
    if folder is None:
        return _finish(args, report, convert(reader, source, args.out, report, options), "record")
    work = Conversion(reader, source, args.out, args.on_bad, options)

    def make(kept: LineLog) -> Iterator[Any]:
        return (piece.to_plain() for piece in work.pieces(args.shard, last_item(kept.last_line)))

    keep_pieces(folder, _made_with(args), folder.shard.of(work.total), work.total, make, args.overwrite)
    return 0


def merge(args: argparse.Namespace, shards: Sequence[WholeShard]) -> int:
    """Write the records of all shards as one run writes them, print what was lost, and return the exit code of `run`.

    Raises:
        ConfigError: The source has changed, or an output is not to be replaced.
        CheckpointError: A shard is damaged.
    """
    _, options = _reader_and_options(args)
    check_outputs(_outputs(args), _inputs(args))
    check_same(shards, _made_with(args))
    report = ConversionReport(args.on_bad)
    pieces = map(Piece.of_plain, pieces_of(shards))
    return _finish(args, report, write_pieces(pieces, args.out, report, options), "record")


def _made_with(args: argparse.Namespace) -> dict[str, Any]:
    """Return what records and report depend on."""
    given = {name.replace("_", "-"): value for name, value in vars(args).items() if name not in _NO_SETTINGS}
    files = sorted({path for path in _inputs(args) if path.is_file()})
    data = inputs_of(files)
    if Path(args.source).is_dir():
        names = "".join(f"{name}\0{digest}\n" for name, digest in inputs_of(sorted(_annotations(args))))
        data.append([str(args.source), hashlib.sha256(names.encode()).hexdigest()])
    return {"command": "convert", **to_tree(given), "data": data}


def _annotations(args: argparse.Namespace) -> Iterator[Path]:
    """Yield the files of a source that is a folder and that may hold annotations, without what the command writes."""
    written = {output.path.resolve() for output in _outputs(args)}
    shards = shards_of(Path(args.out)).resolve()
    for path in Path(args.source).rglob("*"):
        place = path.resolve()
        is_read = path.suffix.lower() in _ANNOTATIONS and path.is_file()
        if is_read and place not in written and not place.is_relative_to(shards):
            yield path


def _reader_and_options(args: argparse.Namespace) -> tuple[Reader, ConvertOptions]:
    """Return what reads the source, and the options that all formats share.

    Raises:
        ConfigError: An option needs another one, or the bound on pixels is none.
    """
    require_image_bound(args, "max_image_pixels")
    if args.resized and not args.max_pixels:
        raise ConfigError("--resized must come with --max-pixels, which says how small images become")
    shares, splits = tell_splits(args.split)
    args.division = Division(shares[0], args.by, args.seed) if shares else None
    if args.sample is None and args.division is None and args.seed:
        raise ConfigError("--seed must come with --sample or --split")
    if args.unmapped != "error" and args.map is None:
        raise ConfigError("--unmapped must come with --map")
    reader: Reader = make_reader(args, args.format, splits)
    resizer = None
    if args.max_pixels:
        folder = args.resized or args.out.parent / f"images-{args.max_pixels}"
        resizer = Resizer(args.max_pixels, folder, args.overwrite, args.max_image_pixels, args.sixteen_bit)
    options = ConvertOptions(
        images=args.images,
        follow_links=args.follow_links,
        frame=args.frame,
        swapped=args.swapped,
        max_image_pixels=args.max_image_pixels,
        resizer=resizer,
        workers=min(8, os.cpu_count() or 1),
        strict=args.strict,
        overwrite=args.overwrite,
        labels=LabelMap.read(args.map, args.unmapped) if args.map else None,
        min_area=args.min_area,
        sample=args.sample,
        seed=args.seed,
        division=args.division,
    )
    return reader, options


def run_to_coco(args: argparse.Namespace) -> int:
    """Convert to COCO and print what was lost; the exit code is 1 when that is a problem."""
    check_outputs(_outputs(args), _inputs(args))
    report = ConversionReport(args.on_bad)
    options = CocoOptions(args.images, args.categories, strict=args.strict, overwrite=args.overwrite)
    count = to_coco(resolve_data(args.source), args.out, report, options)
    return _finish(args, report, count, "image")


def _outputs(args: argparse.Namespace) -> list[Output]:
    division: Division | None = getattr(args, "division", None)
    files = (args.out,) if division is None else division.files(args.out)
    option = "--out" if division is None else "each file of --split"
    report = ("--report", args.report, JSON_MARK)
    # A shard replaces nothing; dcap merge does.
    replaces = args.overwrite or getattr(args, "shard", None) is not None
    return outputs_given(*((option, file, replaces) for file in files), report)


def _inputs(args: argparse.Namespace) -> list[Path]:
    """Return the files that are read, as far as an output may be one of them."""
    options = {name: value for name, value in vars(args).items() if name not in ("out", "report", "by", "unmapped")}
    values = [*options.values(), *(options.get("split") or ())]
    given = [Path(value) for value in values if isinstance(value, str | Path)]
    name, source = options.get("format"), Path(args.source)
    if name in (None, "jsonl"):
        return [*given, *expand_sources([source])]
    # A list of a data set, such as --split of VOC, may be given relative to its folder.
    written = [output.path for output in _outputs(args)]
    below = [path for path in written if _is_below(path, source, _ENDINGS_BELOW.get(str(name)))]
    return [*given, *(source / path for path in given), *below]


def _is_below(path: Path, folder: Path, ending: str | None) -> bool:
    return path.suffix.lower() == ending and folder.is_dir() and path.resolve().is_relative_to(folder.resolve())


def _finish(args: argparse.Namespace, report: ConversionReport, count: int | None, noun: str) -> int:
    print_losses(report)
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
    for file, number in (report.files or {str(args.out): count}).items():
        log.info("%s in %s", counted(number, noun), file)
    if getattr(args, "division", None) is not None:
        log.info("the shares of --split hold on average, as hashes place the images; of few images they may be far off")
    return 1 if report.skipped else 0


def print_losses(report: ConversionReport) -> None:
    """Print the table of what was lost, if anything was."""
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
