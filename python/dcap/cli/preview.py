"""``dcap preview``: look at samples before and after augmentation, and at the supervised text."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from dcap.cli.arguments import add_overrides, require_at_least
from dcap.cli.run_data import add_step, load_config, open_dataset, training_step
from dcap.core.errors import ConfigError
from dcap.core.files import write_whole
from dcap.core.log import get_logger
from dcap.core.outputs import PAGE_MARK, PICTURE_MARK, Output, check_folder, check_outputs
from dcap.core.progress import progress
from dcap.core.words import counted
from dcap.train.config import RunConfig

if TYPE_CHECKING:
    from dcap.audit.preview import Preview

log = get_logger(__name__)

SHEET, PAGE = "sheet.png", "index.html"
NOTE_LINES = 14
"""Lines below a picture of the sheet."""

EPILOG = """\
examples:
  dcap preview configs/demo.yaml --out preview                    what training will see
  dcap preview configs/mine.yaml --out preview --draws 3          three epochs of each sample
  dcap preview configs/mine.yaml --out preview --split val        validation: never augmented
  dcap preview configs/mine.yaml --out preview --step 500         with a curriculum: as after 500 steps
  dcap preview train.jsonl --out preview                          annotations as they are, no config
  dcap preview train.jsonl augmentation.ops='[{name: rotate, params: {max_deg: 20}}]' --out preview

Writes sheet.png and index.html. The sheet has one row per sample. The page lists the objects of each sample, those
that augmentation dropped with the reason, what augmentation did, and the whole supervised text. It needs no network.
Shapes are drawn as the text says them: simplified as data.answer says, and rounded to its grid. Objects keep their
numbers of the record.
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``dcap preview`` to the command line."""
    parser = subparsers.add_parser(
        "preview",
        help="draw samples before and after augmentation",
        description="Draw samples as annotated and as training sees them, with the supervised text.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", metavar="CONFIG.yaml|RECORDS", help="a run's config, or a file of records")
    add_overrides(parser)
    parser.add_argument(
        "--out",
        required=True,
        type=Path,
        metavar="DIR",
        help="folder to write sheet.png and index.html into; older ones of dcap are replaced",
    )
    parser.add_argument(
        "--num-samples",
        type=int,
        default=8,
        metavar="N",
        help="number of records, spread evenly over the data (default: 8)",
    )
    parser.add_argument(
        "--draws",
        type=int,
        default=1,
        metavar="M",
        help="show each record as the first M epochs augment it (default: 1)",
    )
    parser.add_argument("--split", choices=("train", "val"), default="train", help="which data (default: train)")
    add_step(parser, "0, the start")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write the sheet and the page, and return the exit code.

    Raises:
        ConfigError: A number is below 1, there is no record, the run's config is wrong, or ``--out`` holds other files
            of the same names.
    """
    require_at_least(args, 1, "num_samples", "draws")
    check_folder("--out", args.out)
    check_outputs(
        [Output("--out", args.out / SHEET, PICTURE_MARK), Output("--out", args.out / PAGE, PAGE_MARK)],
        [Path(args.source)],
    )
    config = load_config([args.source], args.overrides, "dcap preview", for_val=True)
    # The tokenizer comes with transformers, which takes seconds to import.
    from dcap.audit.preview import choose, load_preview

    # The lengths of a run decide which samples it trains on. Records alone can be shown without lengths.
    dataset = open_dataset(config, args.split, needs_tokens=isinstance(config, RunConfig))
    # Conversations have nothing to draw.
    drawn = [k for part in dataset.mixture.parts if not part.entry.text for k in range(part.start, part.stop)]
    if not drawn:
        raise ConfigError(f"{args.source} must hold at least one record with an image, not none")
    indices = [drawn[k] for k in choose(len(drawn), args.num_samples)]
    when = training_step(config, dataset, args.step)
    previews = [load_preview(dataset, index, args.draws, when) for index in progress(indices, "Preview")]
    records = counted(len(dataset), "record" if dataset.records.tiling is None else "tile")
    epochs = counted(args.draws, "epoch")
    at = "" if when is None else f", as after {counted(when.step, 'step')}"
    intro = f"{len(previews)} of {records} of {args.split}, {epochs} of each{at}"
    _write(args.out, previews, f"dcap preview: {Path(args.source).name}", intro)
    return 0


def _write(folder: Path, previews: list[Preview], title: str, intro: str) -> None:
    from dcap.audit.preview import entry, tiles
    from dcap.records.source_names import SourceNames
    from dcap.view.page import samples_page
    from dcap.view.sheet import contact_sheet, write_png

    side = 520
    sources = SourceNames.of(preview.record for preview in previews)
    pictures = [tile for preview in previews for tile in tiles(preview, side, sources)]
    columns, rest = 1 + len(previews[0].draws), "whole text in index.html"
    write_png(folder / SHEET, contact_sheet(pictures, columns, side, NOTE_LINES, rest, sources.legend))
    entries = [entry(preview, sources) for preview in previews]
    write_whole(folder / PAGE, samples_page(title, f"{intro}; {sources.legend}", entries))
    log.info("%s and %s beside it: %s", folder / SHEET, PAGE, intro)
