"""``python -m dcap.train CONFIG [key=value ...]``, alone or under ``accelerate launch -m`` or ``torchrun -m``."""

from __future__ import annotations

import argparse
import dataclasses
import sys
import typing
from collections.abc import Iterator, Sequence

from dcap.core import log
from dcap.core.errors import ConfigError, DcapError
from dcap.core.schema import field_docs
from dcap.train.config import RunConfig, load_run_config

USAGE = """\
launch:
  python -m dcap.train configs/demo.yaml                               one process
  accelerate launch --multi_gpu --num_processes 8 -m dcap.train configs/x.yaml
  ACCELERATE_USE_CPU=true torchrun --nproc_per_node 2 -m dcap.train configs/x.yaml
                                                                       two CPU processes (accelerate launch --cpu
                                                                       would start one, without a word)
exit code: 0 done, or stopped and saved after SIGTERM; 1 the run failed; 2 the config cannot work

fields (set in the YAML, or as key=value here):
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Train as the arguments say and return the exit code."""
    args = build_parser().parse_args(argv)
    log.setup()
    try:
        # torch is imported only when the config is known to be good.
        config = load_run_config(args.config, args.overrides)
        from dcap.train.loop import train

        train(config)
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
        epilog=USAGE + "\n".join(field_lines(RunConfig)),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("config", help="YAML config of the run")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="training.learning_rate=1e-4, and so on")
    return parser


def field_lines(cls: type, prefix: str = "") -> Iterator[str]:
    """Yield a line for each field of a config dataclass: dotted name, default, description."""
    docs, hints = field_docs(cls), typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        name, hint = prefix + field.name, hints[field.name]
        if isinstance(hint, type) and dataclasses.is_dataclass(hint):
            yield from field_lines(hint, f"{name}.")
        else:
            default = "" if field.default is dataclasses.MISSING else f" = {field.default}"
            # argparse formats help with %.
            yield f"  {name}{default}\n      {docs.get(field.name, '')}".replace("%", "%%")


if __name__ == "__main__":
    sys.exit(main())
