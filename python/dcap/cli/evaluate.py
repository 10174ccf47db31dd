"""``dcap evaluate``: score predictions against the truth."""

from __future__ import annotations

import argparse
from pathlib import Path

from dcap.cli.arguments import add_sixteen_bit, require_at_least
from dcap.core.errors import ConfigError
from dcap.core.log import get_logger, output_console

log = get_logger(__name__)

EPILOG = """\
examples:
  dcap evaluate --truth val.jsonl --pred pred.jsonl
  dcap evaluate --truth val.jsonl --pred pred.jsonl --json scores.json --sheet worst.png
  dcap evaluate --truth roads.jsonl --pred pred.jsonl --line-tolerance 5

What is measured:
  boxes and polygons  precision, recall and F1 at an IoU of 0.50, of 0.75, and as the mean over 0.50:0.05:0.95. IoU is
                      exact, also of a box and a polygon. Truth and prediction are matched one to one so that the sum
                      of IoU is largest; captions do not matter
  with equal caption  the same, but captions must be equal too (but for case, white space and Unicode form)
  lines               precision: share of the predicted length that is near a true line. Recall: share of the true
                      length that is near a predicted line. Matched lines: one to one, where the F1 of both is 0.5 or
                      more
  captions            of the matched pairs: share of equal captions, mean F1 of their words
  answers             share that parses without a problem. An image without an answer counts as an empty one
  repeats             predictions with the caption of another one and an IoU above 0.9 with it
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``dcap evaluate`` to the command line."""
    parser = subparsers.add_parser(
        "evaluate",
        help="score predictions: precision, recall, F1, captions",
        description="Score what dcap predict wrote against the true records.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--truth", required=True, nargs="+", metavar="FILE", help="files of true records")
    parser.add_argument("--pred", required=True, metavar="PRED.jsonl", help="file that dcap predict wrote")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all scores as JSON, with one row per image")
    parser.add_argument(
        "--sheet", type=Path, metavar="FILE.png", help="draw truth and prediction of the worst and best images"
    )
    parser.add_argument("--root", type=Path, metavar="DIR", help="with --sheet: stop at an image outside this folder")
    add_sixteen_bit(parser, "with --sheet")
    parser.add_argument(
        "--worst", type=int, default=5, metavar="N", help="number of worst images to list and draw (default: 5)"
    )
    parser.add_argument("--best", type=int, default=2, metavar="N", help="number of best images to draw (default: 2)")
    parser.add_argument(
        "--line-tolerance",
        type=float,
        default=10.0,
        metavar="PX",
        help="largest distance of lines that agree, in pixels of the image file (default: 10)",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the scores, and return the exit code.

    Raises:
        ConfigError: A number is below 0, or there is no true record.
    """
    # scipy and the geometry kernels take a moment; --help should not wait for them.
    from dcap.evaluate.evaluation import answer_table, evaluate, score_sheet, score_table, worst_table, write_json
    from dcap.evaluate.metrics import ScoreOptions
    from dcap.view.sheet import write_png

    require_at_least(args, 0, "worst", "best")
    evaluation = evaluate(args.truth, args.pred, ScoreOptions(line_tolerance_px=args.line_tolerance))
    if not evaluation.images:
        raise ConfigError("--truth must hold at least one record, not none")
    console = output_console()
    console.print(score_table(evaluation))
    console.print(answer_table(evaluation))
    if args.worst:
        console.print(worst_table(evaluation, args.worst))
    if args.json:
        write_json(evaluation, args.json)
        log.info("scores are in %s", args.json)
    if args.sheet and args.worst + args.best:
        write_png(args.sheet, score_sheet(evaluation, args.worst, args.best, args.root, args.sixteen_bit))
        log.info("the worst and best images are drawn in %s", args.sheet)
    return 0
