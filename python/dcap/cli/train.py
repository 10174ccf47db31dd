"""``dcap train``: the same as ``python -m dcap.train``."""

from __future__ import annotations

import argparse

from dcap.train.__main__ import EXIT_CODES, field_lines, main
from dcap.train.config import RunConfig

EPILOG = f"""\
examples:
  dcap train configs/scenes.yaml                                      small model, rendered scenes
  dcap train configs/mine.yaml training.learning_rate=5e-5 seed=1     change fields for this run only
  dcap train configs/mine.yaml training.resume=none                   start anew in an existing run folder
  accelerate launch -m dcap.train configs/mine.yaml                   several GPUs

{EXIT_CODES}
fields (in the YAML, or as KEY=VALUE here; null: no value; dcap schema lets an editor complete them):
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``dcap train`` to the command line."""
    parser = subparsers.add_parser(
        "train",
        help="fine-tune a model as a YAML config says",
        description="Fine-tune a model as a YAML config says; resumes when the run folder has a checkpoint.",
        epilog=EPILOG + "\n".join(field_lines(RunConfig)),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("config", metavar="CONFIG.yaml", help="the run: model, data, augmentation, training")
    parser.add_argument("overrides", metavar="KEY=VALUE", nargs="*", help="config fields to change for this run")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Train, and return the exit code."""
    return main([args.config, *args.overrides])
