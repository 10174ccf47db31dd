"""``dcap replay``: make one sample of a run again, from its config or from a plan, and look at it."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from dcap.cli.arguments import add_overrides
from dcap.cli.run_data import add_step, open_dataset, planned_rules, training_step
from dcap.core.errors import ConfigError
from dcap.core.log import get_logger
from dcap.core.outputs import PICTURE_MARK, Output, check_folder, check_outputs

if TYPE_CHECKING:
    from dcap.audit.replay import Replay

log = get_logger(__name__)

PLAN_MARK = b'{\n "name": '
"""How a plan.json begins."""

EPILOG = """\
examples:
  dcap replay --config configs/demo.yaml --epoch 3 --index 1 --out replay    what training saw of record 1
  dcap replay --config configs/demo.yaml seed=5 --index 1 --out replay       with fields changed
  dcap replay --config mine.yaml --index 1 --step 240 --out replay           with a curriculum, as after 240 steps
  dcap replay --plan replay/plan.json --out again                            the same pixels, without the config
  dcap replay --plan replay/plan.json --image moved.jpg --out again          when the image was moved

Writes image.png (the exact pixels that the model sees), overlay.png (with shapes and captions), answer.txt (the
supervised text) and plan.json (for --plan).
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``dcap replay`` to the command line."""
    parser = subparsers.add_parser(
        "replay",
        help="make one sample of a run again",
        description="Make one sample again, exactly as training made it, and write image, overlay, text and plan.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--config", metavar="CONFIG.yaml", help="a run's config; --epoch, --index and --draw choose the sample"
    )
    source.add_argument("--plan", type=Path, metavar="PLAN.json", help="a plan that this command wrote")
    add_overrides(parser)
    parser.add_argument("--epoch", type=int, metavar="N", help="with --config: which epoch, from 0 (default: 0)")
    parser.add_argument(
        "--index",
        type=int,
        metavar="I",
        help="with --config: which record, or tile, from 0; bad ones do not count (default: 0)",
    )
    parser.add_argument(
        "--draw",
        type=int,
        metavar="K",
        help="with --config: which of its samples, from 0, when data.mixture takes a record several times per epoch "
        "(default: 0)",
    )
    parser.add_argument("--split", choices=("train", "val"), help="with --config: which data (default: train)")
    add_step(parser, "the step that trains on the sample; to find it, all epochs up to it are planned")
    parser.add_argument("--image", type=Path, metavar="FILE", help="with --plan: the source image, when it was moved")
    parser.add_argument(
        "--out",
        required=True,
        type=Path,
        metavar="DIR",
        help="folder to write the four files into; older ones of dcap are replaced",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write the four files and return the exit code.

    Raises:
        ConfigError: Config or plan are wrong, there is no such record, or ``--out`` holds other files of the same
            names.
        ImageError: The image cannot be decoded.
    """
    check_folder("--out", args.out)
    check_outputs(_outputs(args.out), [] if args.plan is None else [args.plan])
    replay = _from_config(args) if args.config else _from_plan(args)
    images = [replay.image] if isinstance(replay.image, Path) else []
    check_outputs(_outputs(args.out), images)
    replay.write(args.out)
    log.info("%s: %s", replay.name, ", ".join(replay.plan.describe().splitlines()))
    log.info("wrote image.png, overlay.png, answer.txt and plan.json into %s", args.out)
    return 0


def _outputs(folder: Path) -> list[Output]:
    """Return the files to write. Text says nothing of who wrote it; it is ours where our plan is beside it."""
    beside = b"" if (folder / "plan.json").is_file() else b"\0no text"
    marks = {
        "image.png": PICTURE_MARK,
        "overlay.png": PICTURE_MARK,
        "plan.json": PLAN_MARK,
        "answer.txt": beside,
        "source": beside,
    }
    return [Output("--out", folder / name, mark) for name, mark in marks.items()]


def _from_plan(args: argparse.Namespace) -> Replay:
    from dcap.audit.replay import Replay

    for name in ("epoch", "index", "draw", "split", "step"):
        if getattr(args, name) is not None:
            raise ConfigError(f"--{name} must go with --config; a plan is one sample")
    if args.overrides:
        raise ConfigError(f"{args.overrides[0]} must go with --config; a plan has no fields to change")
    replay = Replay.read(args.plan)
    replay = replay if args.image is None else replace(replay, image=args.image)
    if not Path(str(replay.image)).is_file():
        raise ConfigError(f"--image must name the source image, as there is no {str(replay.image)!r}")
    return replay


def _from_config(args: argparse.Namespace) -> Replay:
    if args.image is not None:
        raise ConfigError("--image must go with --plan; a config's records name their images")
    from dcap.train.config import load_run_config

    config = load_run_config(args.config, args.overrides)
    from dcap.audit.replay import Replay, find_sample

    dataset = open_dataset(config, args.split or "train")
    when = training_step(config, dataset, args.step)
    # A given step needs no plan of the run.
    rules = planned_rules(config, dataset) if args.step is None else None
    key = find_sample(dataset, args.epoch or 0, args.index or 0, args.draw or 0, when=when, rules=rules)
    return Replay.of_sample(dataset, key)
