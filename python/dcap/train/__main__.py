"""``python -m dcap.train CONFIG [key=value ...]``, alone or under ``accelerate launch -m`` or ``torchrun -m``."""

from __future__ import annotations

import argparse
import dataclasses
import json
import signal
import sys
import textwrap
import typing
from collections.abc import Iterator, Sequence
from typing import Any

from dcap.core import log
from dcap.core.config import to_tree
from dcap.core.errors import ConfigError, DcapError, StoppedError
from dcap.core.schema import field_docs
from dcap.train.config import RunConfig, load_run_config

EXIT_INTERRUPTED = 128 + signal.SIGINT
EXIT_STOPPED = 128 + signal.SIGTERM

EXIT_CODES = f"""\
exit codes:
  0    the run is finished
  1    the run failed
  2    the config cannot work
  {EXIT_INTERRUPTED}  Ctrl-C: what no checkpoint holds is lost; the same command resumes from the newest one
  {EXIT_STOPPED}  SIGTERM: the step at hand was finished and saved; the same command resumes there
  accelerate launch and torchrun exit with 1, and say so, whenever one of their processes does not exit with 0.
"""

USAGE = """\
launch:
  python -m dcap.train configs/scenes.yaml                             one process
  accelerate launch --multi_gpu --num_processes 8 -m dcap.train configs/x.yaml
  torchrun --nproc_per_node 2 -m dcap.train configs/x.yaml             two processes on a machine without GPUs

fields (set in the YAML, or as key=value here; null: no value):
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Train as the arguments say and return the exit code."""
    args = build_parser().parse_args(argv)
    log.setup()
    try:
        # torch is imported only when the config is known to be good.
        config = load_run_config(args.config, args.overrides)
        from dcap.model.cpu_threads import set_cpu_threads
        from dcap.train.loop import train

        set_cpu_threads(config.model.name_or_path)
        train(config)
    except StoppedError:
        return EXIT_STOPPED
    except KeyboardInterrupt:
        log.print_error("interrupted; the same command resumes from the newest checkpoint")
        return EXIT_INTERRUPTED
    except ConfigError as error:
        return _failed(error, 2)
    except DcapError as error:
        return _failed(error, 1)
    return 0


def _failed(error: DcapError, code: int) -> int:
    log.print_error(error)
    return code


def build_parser() -> argparse.ArgumentParser:
    """Return the argument parser; its help lists every field of a config."""
    parser = argparse.ArgumentParser(
        prog="python -m dcap.train",
        description="Fine-tune Qwen3-VL for dense captioning, as a YAML config says.",
        epilog=EXIT_CODES + "\n" + USAGE + "\n".join(field_lines(RunConfig)),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("config", help="YAML config of the run")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="training.learning_rate=1e-4, and so on")
    return parser


def field_lines(cls: type, prefix: str = "") -> Iterator[str]:
    """Yield lines for each field of a config dataclass: dotted name, default as in YAML, choices, description.

    Fields of what a list or an optional section holds follow it, as ``data.mixture[].name``.
    """
    docs, hints = field_docs(cls), typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        name, hint = prefix + field.name, hints[field.name]
        if isinstance(hint, type) and dataclasses.is_dataclass(hint):
            yield from field_lines(hint, f"{name}.")
            continue
        default = "" if field.default is dataclasses.MISSING else f" = {_in_yaml(field.default)}"
        text = " ".join(docs.get(field.name, "").replace("`", "").split())
        wrapped = textwrap.fill(text, 110, initial_indent=_INDENT, subsequent_indent=_INDENT)
        yield f"  {name}{default}{_choices(hint)}\n{wrapped}".replace("%", "%%")  # argparse formats help with %
        for inner in typing.get_args(hint):
            if isinstance(inner, type) and dataclasses.is_dataclass(inner):
                yield from field_lines(inner, f"{name}[]." if typing.get_origin(hint) is tuple else f"{name}.")


_INDENT = " " * 6


def _choices(hint: Any) -> str:
    """Return the words that a field takes, where it takes nothing else."""
    for kind in (hint, *typing.get_args(hint)):
        if typing.get_origin(kind) is typing.Literal:
            return f"  ({' | '.join(map(str, typing.get_args(kind)))})"
    return ""


def _in_yaml(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(to_tree(value))


if __name__ == "__main__":
    sys.exit(main())
