"""Options that several commands share, and the check of numbers.

Every command imports this module, also ``dcap doctor``, which must start where the kernels cannot be loaded. So what
rests on them is imported where it is used.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from dcap.core.errors import ConfigError, nearest
from dcap.core.files import is_stream
from dcap.core.line_log import meta_path
from dcap.core.manifest import digest_input
from dcap.core.outputs import Output, check_outputs
from dcap.core.parallel import default_workers
from dcap.core.shard import Shard, ShardFolder
from dcap.core.words import printable
from dcap.records.sixteen_bit import SixteenBit

if TYPE_CHECKING:
    from dcap.evaluate.repeats import Pruning
    from dcap.infer.loading import EngineOptions
    from dcap.model.decoding import Decoding


class CommandParser(argparse.ArgumentParser):
    """A parser whose options have one name each: what abbreviates it today may name another option tomorrow."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings, allow_abbrev=False)

    def options(self) -> set[str]:
        """Return the names of all options, those of its commands included."""
        found = set(self._option_string_actions)
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                found.update(*(parser.options() for parser in action.choices.values()))
        return found


def add_overrides(parser: argparse.ArgumentParser) -> None:
    """Add the positional ``KEY=VALUE``, any number of them."""
    parser.add_argument(
        "overrides", metavar="KEY=VALUE", nargs="*", help="change a field of the config, such as seed=1"
    )


def add_workers(parser: argparse.ArgumentParser) -> None:
    """Add ``--workers``."""
    parser.add_argument(
        "--workers", type=int, default=default_workers(), metavar="N",
        help="number of processes that share the work; 0: only this one. The result is the same (default here: "
        "%(default)s)",
    )  # fmt: skip


def add_shard(parser: argparse.ArgumentParser, out: str) -> None:
    """Add ``--shard``; `out` is the option that names what the shards are merged into."""
    parser.add_argument(
        "--shard",
        type=_shard,
        metavar="I/N",
        help=f"do only part I of N of the work, I from 0, such as 0/4. dcap merge makes {out} of all parts",
    )
    parser.set_defaults(merged=out)


def _shard(text: str) -> Shard:
    try:
        return Shard.parse(text)
    except ConfigError as error:
        raise argparse.ArgumentTypeError(str(error).removeprefix("--shard ")) from None


def add_report(parser: argparse.ArgumentParser) -> None:
    """Add ``--report``, ``--shard`` and ``--overwrite`` of a command whose result is a report."""
    parser.add_argument(
        "--report", type=Path, metavar="FILE.json", help="write the report as JSON; an older one is replaced"
    )
    add_shard(parser, "--report")
    parser.add_argument("--overwrite", action="store_true", help="with --shard: make the part anew")


def merged_output(args: argparse.Namespace) -> Path | None:
    """Return what the shards of a command with `add_shard` are merged into."""
    out: Path | None = getattr(args, args.merged.removeprefix("--"))
    return out


def shard_folder(args: argparse.Namespace) -> ShardFolder | None:
    """Return the place of the shard that is asked for. `None`: the whole is.

    Args:
        args: Parsed arguments, by `parse_command`, of a command with `add_shard`.

    Raises:
        ConfigError: The shards have no output.
    """
    if args.shard is None:
        return None
    out = merged_output(args)
    if out is None:
        raise ConfigError(f"--shard must come with {args.merged}, which dcap merge makes of all shards")
    if is_stream(out):
        raise ConfigError(
            f"{args.merged} must be a file where --shard is given, as the shards are beside it, not {out}"
        )
    return ShardFolder(out, args.shard, tuple(args.argv), args.merged)


def inputs_of(paths: Sequence[Path]) -> list[list[str]]:
    """Return names and digests of the files that a shard reads, as plain data. Records that are made have a name only.

    Raises:
        OSError: A file cannot be read.
    """
    from dcap.records.files.generated import is_generated

    return [[str(path), "" if is_generated(path) else digest_input(path)] for path in paths]


def parse_command(parser: CommandParser, argv: Sequence[str]) -> argparse.Namespace:
    """Parse as ``parse_args`` does, with KEY=VALUE behind options too, where the command takes any.

    Args:
        parser: Of ``dcap``.
        argv: The words after ``dcap``; they become the attribute ``argv``.
    """
    args, left = parser.parse_known_args(argv)
    takes = hasattr(args, "overrides")
    changes = [item for item in left if takes and "=" in item.lstrip("=") and not item.startswith("-")]
    unknown = [item for item in left if item not in changes]
    if unknown:
        parser.error(f"unrecognized arguments: {printable(' '.join(unknown))}{_full_names(unknown, parser.options())}")
    if changes:
        args.overrides = [*args.overrides, *changes]
    args.argv = list(argv)
    return args


