"""``dcap init``: a config for the user's data, with records in train and val where the source is something else."""

from __future__ import annotations

import argparse
import os
import shlex
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rich.text import Text

from dcap.cli.arguments import add_workers, finite_number, require_at_least
from dcap.cli.convert import print_losses
from dcap.convert.conversion import ConvertOptions, convert
from dcap.convert.conversion_report import ConversionReport
from dcap.convert.division import Division
from dcap.convert.found_source import FoundSource, FoundSources, find_sources
from dcap.core.errors import ConfigError, ImageError, RecordError
from dcap.core.log import get_logger, output_console
from dcap.core.outputs import check_outputs, outputs_given
from dcap.core.packages import install_command, requirements
from dcap.core.progress import progress_bars
from dcap.core.words import counted, printable
from dcap.demo.models import BUILTIN_TINY
from dcap.records.checking import CheckedRecords, ImageRules, check_records
from dcap.records.files.generated import is_generated
from dcap.records.files.opening import expand_sources
from dcap.records.look_alikes import find_look_alikes, look_at_all
from dcap.records.record import image_path
from dcap.records.subset import limited

if TYPE_CHECKING:
    from dcap.train.first_config import FirstConfig

log = get_logger(__name__)

_MOST_COMPARED = 20_000
"""Images that are opened to compare train and val, which takes minutes."""

