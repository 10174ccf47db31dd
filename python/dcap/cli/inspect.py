"""``dcap inspect``: what a config makes of data and model, before a GPU is paid for."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dcap.core.errors import ConfigError, ImageError
from dcap.core.files import write_whole
from dcap.core.log import get_logger, output_console

if TYPE_CHECKING:
    from dcap.audit.epoch_counts import EpochCounts
    from dcap.audit.inspection_report import EpochReport, InspectionReport, ModelReport, ShownSample, TimeReport
    from dcap.data.dataset import DenseCaptionDataset
    from dcap.data.epoch import EpochRules
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
  dcap inspect configs/mine.yaml model.adapter.rank=64 training.activation_checkpointing=true    with fields changed
  dcap inspect configs/mine.yaml --json | jq .memory      all numbers for programs

text is shown to the letter: a blank is a raised dot, a newline an arrow. Only the samples shown are read; the rest
is planned from records alone, and no weights are loaded. Memory is an estimate that has not been compared with a GPU.
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
    parser.add_argument("overrides", metavar="KEY=VALUE", nargs="*", help="config fields to change")
    parser.add_argument("--num-samples", type=int, default=2, metavar="N", help="samples to show (default: 2)")
    parser.add_argument("--epoch", type=int, default=0, metavar="N", help="epoch, from 0 (default: 0)")
    parser.add_argument("--split", choices=("train", "val"), default="train", help="default: train")
    parser.add_argument("--max-plans", type=int, metavar="N", help="plan N samples drawn by chance and scale up")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="memory of which (default: cuda)")
    rate = parser.add_mutually_exclusive_group()
    rate.add_argument("--tokens-per-s", type=float, metavar="X", help="rate over all devices, for the hours")
    rate.add_argument("--run", dest="rate_of", type=Path, metavar="DIR", help="take the rate of this run so far")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a page with all of it")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
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

    config = load_run_config(args.config, args.overrides)
    rate = _rate(args)
    # The tokenizer comes with transformers, which takes seconds to import.
    from dcap.audit.inspection_report import inspection_page, inspection_tree, print_inspection

    report = _report(args, config, rate)
    if args.html is not None:
        write_whole(args.html, inspection_page(report, f"dcap inspect: {Path(args.config).name}"))
        log.info("wrote %s", args.html)
    if args.json:
        print(json.dumps(inspection_tree(report), indent=2, ensure_ascii=False))
    else:
        print_inspection(report, output_console())
    return 0


def _check(args: argparse.Namespace) -> None:
    for name, value, least in (
        ("--num-samples", args.num_samples, 0),
        ("--epoch", args.epoch, 0),
        ("--max-plans", args.max_plans, 1),
    ):
        if value is not None and value < least:
            raise ConfigError(f"{name} must be at least {least}, not {value}")
    if args.tokens_per_s is not None and args.tokens_per_s <= 0:
        raise ConfigError(f"--tokens-per-s must be above 0, not {args.tokens_per_s}")
    if args.split == "val" and (args.tokens_per_s or args.rate_of):
        raise ConfigError("--tokens-per-s and --run must go with --split train; only training takes hours")


def _rate(args: argparse.Namespace) -> float | None:
    if args.rate_of is None:
        given: float | None = args.tokens_per_s
        return given
    from dcap.audit.rate import measured_rate

    return measured_rate(args.rate_of)


def _report(args: argparse.Namespace, config: RunConfig, rate: float | None) -> InspectionReport:
    from dcap.audit.epoch_counts import count_epoch
    from dcap.audit.inspection_report import InspectionReport
    from dcap.cli.run_data import open_dataset, planned_rules

    config.training.accumulation(1)
    dataset = open_dataset(config, args.split)
    rules = config.epoch_rules() if args.max_plans else planned_rules(config, dataset)
    plans = count_epoch(dataset, args.epoch, rules, args.max_plans)
    epoch = _epoch(args, dataset, plans, rules)
    training = args.split == "train"
    return InspectionReport(
        samples=_samples(args.num_samples, dataset, plans),
        epoch=epoch,
        model=_model(args, config, plans) if training else None,
        time=_time(config, epoch, rate) if training else None,
    )


def _samples(count: int, dataset: DenseCaptionDataset, plans: EpochCounts) -> tuple[ShownSample, ...]:
    from dcap.audit.inspection_report import ShownSample
    from dcap.audit.token_runs import token_runs

    out = []
    for key in plans.choose(count):
        try:
            sample = dataset[key]
        except ImageError as error:
            if dataset.data.on_bad_record == "error":
                raise
            log.warning("not shown: %s", error)
            continue
        runs = token_runs(sample, dataset.planner_of(key.index).encoder.tokenizer)
        sizes = f"{len(sample.input_ids):,} tokens, {sample.num_supervised:,} supervised"
        out.append(ShownSample(f"{sample.dataset}, {sample.sample_id}, epoch {key.epoch}: {sizes}", runs))
    return tuple(out)


def _epoch(
    args: argparse.Namespace, dataset: DenseCaptionDataset, plans: EpochCounts, rules: EpochRules
) -> EpochReport:
    from dcap.audit.epoch_counts import dataset_shares
    from dcap.audit.inspection_report import EpochReport

    still = bool(dataset.curriculum.phases) and rules.total_steps is None
    return EpochReport(
        name=f"{args.split} epoch {args.epoch}",
        plans=plans,
        shares=tuple(dataset_shares(plans, dataset)),
        steps=plans.num_steps(rules.rows_per_step) if args.split == "train" else None,
        curriculum_at_start=still,
    )


def _model(args: argparse.Namespace, config: RunConfig, plans: EpochCounts) -> ModelReport:
    import torch

    from dcap.audit.inspection_report import ModelReport
    from dcap.model.load import blank_model
    from dcap.model.lora import attach
    from dcap.model.memory import Rows, Step, estimate_memory
    from dcap.model.towers import count_parameters
    from dcap.train.optimizer import peak_rates

    model = attach(blank_model(config.model), config.model)
    training = config.training
    dtype = getattr(torch, config.model.dtype)
    step = Step(dtype, training.activation_checkpointing, training.loss_chunk_tokens, args.device == "cuda")
    rows = Rows(plans.row_tokens, plans.row_sums(plans.patches), plans.row_sums(plans.supervised))
    memory = estimate_memory(model, step, rows)
    heaviest: dict[str, Any] = {
        "tokens": int(rows.tokens[memory.row]),
        "patches": int(rows.patches[memory.row]),
        "supervised": int(rows.supervised[memory.row]),
    }
    return ModelReport(count_parameters(model), peak_rates(training), memory, heaviest, step)


def _time(config: RunConfig, epoch: EpochReport, rate: float | None) -> TimeReport:
    from dcap.audit.inspection_report import TimeReport

    training, steps = config.training, epoch.steps or 1
    total = training.max_steps or training.num_epochs * steps
    # A step of max_steps takes as many tokens as one of this epoch; whole epochs have no rounding.
    epochs = total / steps if training.max_steps else training.num_epochs
    return TimeReport(steps=total, epochs=epochs, tokens=round(epochs * epoch.plans.num_tokens), tokens_per_s=rate)
