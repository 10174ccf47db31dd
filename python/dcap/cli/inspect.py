"""``dcap inspect``: a run's samples, rows, memory and hours, before you pay for a GPU."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from dcap.cli.arguments import add_overrides, finite_number, require_at_least
from dcap.core.errors import ConfigError
from dcap.core.files import write_whole
from dcap.core.log import get_logger, output_console, print_json
from dcap.core.outputs import PAGE_MARK, check_outputs, outputs_given

if TYPE_CHECKING:
    from dcap.audit.inspection import TrainingFacts
    from dcap.audit.inspection_report import InspectionReport
    from dcap.train.config import RunConfig

log = get_logger(__name__)

EPILOG = """\
examples:
  dcap inspect configs/demo.yaml                          samples, tokens, rows, what trains, memory
  dcap inspect configs/mine.yaml --html inspect.html      the same as a page that needs no network
  dcap inspect configs/mine.yaml --num-samples 5 --epoch 3      more samples, as epoch 3 augments them
  dcap inspect configs/mine.yaml --split val              what validation asks and expects
  dcap inspect configs/mine.yaml --max-plans 5000         a drawn part of a large data set, scaled up
  dcap inspect configs/mine.yaml --tokens-per-s 9500      hours for the epochs or steps of the config
  dcap inspect configs/mine.yaml --run runs/mine          the same with the rate that a run had
  dcap inspect configs/mine.yaml --gpus 8 --parallel fsdp    memory of one of 8 GPUs that share the weights out
  dcap inspect configs/mine.yaml model.adapter.rank=64 training.activation_checkpointing=true    with fields changed
  dcap inspect configs/mine.yaml --json | jq .memory      all numbers for programs

Text is shown to the letter: a blank is a raised dot, a newline an arrow. Only the images of the samples shown are
opened; everything else is planned from records. No weights are loaded. Memory is an estimate. It was never compared
with a GPU.
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``dcap inspect`` to the command line."""
    parser = subparsers.add_parser(
        "inspect",
        help="tokens, rows, memory and hours of a run before it starts",
        description="Show samples token by token, and count what a run will be: rows, steps, what trains, memory, "
        "hours.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("config", metavar="CONFIG.yaml", help="a run's config")
    add_overrides(parser)
    parser.add_argument(
        "--num-samples", type=int, default=2, metavar="N", help="number of samples to show (default: 2)"
    )
    parser.add_argument("--epoch", type=int, default=0, metavar="N", help="which epoch, from 0 (default: 0)")
    parser.add_argument("--split", choices=("train", "val"), default="train", help="which data (default: train)")
    parser.add_argument(
        "--max-plans",
        type=int,
        metavar="N",
        help="plan only N samples, drawn by chance, and scale their sums up (default: all)",
    )
    parser.add_argument(
        "--device", choices=("cuda", "cpu"), default="cuda", help="device whose memory is estimated (default: cuda)"
    )
    parser.add_argument(
        "--gpus", type=int, default=1, metavar="N", help="number of devices that train together (default: 1)"
    )
    parser.add_argument(
        "--parallel", choices=("ddp", "fsdp"), help="how they do it: training.parallel (default: as in the config)"
    )
    rate = parser.add_mutually_exclusive_group()
    rate.add_argument(
        "--tokens-per-s", type=finite_number, metavar="X", help="tokens per second over all devices, to tell the hours"
    )
    rate.add_argument(
        "--run", dest="rate_of", type=Path, metavar="DIR", help="folder of a run, to take tokens per second from"
    )
    parser.add_argument(
        "--html",
        type=Path,
        metavar="FILE",
        help="write the report as a page, which needs no network; an older one is replaced",
    )
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the report, write the page if asked, and return the exit code.

    Raises:
        ConfigError: A number is out of range, the config is wrong, or there is no such model or run.
        RecordError: A record breaks the contract, or a sample does not fit.
        ImageError: The image of a sample to be shown cannot be decoded.
        TrainingError: No sample is left.
    """
    _check(args)
    from dcap.train.config import load_run_config

    check_outputs(outputs_given(("--html", args.html, PAGE_MARK)), [Path(args.config)])
    config = load_run_config(args.config, [*args.overrides, *_parallel(args)])
    _check_gpus(args.gpus, config)
    rate = _rate(args)
    # The tokenizer comes with transformers, which takes seconds to import.
    from dcap.audit.inspection_report import inspection_page, inspection_tree, print_inspection

    report = _report(args, config, rate)
    if args.html is not None:
        write_whole(args.html, inspection_page(report, f"dcap inspect: {Path(args.config).name}"))
        log.info("wrote %s", args.html)
    if args.json:
        print_json(inspection_tree(report))
    else:
        print_inspection(report, output_console())
    return 0


def _check(args: argparse.Namespace) -> None:
    require_at_least(args, 0, "num_samples", "epoch")
    require_at_least(args, 1, "max_plans", "gpus")
    if args.tokens_per_s is not None and args.tokens_per_s <= 0:
        raise ConfigError(f"--tokens-per-s must be above 0, not {args.tokens_per_s}")
    if args.split == "val" and (args.tokens_per_s or args.rate_of):
        raise ConfigError("--tokens-per-s and --run must go with --split train; only training takes hours")


def _parallel(args: argparse.Namespace) -> list[str]:
    return [] if args.parallel is None else [f"training.parallel={args.parallel}"]


def _check_gpus(number: int, config: RunConfig) -> None:
    config.training.accumulation(number)
    if config.training.parallel == "fsdp" and number == 1:
        raise ConfigError(
            "--gpus must be at least 2 with training.parallel fsdp, whose devices share the weights out, not 1. Give "
            "the number of GPUs of the run, or --parallel ddp"
        )


def _rate(args: argparse.Namespace) -> float | None:
    if args.rate_of is None:
        given: float | None = args.tokens_per_s
        return given
    from dcap.audit.inspection import measured_rate

    return measured_rate(args.rate_of)


def _report(args: argparse.Namespace, config: RunConfig, rate: float | None) -> InspectionReport:
    from dcap.audit.inspection import inspect_epoch
    from dcap.cli.run_data import open_dataset, planned_rules

    dataset = open_dataset(config, args.split)
    rules = config.epoch_rules() if args.max_plans else planned_rules(config, dataset)
    facts = _facts(args, config, rate) if args.split == "train" else None
    return inspect_epoch(dataset, args.epoch, rules, facts, num_samples=args.num_samples, max_plans=args.max_plans)


def _facts(args: argparse.Namespace, config: RunConfig, rate: float | None) -> TrainingFacts:
    import torch

    from dcap.audit.inspection import TrainingFacts
    from dcap.model.layer_cost import MemoryStep
    from dcap.train.optimizer import peak_rates
    from dcap.train.teacher_check import teacher_bytes

    training = config.training
    return TrainingFacts(
        model=config.model,
        step=MemoryStep(
            dtype=getattr(torch, config.model.dtype),
            activation_checkpointing=training.activation_checkpointing,
            loss_chunk_tokens=training.loss_chunk_tokens,
            cuda=args.device == "cuda",
            num_shares=args.gpus if training.parallel == "fsdp" else 1,
            reshards=training.fsdp_reshard,
            quantised=config.model.quantization != "none",
            moments_in_8_bits=training.optimizer == "adamw8bit",
            has_teacher=config.distill is not None,
            teacher_bytes=0 if config.distill is None else teacher_bytes(config.model, config.distill),
        ),
        rates=peak_rates(training),
        lora_plus_ratio=training.lora_plus_ratio,
        num_epochs=training.num_epochs,
        max_steps=training.max_steps,
        tokens_per_s=rate,
    )
