"""``dcap serve-check``: compare the answers of a server with those of the model itself."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

from dcap.cli.arguments import add_local_engine, add_max_new_tokens, add_model, add_server, engine_options
from dcap.core.files import write_whole
from dcap.core.log import get_logger
from dcap.core.outputs import JSON_MARK, check_outputs, marked, outputs_given
from dcap.core.words import to_json
from dcap.records.files.opening import expand_sources

log = get_logger(__name__)

EPILOG = """\
examples:
  dcap serve-check http://localhost:8000 --model Qwen/Qwen3-VL-4B-Instruct --adapter runs/mine/final --data val.jsonl
  dcap serve-check http://localhost:8000 --model exported --data val.jsonl --limit 50 --dtype bfloat16

Asks the server and the model in this process about the first images, greedily. First the server must count as many
tokens in the prompts as dcap does. Then the answers are compared token by token, and the coordinates of objects, their
F1 and the log-probabilities of tokens, where the server tells them. The exit code is 1 when an answer differs. Where
some must differ, as with quantised weights, dcap export --check-url compares by how far objects move.

Give the --dtype of the server: rounding alone may change an answer. The key, if the server wants one, comes from the
environment variable DCAP_API_KEY.

next: dcap predict --engine openai:http://localhost:8000 --model BASE --adapter runs/mine/final --data val.jsonl --out
pred.jsonl
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``dcap serve-check`` to the command line."""
    parser = subparsers.add_parser(
        "serve-check",
        help="compare the answers of a server with those of the model",
        description="Find out whether a server answers as the model itself does.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("url", metavar="URL", help="address of the server, such as http://localhost:8000")
    add_model(parser)
    parser.add_argument("--data", required=True, nargs="+", metavar="FILE", help="files of records to compare on")
    parser.add_argument("--limit", type=int, default=20, metavar="N", help="number of images (default: 20)")
    add_max_new_tokens(parser)
    parser.add_argument("--root", type=Path, metavar="DIR", help="stop at an image outside this folder")
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write the comparison as JSON; an older one is replaced"
    )
    add_local_engine(parser.add_argument_group("the model in this process"))
    add_server(parser.add_argument_group("the server"))
    # As a server has it: the weights of the base as they are.
    parser.set_defaults(run=run, quantization="none")


def run(args: argparse.Namespace) -> int:
    """Compare; the exit code is 1 when an answer differs.

    Raises:
        ConfigError: ``--json`` names an input, or a file that is not to be replaced.
    """
    # torch and transformers take seconds to import.
    from dcap.infer.loading import OPENAI
    from dcap.infer.serve_check import ServeCheckOptions, check_server
    from dcap.infer.source import find_source

    engine = engine_options(args, f"{OPENAI}{args.url}")
    data = tuple(expand_sources(args.data))
    check_outputs(outputs_given(("--json", args.json, JSON_MARK)), data)
    options = ServeCheckOptions(engine, data, args.limit, args.max_new_tokens, args.root)
    source = find_source(args.model, args.adapter, args.dataset, quantization=engine.quantization)
    found = check_server(source, options)
    for line in found.lines():
        log.info("%s", line)
    if args.json:
        write_whole(args.json, to_json(marked("serve-check", asdict(found))) + "\n")
    if not found.passes:
        log.warning("the server gives other answers to %d of %d questions", len(found.gaps), found.written.answers)
    return 0 if found.passes else 1
