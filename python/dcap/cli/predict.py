"""``dcap predict``: run a model on records and write what it sees."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from dcap.cli.arguments import (
    add_decoding,
    add_engine,
    add_max_image_pixels,
    add_model,
    add_pruning,
    add_shard,
    check_predictions,
    decoding_options,
    engine_options,
    finite_number,
    pruning_options,
    require_at_least,
    require_image_bound,
    shard_folder,
)
from dcap.core.errors import ConfigError, GeometryError
from dcap.core.log import get_logger
from dcap.core.outputs import PICTURE_MARK, Output, check_outputs, outputs_given
from dcap.core.shard import WholeShard
from dcap.core.words import counted
from dcap.geometry.tiling import Tiling
from dcap.records.files.opening import expand_sources

if TYPE_CHECKING:
    from dcap.infer.prediction_file import LeftOut
    from dcap.records.sixteen_bit import SixteenBit

log = get_logger(__name__)

EPILOG = """\
examples:
  dcap predict --model Qwen/Qwen3-VL-4B-Instruct --adapter runs/mine/final --data val.jsonl --out pred.jsonl
  dcap predict --model runs/full/final --data val.jsonl --out pred.jsonl --sheet pred.png     a model tuned in full
  dcap predict --engine openai:http://localhost:8000 --model Qwen/Qwen3-VL-4B-Instruct --adapter runs/mine/final \
      --data val.jsonl --out pred.jsonl --concurrency 32                     a server has the model; dcap guide serving
  dcap predict --model runs/full/final --data val.jsonl --out pred.jsonl --scores --drop-repeats     for AP
  dcap predict --model Qwen/Qwen3-VL-4B-Instruct --adapter runs/mine/final --data aerial.jsonl --out pred.jsonl \
      --tiles 1024 --overlap 0.2     other tiles of large images than those of the training; dcap guide large_images
  dcap predict --model BASE --adapter runs/mine/final --data val.jsonl --out pred.jsonl --shard 0/8
                                             the first of eight parts; dcap merge joins them; dcap guide many_machines
  dcap predict --model builtin:tiny --data builtin:photos/val.jsonl --out pred.jsonl --max-new-tokens 64

--adapter is runs/mine/final, a folder below runs/mine/checkpoints, or the folder of the adapter itself. The answer
profile beside the weights says how answers are written and how large images are: as in training.

To continue an interrupted prediction, start it again with the same options. Each line of the output holds the objects
in pixels of the image file, the answer of the model as it wrote it, and what was wrong with that.

