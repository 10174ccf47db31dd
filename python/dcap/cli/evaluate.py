"""``dcap evaluate``: score predictions against the truth."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dcap.cli.arguments import (
    add_engine,
    add_max_new_tokens,
    add_model,
    add_pruning,
    add_sixteen_bit,
    check_predictions,
    engine_options,
    finite_number,
    pruning_options,
    require_at_least,
)
from dcap.core.errors import ConfigError
from dcap.core.files import write_whole
from dcap.core.log import get_logger, output_console
from dcap.core.outputs import JSON_MARK, PAGE_MARK, PICTURE_MARK, Output, check_outputs, marked, outputs_given
from dcap.records.files.opening import expand_sources

if TYPE_CHECKING:
    from dcap.evaluate.metrics import ScoreOptions
    from dcap.evaluate.repeats import Pruning
    from dcap.view.charts import Curves
    from dcap.view.tables import Grid

log = get_logger(__name__)

EPILOG = """\
examples:
  dcap evaluate --truth val.jsonl --pred pred.jsonl
  dcap evaluate --truth val.jsonl --pred pred.jsonl --model Qwen/Qwen3-VL-4B-Instruct --adapter runs/mine/final
  dcap evaluate --truth val.jsonl --pred pred.jsonl --json scores.json --html scores.html --sheet worst.png
  dcap evaluate --truth val.jsonl --pred pred.jsonl --category key:class --categories 30
  dcap evaluate --truth val.jsonl --pred pred.jsonl --drop-repeats --least-score 0.4
  dcap evaluate --truth val.jsonl --pred pred.jsonl --ap
  dcap evaluate --truth val.jsonl --pred pred.jsonl --curves curves.png
  dcap evaluate --truth val.jsonl --compare before.jsonl after.jsonl
  dcap evaluate --truth roads.jsonl --pred pred.jsonl --line-tolerance 5

With --model, the model predicts first: --pred is what dcap predict would write for the records of --truth, and an
interrupted file is continued. Answers are greedy; dcap predict has more choices.

What is measured:
  boxes and polygons  precision, recall and F1 at an IoU of 0.50, 0.75 and 0.95, and as the mean over 0.50:0.05:0.95.
                      IoU is exact, also of a box and a polygon. Truth and prediction are matched one to one so that the
                      sum of IoU is largest; captions do not matter
  with equal caption  the same, but captions must be equal too (but for case, white space and Unicode form)
  lines               precision: share of the predicted length that is near a true line. Recall: share of the true
                      length that is near a predicted line. Matched lines: one to one, where the F1 of both is 0.5 or
                      more. Both with a distance in pixels, and with one relative to the diagonal of the image
  by kind, size and   the pairs of the totals, shared out: recall by the true object, precision by the predicted one
  category            Pairs of one category for the table of categories
  attributes          share of the key=value attributes of true captions that the matched prediction has too
  --ap                AP as COCO has it (boxes, masks), TIDE errors, calibration, dense-caption mAP; needs scores, and
                      the extra eval
  --compare           F1 of two runs (with --ap: AP too), and how sure the difference is: paired bootstrap over images
  by least score      what is left if predictions with a lower score are dropped; needs a score for each prediction
  captions            of the matched pairs: share of equal captions, mean F1 of their words
  answers             share that parses without a problem, and without an exact repeat. An image without an answer
                      counts as an empty one
  repeats             predictions with the caption of another one and an IoU above 0.9 with it

--json, --html, --curves and --sheet replace older reports of dcap, and no other files.
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
    given = parser.add_mutually_exclusive_group(required=True)
    given.add_argument("--pred", metavar="PRED.jsonl", help="file that dcap predict wrote, or that --model writes")
    given.add_argument(
        "--compare", nargs=2, metavar=("A.jsonl", "B.jsonl"), help="two such files: say whether B is better than A"
    )
    _add_model(parser)
    _add_measures(parser)
    _add_scored(parser)
    _add_outputs(parser)
    parser.set_defaults(run=run)


def _add_model(parser: argparse.ArgumentParser) -> None:
    """Add the options of a model that predicts first."""
    group = parser.add_argument_group("a model that predicts first, into --pred")
    add_model(group, required=False)
    add_max_new_tokens(group)
    add_engine(parser)


