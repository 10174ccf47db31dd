"""``dcap export``: write a tuned model as a folder that any runtime loads."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from dcap.core.files import write_whole
from dcap.core.log import get_logger

log = get_logger(__name__)

EPILOG = """\
examples:
  dcap export --adapter runs/mine/final --model Qwen/Qwen3-VL-4B-Instruct --out exported
  dcap export --adapter runs/mine/final --model Qwen/Qwen3-VL-4B-Instruct --out exported --dtype float32
  dcap export --adapter runs/mine/final --model Qwen/Qwen3-VL-4B-Instruct --out adapter --format peft

merged (the default): the adapter becomes part of the weights, in float32 and then one cast. A cast to bfloat16 can
round a small update away; a line for each tower says how much of it survives. The folder is a whole model, for vLLM,
transformers and dcap predict --model. peft: the adapter alone, for a server that loads it beside the base; DoRA and
modules_to_save are refused, as servers do not take them.

The base must hold the weights that the adapter was trained on. The folder appears whole or not at all. Its export.json
says what it was made of.

next: vllm serve exported; or dcap predict --model exported --data val.jsonl --out pred.jsonl
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``dcap export`` to the command line."""
    parser = subparsers.add_parser(
        "export",
        help="merge an adapter into its base, for any server",
        description="Write a tuned model as a folder that any runtime loads.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--adapter", required=True, type=Path, metavar="DIR", help="folder of an adapter that dcap train wrote"
    )
    parser.add_argument("--model", required=True, metavar="NAME", help="base model: hub id, folder or builtin:tiny")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder to write")
    parser.add_argument("--revision", metavar="REV", help="hub revision of the model")
    parser.add_argument(
        "--format",
        choices=("merged", "peft"),
        default="merged",
        help="a whole model, or the adapter alone (default: merged)",
    )
    parser.add_argument(
        "--dtype",
        choices=("bfloat16", "float32"),
        help="type of the weights (default: bfloat16 merged; an adapter stays as it was trained)",
    )
    parser.add_argument(
        "--shard-size", default="5GB", metavar="SIZE", help="most bytes of one file of weights (default: 5GB)"
    )
    parser.add_argument(
        "--accept-other-base", action="store_true", help="go on if the adapter was trained on other weights"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an older export in --out")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what export.json says to a file as well")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Export, and return the exit code."""
    # torch and transformers take seconds to import.
    from dcap.infer.export_folder import ExportOptions, export, loss_warning, survival_lines

    options = ExportOptions(
        model=args.model,
        adapter=args.adapter,
        out=args.out,
        format=args.format,
        dtype=args.dtype,
        shard_size=args.shard_size,
        revision=args.revision,
        accept_other_base=args.accept_other_base,
        overwrite=args.overwrite,
    )
    made = export(options)
    for line in survival_lines(made.survival):
        log.info("%s", line)
    warning = loss_warning(made.survival, made.about["dtype"])
    if warning is not None:
        log.warning("%s", warning)
    if args.json:
        write_whole(args.json, json.dumps(made.about, indent=2, ensure_ascii=False) + "\n")
    log.info("wrote %s", made.out)
    log.info("serve it: %s", made.about["serve"])
    return 0