next: dcap evaluate --truth val.jsonl --pred pred.jsonl
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``dcap predict`` to the command line."""
    parser = subparsers.add_parser(
        "predict",
        help="run a tuned model on records",
        description="Ask a model about every image of some records and write its objects, one line per image.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_model(parser)
    parser.add_argument(
        "--data", required=True, nargs="+", metavar="FILE", help="files of records; only their images are used"
    )
    parser.add_argument(
        "--out", required=True, type=Path, metavar="PRED.jsonl", help="file to write; an interrupted one is continued"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace --out instead of continuing it")
    add_shard(parser, "--out")
    parser.add_argument("--limit", type=int, metavar="N", help="predict only the first N records")
    parser.add_argument(
        "--mode", choices=("dense", "summary"), help="kind of answer (default: what the model was trained for)"
    )
    parser.add_argument(
        "--tiles",
        type=int,
        metavar="SIZE",
        help="cut each image into tiles of SIZE pixels, ask about each, and merge the answers; a tile as large as an "
        "image is the whole image (default: as in training)",
    )
    parser.add_argument(
        "--overlap",
        type=finite_number,
        metavar="SHARE",
        help="with --tiles: least share of its side that a tile has in common with the next, 0..0.9 (default: 0.2)",
    )
    parser.add_argument("--root", type=Path, metavar="DIR", help="stop at an image outside this folder")
    parser.add_argument(
        "--on-bad-record",
        choices=("error", "skip"),
        default="error",
        help="bad record or image: stop, or leave it out and list it (default: error)",
    )
    add_max_image_pixels(parser)
    parser.add_argument("--sheet", type=Path, metavar="FILE.png", help="draw truth and prediction of the first images")
    parser.add_argument(
        "--sheet-images", type=int, default=8, metavar="N", help="number of images on the sheet (default: 8)"
    )
    parser.add_argument(
        "--scores", action="store_true", help="write how sure the model was of each object, 0..1, beside it"
    )
    add_engine(parser)
    add_decoding(parser)
    add_pruning(parser)
    parser.set_defaults(run=run, merge=merge)


def run(args: argparse.Namespace) -> int:
    """Predict; the exit code is 1 when records were left out. That of a shard is 0 when it is whole.

    Raises:
        ConfigError: The bound on pixels is none, the sheet has no image, an output is an input or not to be replaced,
            or no such tiles exist.
    """
    require_image_bound(args, "max_image_pixels")
    require_at_least(args, 1, "sheet_images")
    # torch and transformers take seconds to import.
    from dcap.infer.run import PredictOptions, predict
    from dcap.model.cpu_threads import set_cpu_threads

    data = tuple(expand_sources(args.data))
    check_predictions("--out", args.out, data, args, *_sheets(args))
    options = PredictOptions(
        model=args.model,
        data=data,
        out=args.out,
        adapter=args.adapter,
        engine=engine_options(args, args.engine),
        decoding=replace(decoding_options(args), logprobs=args.scores),
        pruning=pruning_options(args),
        limit=args.limit,
        dataset=args.dataset,
        mode=args.mode,
        root=args.root,
        on_bad_record=args.on_bad_record,
        max_image_pixels=args.max_image_pixels,
        tiling=_tiling(args),
        overwrite=args.overwrite,
        shard=shard_folder(args),
    )
    set_cpu_threads(args.model, args.device)
    outcome = predict(options)
    total = counted(outcome.written + outcome.kept, "prediction")
    log.info("%s in %s, %d new", total, options.place, outcome.written)
    if outcome.objects:
        per_s = outcome.objects / max(outcome.seconds, 1e-9)
        log.info("%s, %.1f per second", counted(outcome.objects, "new object"), per_s)
    if outcome.dropped:
        log.info('%s dropped; "text" still has them', counted(outcome.dropped, "object"))
    if args.scores and outcome.unscored:
        log.warning("%s without a score: the engine does not tell their tokens", counted(outcome.unscored, "object"))
    if outcome.unclean:
        log.warning('%d of the new answers had a problem; see "problems" in their lines', outcome.unclean)
    if args.sheet and options.shard is None:  # dcap merge draws that of all shards
        _draw(args, data, outcome.sixteen_bit)
    code = _exit_code(outcome.left_out, options.place)
    return code if options.shard is None else 0


def merge(args: argparse.Namespace, shards: Sequence[WholeShard]) -> int:
    """Write the predictions of all shards as one run writes them, and return its exit code; see `run`.

    Raises:
        ConfigError: The file is there and not to be replaced.
        CheckpointError: A shard is damaged.
    """
    from dcap.infer.prediction_file import merge_predictions
    from dcap.infer.source import find_source

    data = expand_sources(args.data)
    check_outputs([Output("OUT", args.out, args.overwrite), *_sheets(args)], data)
    # A missing model is an error before anything is written.
    source = find_source(args.model, args.adapter, args.dataset, needs_weights=False) if args.sheet else None
    count, left_out = merge_predictions(args.out, shards)
    log.info("%s in %s", counted(count, "prediction"), args.out)
    if source is not None:
        _draw(args, data, source.profile.sixteen_bit)
    return _exit_code(left_out, args.out)


def _sheets(args: argparse.Namespace) -> list[Output]:
    return outputs_given(("--sheet", args.sheet, PICTURE_MARK))


def _draw(args: argparse.Namespace, data: Sequence[Path], sixteen_bit: SixteenBit) -> None:
    """Draw the first predictions beside the truth."""
    from dcap.infer.run import prediction_sheet
    from dcap.view.sheet import write_png

    sheet = prediction_sheet(args.out, data, args.sheet_images, args.root, sixteen_bit)
    if sheet is not None:
        write_png(args.sheet, sheet)
        log.info("truth and prediction are drawn in %s", args.sheet)


def _exit_code(left_out: Sequence[LeftOut], out: Path) -> int:
    from dcap.infer.prediction_file import left_out_path

    if left_out:
        log.warning("left out: %s; %s says why", counted(len(left_out), "record"), left_out_path(out))
    return 1 if left_out else 0


def _tiling(args: argparse.Namespace) -> Tiling | None:
    """Return how images are cut."""
    if args.tiles is None:
        if args.overlap is not None:
            raise ConfigError("--overlap must go with --tiles. Name the size of the tiles")
        return None
    try:
        return Tiling(args.tiles) if args.overlap is None else Tiling(args.tiles, args.overlap)
    except GeometryError as error:
        raise ConfigError(f"--tiles, --overlap: {error}") from None