def _add_measures(parser: argparse.ArgumentParser) -> None:
    """Add the options that change numbers."""
    parser.add_argument(
        "--line-tolerance",
        type=finite_number,
        default=10.0,
        metavar="PX",
        help="largest distance of lines that agree, in pixels of the image file (default: 10)",
    )
    parser.add_argument(
        "--line-tolerance-share",
        type=finite_number,
        default=0.01,
        metavar="SHARE",
        help="the same, as a share of the diagonal of the image (default: 0.01)",
    )
    parser.add_argument(
        "--category",
        default="caption",
        metavar="RULE",
        help="what the category of an object is: caption, key:NAME (the value of NAME= in the caption), or "
        "before:SEPARATOR (the caption up to it) (default: caption)",
    )
    add_pruning(parser)


def _add_scored(parser: argparse.ArgumentParser) -> None:
    """Add what needs scores, and the choices of a comparison."""
    parser.add_argument("--ap", action="store_true", help="measure AP, errors and calibration; needs scores")
    parser.add_argument(
        "--resamples",
        type=int,
        default=2000,
        metavar="N",
        help="with --compare: number of resamples of the images (default: 2000)",
    )
    parser.add_argument("--seed", type=int, default=0, help="with --compare: seed of the resamples (default: 0)")


def _add_outputs(parser: argparse.ArgumentParser) -> None:
    """Add the options that say what is shown and written."""
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all tables as JSON, with one row per image")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write the tables as a page, with curves")
    parser.add_argument(
        "--curves",
        type=Path,
        metavar="FILE.png",
        help="draw precision, recall and F1 by least score, and precision by recall; needs scores",
    )
    parser.add_argument(
        "--sheet", type=Path, metavar="FILE.png", help="draw truth and prediction of the worst and best images"
    )
    parser.add_argument(
        "--root", type=Path, metavar="DIR", help="with --sheet or --model: stop at an image outside this folder"
    )
    add_sixteen_bit(parser, "with --sheet")
    parser.add_argument(
        "--worst", type=int, default=5, metavar="N", help="number of worst images to list and draw (default: 5)"
    )
    parser.add_argument("--best", type=int, default=2, metavar="N", help="number of best images to draw (default: 2)")
    parser.add_argument(
        "--categories",
        type=int,
        default=10,
        metavar="N",
        help="number of categories with a row of their own; --json has all (default: 10)",
    )


def run(args: argparse.Namespace) -> int:
    """Print the scores, and return the exit code.

    Raises:
        ConfigError: A number is out of range, options do not go together, there is no true record, or an output is not
            to be replaced.
    """
    # scipy and the geometry kernels take a moment; --help should not wait for them.
    from dcap.evaluate.categories import CategoryRule
    from dcap.evaluate.metrics import ScoreOptions

    require_at_least(args, 0, "worst", "best", "categories", "seed")
    options = ScoreOptions(
        line_tolerance_px=args.line_tolerance,
        line_tolerance_share=args.line_tolerance_share,
        category=CategoryRule.parse(args.category),
    )
    pruning = pruning_options(args)
    outputs = outputs_given(
        ("--json", args.json, JSON_MARK), ("--html", args.html, PAGE_MARK), ("--sheet", args.sheet, PICTURE_MARK),
        ("--curves", args.curves, PICTURE_MARK),
    )  # fmt: skip
    check_outputs(outputs, expand_sources([*args.truth, *(args.compare or [args.pred])]))
    if args.model is None and (args.adapter is not None or args.engine != "hf"):
        raise ConfigError("--adapter and --engine must go with --model. Name the base model")
    if args.compare:
        _compare(args, options, pruning)
    else:
        _evaluate(args, options, pruning, outputs)
    return 0


