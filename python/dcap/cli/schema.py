"""``dcap schema``: the JSON Schema of the run config, the augmentation ops, and the grammar of a model's answers."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from dcap.answers.grammar import AnswerBounds, AnswerGrammar
from dcap.answers.profile import load_profile
from dcap.answers.server_grammar import to_ebnf, to_json_schema
from dcap.core.files import write_whole
from dcap.core.outputs import check_outputs, outputs_given
from dcap.train.schema import OPS_TITLE, SCHEMA_TITLE, config_schema, op_lines

_GRAMMAR_HEAD = len("root ::= ")
"""Characters by which an older grammar is known."""

EPILOG = """\
examples:
  dcap schema --ops                     every op of augmentation.ops, with its parameters and their defaults
  dcap schema --out dcap.schema.json
  then begin a config with this line, and editors with a YAML language server complete and check it:
  # yaml-language-server: $schema=dcap.schema.json

  dcap schema --answer runs/mine/final --out answer.json        response_format of any server
  dcap schema --answer runs/mine/final --language ebnf          structured_outputs.grammar of vLLM, stricter

next: dcap guide prediction
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``dcap schema`` to the command line."""
    parser = subparsers.add_parser(
        "schema",
        help="list the augmentation ops; print the JSON Schema of the config or of answers",
        description="Print the JSON Schema of a run config, so that an editor completes and checks the YAML, or list "
        "the augmentation ops. Those of other installed packages are among them. With --answer, print which answers a "
        "model may write, so that a server lets it write no others.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--ops", action="store_true", help="list the augmentation ops in words, instead of the schema")
    what.add_argument(
        "--answer", type=Path, metavar="DIR", help="the grammar of answers, by the answer profile in this folder"
    )
    parser.add_argument(
        "--language", choices=("json", "ebnf"), default="json", help="JSON Schema or EBNF, for --answer (default: json)"
    )
    for name, text in (("objects", "objects"), ("points", "points of a shape"), ("caption", "characters of a caption")):
        default = getattr(AnswerBounds(), name)
        parser.add_argument(
            f"--max-{name}",
            type=int,
            default=default,
            metavar="N",
            help=f"most {text}, for --answer (default: {default})",
        )
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="write into this file, not to the terminal; an older one is replaced"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print or write the schema, the list of ops, or the grammar of answers.

    Raises:
        PluginError: An op of another package cannot be loaded.
        CheckpointError: The folder has no answer profile.
        ConfigError: Its answers have no grammar in this language, a bound is too small, or ``--out`` names another file
            than an older one of these.
    """
    if args.ops:
        text, mark = "\n".join(op_lines()), OPS_TITLE
    elif args.answer is not None:
        text = _answer_grammar(args).rstrip("\n")
        mark = text[:_GRAMMAR_HEAD]
    else:
        text, mark = json.dumps(config_schema(), indent=2, ensure_ascii=False), SCHEMA_TITLE
    check_outputs(outputs_given(("--out", args.out, mark.encode())), ())
    text += "\n"
    if args.out is None:
        print(text, end="")
    else:
        write_whole(args.out, text)
    return 0


def _answer_grammar(args: argparse.Namespace) -> str:
    bounds = AnswerBounds(args.max_objects, args.max_points, args.max_caption)
    grammar = AnswerGrammar(load_profile(args.answer).answer, bounds=bounds)
    return to_ebnf(grammar) if args.language == "ebnf" else json.dumps(to_json_schema(grammar), indent=1)