def _full_names(unknown: Sequence[str], options: set[str]) -> str:
    """Return a hint at the options that unknown words abbreviate or misspell."""
    for word in (word.partition("=")[0] for word in unknown if word.startswith("--") and word != "--"):
        begun = sorted(option for option in options if option.startswith(word))
        if begun:
            return f". Options must be written in full: {' or '.join(begun)}, not {printable(word)}"
        if near := nearest(word, options, 0.75):
            return f"; did you mean {near}?"
    return ""


def add_sixteen_bit(parser: argparse.ArgumentParser, when: str) -> None:
    """Add ``--sixteen-bit``; `when` begins its help."""
    parser.add_argument(
        "--sixteen-bit",
        choices=get_args(SixteenBit),
        default="full",
        help=f"{when}, which values of 16-bit grey images become black and white: 0 and 65535, the smallest and the "
        "largest of the image, or its 1st and 99th percentile (default: full)",
    )


def add_max_image_pixels(parser: argparse.ArgumentParser) -> None:
    """Add ``--max-image-pixels``."""
    from dcap.geometry.canvas import MAX_PIXELS

    parser.add_argument(
        "--max-image-pixels",
        type=int,
        default=MAX_PIXELS,
        metavar="N",
        help="refuse images with more than N pixels, height times width (default: %(default)s)",
    )


def add_model(group: argparse._ActionsContainer, *, required: bool = True) -> None:
    """Add the options that say which model is asked, and how it was trained to be asked."""
    group.add_argument("--model", required=required, metavar="NAME", help="base model: hub id, folder or builtin:NAME")
    group.add_argument("--adapter", type=Path, metavar="DIR", help="folder of an adapter that dcap train wrote")
    group.add_argument("--dataset", metavar="NAME", help="use the prompt of this data set of data.mixture")


def add_engine(parser: argparse.ArgumentParser) -> None:
    """Add the options that say where the model runs; `engine_options` reads them."""
    group = parser.add_argument_group("where the model runs")
    group.add_argument(
        "--engine",
        default="hf",
        metavar="NAME",
        help="hf: in this process; openai:URL: on a server that speaks OpenAI's protocol, such as vLLM (default: hf)",
    )
    add_local_engine(group)
    group.add_argument(
        "--quantization",
        choices=("none", "nf4"),
        help="how the weights of the language model are held (default: as when the adapter was trained)",
    )
    add_server(group)


def add_server(group: argparse._ArgumentGroup) -> None:
    """Add the options of a model on a server."""
    group.add_argument(
        "--server-model", metavar="NAME", help="name of the model on the server (default: the only one that it has)"
    )
    group.add_argument(
        "--concurrency", type=int, default=16, metavar="N", help="requests to the server at a time (default: 16)"
    )
    group.add_argument(
        "--timeout",
        type=finite_number,
        default=600.0,
        metavar="S",
        help="seconds without a sign of life of the server before a request is sent again (default: 600)",
    )


def add_local_engine(group: argparse._ArgumentGroup) -> None:
    """Add the options of a model in this process."""
    group.add_argument("--revision", metavar="REV", help="hub revision of the model")
    group.add_argument("--batch-size", type=int, default=4, metavar="N", help="number of images at a time (default: 4)")
    group.add_argument(
        "--dtype",
        choices=("float32", "bfloat16", "float16"),
        help="type of the weights (default: bfloat16 on CUDA, else float32)",
    )
    group.add_argument("--device", metavar="NAME", help="cuda, cuda:1 or cpu (default: cuda where there is one)")


def engine_options(args: argparse.Namespace, engine: str) -> EngineOptions:
    """Return what `add_engine` has read, or `add_local_engine` and `add_server`, or `add_server` alone.

    What the command does not take is as `EngineOptions` has it; ``quantization`` may be given as a default.

    Args:
        args: Parsed arguments.
        engine: As `EngineOptions.engine`.

    Raises:
        ConfigError: There is no such engine, or a number is out of its range.
    """
    from dcap.infer.loading import EngineOptions

    taken: dict[str, Any] = {name: getattr(args, name) for name in ("batch_size", "quantization") if name in args}
    return EngineOptions(
        engine=engine,
        **taken,
        revision=args.revision,
        dtype=args.dtype,
        device=args.device,
        server_model=args.server_model,
        concurrency=args.concurrency,
        timeout_s=args.timeout,
    )


def check_predictions(option: str, out: Path, data: Sequence[Path], args: argparse.Namespace, *others: Output) -> None:
    """Refuse a prediction file whose name is that of something which is read.

    Args:
        option: Option that names the file.
        out: The file. One that is there is continued, or says what to do.
        data: The records that are asked about.
        args: Parsed arguments, with ``model`` and ``adapter``.
        others: What else the command writes.

    Raises:
        ConfigError: An output is a file that is read, or another output, or would destroy a file.
    """
    from dcap.infer.prediction_file import left_out_path
    from dcap.infer.source import model_files

    written = [Output(option, path, True) for path in (out, meta_path(out), left_out_path(out))]
    check_outputs([*written, *others], data)
    check_outputs(written[:1], model_files(args.model, args.adapter))