def _predict(args: argparse.Namespace, outputs: Sequence[Output]) -> None:
    """Let a model predict the true records, into ``--pred``."""
    # torch and transformers take seconds to import.
    from dcap.infer.run import PredictOptions, predict
    from dcap.model.cpu_threads import set_cpu_threads
    from dcap.model.decoding import Decoding

    data, out = tuple(expand_sources(args.truth)), Path(args.pred)
    check_predictions("--pred", out, data, args, *outputs)
    set_cpu_threads(args.model, args.device)
    predict(
        PredictOptions(
            model=args.model,
            data=data,
            out=out,
            adapter=args.adapter,
            engine=engine_options(args, args.engine),
            decoding=Decoding(max_new_tokens=args.max_new_tokens, logprobs=args.ap or args.curves is not None),
            dataset=args.dataset,
            root=args.root,
        )
    )


def _evaluate(args: argparse.Namespace, options: ScoreOptions, pruning: Pruning, outputs: Sequence[Output]) -> None:
    from dcap.evaluate.ap import average_precision, load_hotcoco
    from dcap.evaluate.evaluation import evaluate
    from dcap.evaluate.report import (
        ap_grids,
        curves_sheet,
        evaluation_tree,
        score_grids,
        score_sheet,
        summary_line,
        sweep_curves,
        worst_grid,
    )
    from dcap.view.sheet import write_png

    if args.ap:
        load_hotcoco()  # a missing package is an error at once, not after the work
    if args.model is not None:
        _predict(args, outputs)
    evaluation = evaluate(args.truth, args.pred, options, pruning)
    if not evaluation.images:
        raise ConfigError("--truth must hold at least one record, not none")
    ap = average_precision(evaluation) if args.ap else None
    grids = score_grids(evaluation, args.categories)
    if ap is not None:
        grids += ap_grids(ap, args.categories)
    if args.worst:
        grids.append(worst_grid(evaluation, args.worst))
    tree = evaluation_tree(evaluation, ap) if args.json else {}
    curves = sweep_curves(evaluation.counts)
    if args.curves and not curves:
        raise ConfigError(
            "--curves must be given where each prediction has a score, and some have none. Predict with --scores"
        )
    _show(args, f"dcap evaluate {args.pred}", grids, tree, curves)
    if args.curves:
        write_png(args.curves, curves_sheet(curves))
        log.info("the curves are drawn in %s", args.curves)
    is_drawn = bool(args.sheet and args.worst + args.best)
    if is_drawn:
        write_png(args.sheet, score_sheet(evaluation, args.worst, args.best, args.root, args.sixteen_bit))
    drawn = f". The worst and best images are drawn in {args.sheet}" if is_drawn else ""
    output_console().print(summary_line(evaluation) + drawn, soft_wrap=True, markup=False, highlight=False)


def _compare(args: argparse.Namespace, options: ScoreOptions, pruning: Pruning) -> None:
    from dcap.evaluate.comparison import compare_runs
    from dcap.evaluate.evaluation import evaluate
    from dcap.evaluate.report import comparison_grid

    for name in ("sheet", "curves"):
        if getattr(args, name):
            raise ConfigError(f"--{name} must be given with --pred, not with --compare. Draw each run by itself.")
    if args.model is not None:
        raise ConfigError("--model must be given with --pred, not with --compare. Name the file to write.")
    first, second = (evaluate(args.truth, pred, options, pruning) for pred in args.compare)
    comparison = compare_runs(first, second, ap=args.ap, resamples=args.resamples, seed=args.seed)
    _show(
        args, f"dcap evaluate {' '.join(args.compare)}", [comparison_grid(comparison)],
        {**comparison.to_dict(), "runs": dict(zip("ab", args.compare, strict=True))},
    )  # fmt: skip


def _show(
    args: argparse.Namespace, title: str, grids: Sequence[Grid], tree: Mapping[str, Any], curves: Sequence[Curves] = ()
) -> None:
    """Print tables, and write the page and the JSON that were asked for."""
    from dcap.evaluate.report import evaluation_page, write_json
    from dcap.view.tables import print_grid

    console = output_console()
    for grid in grids:
        print_grid(grid, console)
    if args.json:
        write_json(marked("evaluate", tree), args.json)
        log.info("scores are in %s", args.json)
    if args.html:
        write_whole(args.html, evaluation_page(title, grids, curves))
        log.info("the page is %s", args.html)
