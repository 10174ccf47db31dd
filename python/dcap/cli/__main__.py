"""Entry point of the ``dcap`` command: hands over to a subcommand, turns errors into one line."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from tempfile import gettempdir

from dcap import __version__
from dcap.cli.arguments import CommandParser, parse_command
from dcap.core import log
from dcap.core.errors import DcapError, nearest_hint
from dcap.core.files import FULL
from dcap.core.packages import missing_package

COMMANDS = (
    "doctor", "guide", "scenes", "init", "convert", "validate", "audit", "preview", "mix", "inspect", "lengths",
    "train", "predict", "merge", "evaluate", "export", "serve-check", "replay", "schema",
)  # fmt: skip

EXIT_ERROR = 2
EXIT_INTERRUPTED = 130
EXIT_BROKEN_PIPE = 141

DESCRIPTION = "Fine-tune Qwen3-VL to describe an image as a list of located objects, and run the tuned model."

EPILOG = """\
in this order, on your own data:
  dcap doctor                                          is this machine ready?
  dcap guide                                           how to use dcap, page by page; dcap guide training shows one
  dcap scenes --out runs/scenes num=200                rendered scenes with exact labels, to try things on
  dcap init --from instances.json                      a config for your data, and records where it is something else
  dcap convert coco instances.json -o train.jsonl      annotations of other tools; skip it with records of your own
  dcap validate train.jsonl                            list every problem of the records and images
  dcap audit configs/mine.yaml                         check the data as training will see it
  dcap preview configs/mine.yaml --out preview         look at samples before and after augmentation
  dcap mix configs/mine.yaml                           several data sets: what an epoch takes of each
  dcap inspect configs/mine.yaml                       tokens, rows, memory and hours of the run
  dcap lengths configs/mine.yaml --out lengths.jsonl   tokens of each sample
  dcap train configs/mine.yaml training.max_steps=20   try a few steps, then all of them
  dcap predict --model BASE --adapter runs/mine/final --data val.jsonl --out pred.jsonl
  dcap merge pred.jsonl                                one file of the parts that several machines made
  dcap evaluate --truth val.jsonl --pred pred.jsonl    precision, recall, F1, captions
  dcap export --model BASE --adapter runs/mine/final --out exported   one folder that any server loads
  dcap serve-check http://localhost:8000 --model BASE --adapter runs/mine/final --data val.jsonl   does it serve that?
  dcap replay --config configs/mine.yaml --epoch 3 --index 17 --out replay   one sample again, to the pixel

a first run on rendered scenes, with a small model, no GPU and no download:
  dcap train configs/scenes.yaml

several GPUs:
  accelerate launch -m dcap.train configs/mine.yaml

exit codes: 0 fine, 1 problems were found and listed, 2 an error that the last line names, 130 interrupted;
dcap train has its own, see dcap train --help.
"""


def build_parser(commands: Sequence[str] = COMMANDS) -> CommandParser:
    """Return the parser of ``dcap`` with the named subcommands; each one sets ``run``."""
    parser = CommandParser(
        prog="dcap",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"dcap {__version__}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND")
    for command in commands:
        import_module(f"dcap.cli.{command.replace('-', '_')}").add_parser(subparsers)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one ``dcap`` command.

    Args:
        argv: Arguments without the program's name. `None`: those of the process.

    Returns:
        Exit code: 0, 1 when a command found problems and listed them, 2 on an error that was named on stderr,
        130 when interrupted, 141 when the reader of the output went away.
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    if argv[:1] and not argv[0].startswith("-") and argv[0] not in COMMANDS:
        build_parser(()).error(f"COMMAND must be one of dcap's, not {argv[0]!r}{nearest_hint(argv[0], COMMANDS)}")
    # A known command loads only its own code. It starts sooner, and doctor works even if another command is broken.
    parser = build_parser(argv[:1] if argv[:1] and argv[0] in COMMANDS else COMMANDS)
    args = parse_command(parser, argv)
    if not hasattr(args, "run"):
        parser.print_help(sys.stderr)
        return EXIT_ERROR
    log.setup()
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A text that the encoding of the output lacks is no reason to fail; stderr has this from the start.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        code = int(args.run(args))
        sys.stdout.flush()
    except DcapError as error:
        return _fail(error)
    except ModuleNotFoundError as error:
        missing = missing_package(error.name or "")
        if missing is None:
            raise
        return _fail(missing)
    except BrokenPipeError:
        _drop_output()
        return EXIT_BROKEN_PIPE
    except OSError as error:
        if error.filename is None and error.errno in FULL:
            _drop_output()
            return _fail(f"stdout, or {gettempdir()}, must have room for what is written: {error.strerror}")
        if error.filename is None:
            raise
        return _fail(f"{error.filename}: {error.strerror}")
    except KeyboardInterrupt:
        log.print_error("interrupted")
        return EXIT_INTERRUPTED
    return code


def _drop_output() -> None:
    """Send what is left of stdout nowhere: Python flushes it once more at exit and would complain there."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fail(error: object) -> int:
    log.print_error(error)
    return EXIT_ERROR


if __name__ == "__main__":
    sys.exit(main())