def add_max_new_tokens(group: argparse._ActionsContainer) -> None:
    """Add ``--max-new-tokens``."""
    group.add_argument(
        "--max-new-tokens", type=int, default=4096, metavar="N", help="longest answer, in tokens (default: 4096)"
    )


def add_decoding(parser: argparse.ArgumentParser) -> None:
    """Add the options that say how answers are written; `decoding_options` reads them."""
    group = parser.add_argument_group("how answers are written")
    add_max_new_tokens(group)
    group.add_argument(
        "--temperature",
        type=finite_number,
        default=0.0,
        metavar="T",
        help="0: always the most probable token; above 0: draw each token (default: 0)",
    )
    group.add_argument(
        "--top-p",
        type=finite_number,
        default=1.0,
        metavar="P",
        help="draw from tokens that together have this probability",
    )
    group.add_argument("--top-k", type=int, default=0, metavar="K", help="draw from the K most probable tokens; 0: all")
    group.add_argument(
        "--repetition-penalty",
        type=finite_number,
        default=1.0,
        metavar="X",
        help="above 1: make tokens that were used less likely",
    )
    group.add_argument("--seed", type=int, default=0, metavar="N", help="seed of what is drawn (default: 0)")
    group.add_argument("--stop", nargs="+", default=(), metavar="TEXT", help="end an answer before one of these texts")
    group.add_argument(
        "--constrained",
        action="store_true",
        help="write nothing but answers in the trained format; faster, since what must come next is not asked for",
    )
    group.add_argument(
        "--stop-repeats", type=int, metavar="N", help="end an answer behind an object that was written N times before"
    )


def decoding_options(args: argparse.Namespace) -> Decoding:
    """Return what `add_decoding` has read.

    Raises:
        ConfigError: A number is out of its range.
    """
    from dcap.model.decoding import Decoding

    return Decoding(
        max_new_tokens=args.max_new_tokens,
        temperature=args.temperature,
        top_p=args.top_p,
        top_k=args.top_k,
        repetition_penalty=args.repetition_penalty,
        seed=args.seed,
        stop=tuple(args.stop),
        grammar=args.constrained,
        stop_repeats=args.stop_repeats,
    )


def add_pruning(parser: argparse.ArgumentParser) -> None:
    """Add the options that drop objects of an answer; `pruning_options` reads them."""
    group = parser.add_argument_group("objects that are dropped")
    group.add_argument(
        "--drop-repeats", action="store_true", help="drop objects that repeat an earlier one of the answer exactly"
    )
    group.add_argument(
        "--suppress-iou",
        type=finite_number,
        metavar="IOU",
        help="drop boxes and polygons that overlap a better one of the same caption by more than this exact IoU",
    )
    group.add_argument(
        "--least-score",
        type=finite_number,
        metavar="SCORE",
        help="drop objects with a lower score; those without one stay",
    )


def pruning_options(args: argparse.Namespace) -> Pruning:
    """Return what `add_pruning` has read.

    Raises:
        ConfigError: A number is out of its range.
    """
    from dcap.evaluate.repeats import Pruning

    return Pruning(args.drop_repeats, args.suppress_iou, args.least_score)


def finite_number(text: str) -> float:
    """Return the number that an option is given.

    Raises:
        ArgumentTypeError: It is no number, or one without an end, such as ``nan`` and ``inf``.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"must be a finite number, not {text!r}")
    return value


def require_at_least(args: argparse.Namespace, least: int, *names: str) -> None:
    """Check options that hold numbers. An option that was not given is fine.

    Args:
        args: Parsed arguments.
        least: Smallest legal value.
        names: The options, as attributes of `args`.

    Raises:
        ConfigError: A number is too small.
    """
    for name in names:
        value = getattr(args, name)
        if value is not None and value < least:
            raise ConfigError(f"--{name.replace('_', '-')} must be at least {least}, not {value}")


def require_image_bound(args: argparse.Namespace, name: str) -> None:
    """Check an option that bounds the pixels of an image.

    Args:
        args: Parsed arguments.
        name: The option, as attribute of `args`.

    Raises:
        ConfigError: The number is below 1, or above what any image may have.
    """
    from dcap.geometry.canvas import MOST_PIXELS

    require_at_least(args, 1, name)
    value = getattr(args, name)
    if value > MOST_PIXELS:
        raise ConfigError(f"--{name.replace('_', '-')} must be at most {MOST_PIXELS}, not {value}")