EPILOG = """\
examples:
  dcap init                                        annotations in the current folder
  dcap init --from instances.json --images images --out streets.yaml
  dcap init --from data.yaml                       YOLO, with its own train and val
  dcap init --from all.jsonl --share 0.05          records: a twentieth becomes val
  dcap init --from train.jsonl --val val.jsonl     records that are divided already
  dcap init --from instances.json --gpu-memory 80  for another machine with a GPU of 80 GiB
  dcap init --from 'builtin:scenes?num=500'        scenes that dcap paints

It finds out what the source holds (COCO, LVIS, Labelme, Pascal VOC, YOLO or records), converts it, and divides it where
nothing is set apart for validation. Images that look alike are never in both parts. Sizes of images and rows follow
from the records, the model from the memory of the GPU. Each number has a comment that says where it comes from.

mine.yaml, mine-train.jsonl and mine-val.jsonl are written, after --out. Nothing is ever overwritten. For options of a
format, run dcap convert first, and dcap init on the records.

next: dcap preview mine.yaml --out preview, dcap inspect mine.yaml, dcap train mine.yaml
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``dcap init`` to the command line."""
    parser = subparsers.add_parser(
        "init",
        help="write a config for your data, and records where it is something else",
        description="Write a commented config for your data. Its numbers follow from the data and from the machine.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--from", dest="source", default=".", metavar="SOURCE",
        help="annotations or records: a file or folder (default: the current folder)",
    )  # fmt: skip
    parser.add_argument("--val", metavar="SOURCE", help="the same for validation (default: a part of --from)")
    parser.add_argument("--images", type=Path, metavar="DIR", help="folder of the images, if it is not found")
    parser.add_argument(
        "--out", type=Path, default=Path("mine.yaml"), metavar="FILE.yaml", help="the new config (default: mine.yaml)"
    )
    parser.add_argument(
        "--share",
        type=finite_number,
        default=0.1,
        metavar="X",
        help="share of the records for validation (default: 0.1)",
    )
    parser.add_argument("--model", metavar="NAME", help="hub id or folder (default: the largest that fits)")
    parser.add_argument(
        "--gpu-memory",
        type=finite_number,
        metavar="GIB",
        help="memory of the GPU to train on (default: that of this machine)",
    )
    parser.add_argument(
        "--on-bad", choices=("error", "skip"), default="error",
        help="broken annotations: stop, or leave out their images (default: error)",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of division and run (default: 0)")
    add_workers(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write config and records, and say what was chosen; the exit code is 1 when no record is left.

    Raises:
        ConfigError: An option is wrong, the source is not recognised, or a file is there already.
        RecordError: The annotations are broken.
    """
    _check(args)
    sources = find_sources(args.source)
    if args.val is not None:
        sources = FoundSources(sources.train, find_sources(args.val, "--val").train)
    files = _Files.of(args.out, sources)
    for path in (args.out, *files.new):
        if path.is_file() and path.stat().st_size:
            raise ConfigError(
                f"--out must name new files, and {path} exists. dcap init replaces none: delete it if an earlier call "
                "was cut off, or give another --out"
            )
    check_outputs(outputs_given(*(("--out", path, False) for path in (args.out, *files.new))), files.inputs)
    with ExitStack() as undo:
        for path in files.new:  # they were not there before
            undo.callback(path.unlink, missing_ok=True)
        if files.new and not _convert(args, sources, files):
            log.error("nothing was written: no record is left")
            return 1
        config = _first_config(args, files, divided=sources.val is None)
        config.write(args.out)
        undo.callback(args.out.unlink, missing_ok=True)
        from dcap.train.config import load_run_config

        load_run_config(args.out)
        undo.pop_all()
    _tell(args.out, files, config)
    return 0


def _check(args: argparse.Namespace) -> None:
    require_at_least(args, 0, "workers", "seed")
    if not 0.0 < args.share < 1.0:
        raise ConfigError(f"--share must be above 0 and below 1, not {args.share:g}")
    if args.gpu_memory is not None and args.gpu_memory <= 0:
        raise ConfigError(f"--gpu-memory must be above 0, not {args.gpu_memory:g}")
    if args.out.suffix not in (".yaml", ".yml"):
        raise ConfigError(f"--out must be a file that ends in .yaml, not {args.out}")


@dataclass(frozen=True)
class _Files:
    """Files of records that the config names."""

    train: Path
    val: Path
    new: tuple[Path, ...]
    """Those of them that are written."""
    inputs: tuple[Path, ...]
    """What is read, as far as an output may be one of them."""

    @classmethod
    def of(cls, out: Path, sources: FoundSources) -> _Files:
        given = [source for source in sources if source is not None]
        inputs = tuple(source.path for source in given if source.path.is_file())
        if len(given) == 2 and all(source.format == "jsonl" for source in given):
            return cls(given[0].path, given[1].path, (), inputs)
        train, val = (out.with_name(f"{out.stem}-{name}.jsonl") for name in ("train", "val"))
        return cls(train, val, (train, val), inputs)


def _convert(args: argparse.Namespace, sources: FoundSources, files: _Files) -> bool:
    """Write the records of both parts, list the losses, and return whether there are records."""
    report, workers = ConversionReport(args.on_bad), max(1, args.workers)

    def written(source: FoundSource, out: Path, division: Division | None) -> bool:
        log.info("found %s", source)
        images = args.images or source.images
        options = ConvertOptions(images=images, workers=workers, division=division)
        return bool(convert(source.reader(), source.path, out, report, options))

    if sources.val is None:
        division = Division((1.0 - args.share, args.share), seed=args.seed)
        done = written(sources.train, files.train, division)
    else:
        done = written(sources.train, files.train, None) and written(sources.val, files.val, None)
    print_losses(report)
    return done


def _first_config(args: argparse.Namespace, files: _Files, divided: bool) -> FirstConfig:
    """Return the config that fits the records; `divided`: val was taken out of train without look-alikes."""
    from dcap.train.first_config import FirstConfig
    from dcap.train.sizing import (
        MOST_RECORDS,
        Facts,
        choose_machine,
        counting_model,
        max_pixels_for,
        plan_lengths,
        trial_model,
    )

    with progress_bars() as told:
        train, val = (
            check_records(
                expand_sources([path]),
                args.on_bad,
                ImageRules(),
                on_read=partial(told, f"check {path.name}"),
                num_workers=args.workers,
            )
            for path in (files.train, files.val)
        )
    if not len(train) or not len(val):
        raise RecordError(f"{files.val if len(train) else files.train} must hold at least one record that can be used")
    if not divided:
        _tell_look_alikes(train, val, args.workers)
    part = limited(train, [(0, len(train), MOST_RECORDS)], args.seed)
    facts = Facts.of([part[k] for k in range(len(part))], len(train))
    gpu_gib = args.gpu_memory or _gpu_memory()
    max_pixels = max_pixels_for(facts, gpu_gib is not None)
    counts = counting_model(args.model or ("" if gpu_gib else trial_model()))
    lengths = plan_lengths([str(files.train)], max_pixels, counts, on_bad=args.on_bad)
    if not lengths.counted:
        log.warning(
            "the vocabulary is not installed, so tokens are bounds, from bytes, and rows longer than they need to be; "
            "for exact ones delete what dcap init writes now, and run it again after: %s",
            install_command("demo"),
        )
    return FirstConfig(
        name=args.out.stem,
        train=(_shown(files.train),),
        val=(_shown(files.val),),
        num_val=len(val),
        facts=facts,
        lengths=lengths,
        max_pixels=max_pixels,
        machine=choose_machine(lengths, gpu_gib, args.model),
        seed=args.seed,
        skips_bad_records=args.on_bad == "skip" and not files.new,
    )


def _tell_look_alikes(train: CheckedRecords, val: CheckedRecords, workers: int) -> None:
    """Warn of images of val that look like one of train: scores over them say little."""
    if len(train) + len(val) > _MOST_COMPARED:
        log.info("dcap audit looks for images of val that look like one of train; here there are too many to open")
        return
    log.info("comparing the images of val with those of train")
    records = [each[k] for each in (train, val) for k in range(len(each))]
    paths = [image_path(record) for record in records if record.embedded is None]
    if len(paths) < len(records):
        return
    try:
        found = find_look_alikes(look_at_all(paths, workers))
    except ImageError as error:
        log.warning("val may hold images that look like one of train; that was not looked for, as %s", error)
        return
    both = [k for k in range(len(train), len(records)) if found[k] < len(train)]
    if both:
        first, other = records[both[0]], records[found[both[0]]]
        log.warning(
            "%s of val look like one of train, such as %s, which looks like %s; scores over them say little",
            counted(len(both), "image"), first.origin, other.origin,
        )  # fmt: skip


def _gpu_memory() -> float | None:
    """Return the memory of the smallest GPU here, in GiB. `None`: there is none, or torch is not installed."""
    from dcap.audit.machine import gpu_memories

    found = gpu_memories()
    return min(found) if found else None


def _shown(path: Path) -> str:
    """Return a path as the config names it: from the current folder where the file is below it."""
    if is_generated(path):
        return str(path)
    absolute = os.path.abspath(path)
    below = os.path.relpath(absolute)
    return absolute if below.startswith(os.pardir) else below


def _tell(out: Path, files: _Files, config: FirstConfig) -> None:
    """Print what was chosen, and the next commands."""
    machine, name = config.machine, shlex.quote(str(out))
    memory = "" if machine.memory_gib is None else f", about {machine.memory_gib:.1f} GiB"
    lines = [
        f"{counted(config.facts.num_records, 'record')} for training in {files.train}",
        f"{counted(config.num_val, 'record')} for validation in {files.val}",
        f"{machine.model}{memory}: {machine.note}",
        f"images of up to {config.max_pixels:,} pixels, rows of {machine.row:,} tokens, {config.num_epochs} epochs of "
        f"about {counted(config.steps_per_epoch, 'step')}",
        f"all of it, with the reasons, in {out}",
        "",
        "next:",
        *_next_commands(name, config),
    ]
    output_console().print(Text("\n".join(map(printable, lines))), soft_wrap=True)


def _next_commands(name: str, config: FirstConfig) -> list[str]:
    model, val = shlex.quote(config.machine.model), shlex.quote(config.val[0])
    final = shlex.quote(f"runs/{config.name}/final")
    extra = _missing_extra(config)
    install = [] if extra is None else [(install_command(extra), "first: the next commands need it")]
    commands = (
        *install,
        (f"dcap audit {name}", "is the data good?"),
        (f"dcap preview {name} --out preview", "samples before and after augmentation"),
        (f"dcap inspect {name}", "tokens, rows, memory"),
        (f"dcap train {name} training.max_steps=20", "a few steps, then all of them"),
        (
            f"dcap predict --model {model} --adapter {final} --data {val} --out pred.jsonl "
            f"--max-new-tokens {config.max_new_tokens}",
            "",
        ),
        (f"dcap evaluate --truth {val} --pred pred.jsonl --sheet worst.png", ""),
    )
    width = max(len(command) for command, about in commands if about)
    return [f"  {command:<{width}}   {about}".rstrip() for command, about in commands]


def _missing_extra(config: FirstConfig) -> str | None:
    """Return the extra that the config cannot be used without. `None`: all of it is installed."""
    if config.machine.model == BUILTIN_TINY and not config.lengths.counted:
        return "demo"
    missing = [each for each in requirements() if each.extra == "train" and each.installed is None]
    return "train" if missing else None
