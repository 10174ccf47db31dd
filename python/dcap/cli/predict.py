"""``dcap predict``: run a model on records and write what it sees."""

from __future__ import annotations

import argparse
from pathlib import Path

from dcap.core.log import get_logger
from dcap.core.words import counted
from dcap.records.files.opening import expand_sources

log = get_logger(__name__)

EPILOG = """\
examples:
  dcap predict --model Qwen/Qwen3-VL-4B-Instruct --adapter runs/mine/final --data val.jsonl --out pred.jsonl
  dcap predict --model runs/full/final --data val.jsonl --out pred.jsonl --sheet pred.png     a model tuned in full
  dcap predict --model builtin:tiny --data builtin:photos/val.jsonl --out pred.jsonl --max-new-tokens 64

--adapter takes what dcap train wrote (runs/mine/final, or a folder below runs/mine/checkpoints) or the adapter's own
folder. The answer profile beside the weights says how answers are written and how large images are, so prediction
agrees with training.

an interrupted run is continued: start it again with the same options. Each line of the output holds the objects in
pixels of the image file, the answer as it was written, and what was wrong with it.

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
    parser.add_argument("--model", required=True, metavar="NAME", help="hub id, folder or builtin:tiny")
    parser.add_argument("--adapter", type=Path, metavar="DIR", help="adapter that dcap train wrote")
    parser.add_argument("--revision", metavar="REV", help="hub revision of the model")
    parser.add_argument("--data", required=True, nargs="+", metavar="FILE", help="records; only images are used")
    parser.add_argument("--out", required=True, type=Path, metavar="PRED.jsonl", help="written, or continued")
    parser.add_argument("--overwrite", action="store_true", help="start anew even when --out is there")
    parser.add_argument("--limit", type=int, metavar="N", help="the first records only")
    parser.add_argument("--dataset", metavar="NAME", help="ask as this data set of data.mixture was asked in training")
    parser.add_argument("--mode", choices=("dense", "summary"), help="default: what the model was trained to answer")
    parser.add_argument("--batch-size", type=int, default=4, metavar="N", help="images at a time (default: 4)")
    parser.add_argument("--max-new-tokens", type=int, default=4096, metavar="N", help="stop there (default: 4096)")
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), help="default: bfloat16 on CUDA")
    parser.add_argument("--device", metavar="NAME", help="cuda, cuda:1, cpu; default: cuda where there is one")
    parser.add_argument("--root", type=Path, metavar="DIR", help="image paths must stay inside this folder")
    parser.add_argument(
        "--on-bad-record",
        choices=("error", "skip"),
        default="error",
        help="stop, or leave out and list (default: error)",
    )
    parser.add_argument("--sheet", type=Path, metavar="FILE.png", help="draw truth and prediction of the first images")
    parser.add_argument("--sheet-images", type=int, default=8, metavar="N", help="how many (default: 8)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Predict; the exit code is 1 when records were left out."""
    # torch and transformers take seconds to import.
    from dcap.infer.prediction_file import left_out_path
    from dcap.infer.run import PredictOptions, predict, prediction_sheet
    from dcap.view.sheet import write_png

    options = PredictOptions(
        model=args.model,
        data=tuple(expand_sources(args.data)),
        out=args.out,
        adapter=args.adapter,
        revision=args.revision,
        batch_size=args.batch_size,
        max_new_tokens=args.max_new_tokens,
        limit=args.limit,
        dataset=args.dataset,
        mode=args.mode,
        dtype=args.dtype,
        device=args.device,
        root=args.root,
        on_bad_record=args.on_bad_record,
        overwrite=args.overwrite,
    )
    outcome = predict(options)
    total = counted(outcome.written + outcome.kept, "prediction")
    log.info("%s in %s, %d new", total, args.out, outcome.written)
    if outcome.unclean:
        log.warning('%d of the new answers had a problem; see "problems" in their lines', outcome.unclean)
    if args.sheet:
        sheet = prediction_sheet(args.out, options.data, args.sheet_images, args.root)
        if sheet is not None:
            write_png(args.sheet, sheet)
            log.info("truth and prediction are drawn in %s", args.sheet)
    if outcome.left_out:
        log.warning("left out: %s; %s says why", counted(len(outcome.left_out), "record"), left_out_path(args.out))
    return 1 if outcome.left_out else 0
