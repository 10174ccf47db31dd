"""``dcap export``: write a tuned model as a folder that any runtime loads."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dcap.cli.arguments import add_max_new_tokens, add_server, engine_options, finite_number
from dcap.core.errors import ConfigError
from dcap.core.files import write_whole
from dcap.core.log import get_logger
from dcap.core.outputs import JSON_MARK, check_outputs, marked, outputs_given
from dcap.records.files.opening import expand_sources

if TYPE_CHECKING:
    from dcap.infer.export_proof import ProofOptions
    from dcap.infer.source import ModelSource

log = get_logger(__name__)

EPILOG = """\
examples:
  dcap export --adapter runs/mine/final --model Qwen/Qwen3-VL-4B-Instruct --out exported
  dcap export --adapter runs/mine/final --model Qwen/Qwen3-VL-4B-Instruct --out exported --dtype float32
  dcap export --adapter runs/mine/final --model Qwen/Qwen3-VL-4B-Instruct --out exported --data val.jsonl --check 16
  dcap export --adapter runs/mine/final --model Qwen/Qwen3-VL-4B-Instruct --out adapter --format peft
  dcap export --adapter runs/mine/final --model Qwen/Qwen3-VL-4B-Instruct --check-model other --data val.jsonl
  dcap export --adapter runs/mine/final --model Qwen/Qwen3-VL-4B-Instruct --data val.jsonl --check 16 \
      --check-url http://localhost:8000                                      a server, such as one of a quantised model

merged (the default): the adapter becomes part of the weights, in float32 and then one cast. A cast to bfloat16 can
round a small update away; a line for each tower says how much of it survives. The folder is a whole model, for vLLM,
transformers and dcap predict --model. peft: the adapter alone, for a server that loads it beside the base; DoRA and
modules_to_save are refused, as servers do not take them.

--check compares what was written with base and adapter, both in float32: the next tokens of the answers that base and
adapter write, and the coordinates of what each writes by itself. The exit code is 1 when the mean KL is above
--max-kl, coordinates shift by more than 2 grid units (median), or F1 changes by more than 0.005; the folder is there
all the same. --check-model compares the folder of another model, such as a merge of another tool, and writes none. A
quantised one needs the package of its method here. --check-url compares what a server answers, of any model that it can
load: there are no logits then, and the answers decide. Give the --dtype of the server.

An adapter that was trained on a base in 4 bits (model.quantization) goes with the base as it is. --check then compares
twice: with base and adapter, where the limits hold, and with the model in 4 bits, which tells what changes.

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
    parser.add_argument("--model", required=True, metavar="NAME", help="base model: hub id, folder or builtin:NAME")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder to write")
    parser.add_argument("--revision", metavar="REV", help="hub revision of --model")
    parser.add_argument(
        "--format",
        choices=("merged", "peft"),
        default="merged",
        help="a whole model, or the adapter alone (default: merged)",
    )
    parser.add_argument(
        "--dtype",
        choices=("bfloat16", "float32"),
        help="type of the weights (default: bfloat16 merged; an adapter stays as it was trained); with --check-url: "
        "of the model here (default: bfloat16 on CUDA, else float32)",
    )
    parser.add_argument(
        "--shard-size", default="5GB", metavar="SIZE", help="most bytes of one file of weights (default: 5GB)"
    )
    parser.add_argument(
        "--accept-other-base", action="store_true", help="go on if the adapter was trained on other weights"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an older export in --out")
    parser.add_argument(
        "--check-model", metavar="DIR", help="write nothing; compare this folder of a whole model instead"
    )
    parser.add_argument(
        "--check-url", metavar="URL", help="write nothing; compare a server, such as http://localhost:8000, instead"
    )
    add_server(parser.add_argument_group("the server of --check-url"))
    parser.add_argument("--data", nargs="+", metavar="FILE", help="files of records to compare on")
    parser.add_argument(
        "--check", type=int, metavar="N", help="number of records to compare on (default: 8 where --data is given)"
    )
    parser.add_argument(
        "--max-kl", type=finite_number, default=1e-3, metavar="KL", help="largest mean KL that passes (default: 0.001)"
    )
    add_max_new_tokens(parser)
    parser.add_argument(
        "--device", metavar="NAME", help="where to compare: cuda, cuda:1 or cpu (default: cuda where there is one)"
    )
    parser.add_argument("--dataset", metavar="NAME", help="compare with the prompt of this data set of data.mixture")
    parser.add_argument("--root", type=Path, metavar="DIR", help="stop at an image outside this folder")
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write what export.json says, or the comparison, as JSON"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Export or compare; the exit code is 1 when the models are too far apart.

    Raises:
        ConfigError: Options are missing, or do not go together, or an output is not to be replaced.
    """
    given = [value for value in (args.out, args.check_model, args.check_url) if value is not None]
    if len(given) != 1:
        raise ConfigError("--out, --check-model or --check-url must be given, and only one of them")
    if args.data is None and (args.check is not None or args.out is None):
        raise ConfigError("--data must be given to compare on: files of records")
    _check_json(args)
    # torch and transformers take seconds to import.
    from dcap.infer.export_proof import ProofOptions, prove
    from dcap.infer.source import find_source, tuned_source
    from dcap.model.cpu_threads import set_cpu_threads

    set_cpu_threads(args.model, args.device)
    proof = None
    if args.data is not None:
        data = tuple(expand_sources(args.data))
        proof = ProofOptions(
            data,
            8 if args.check is None else args.check,
            max_kl=args.max_kl,
            max_new_tokens=args.max_new_tokens,
            device=args.device,
            root=args.root,
            dataset=args.dataset,
        )
    if args.out is not None:
        return _export(args, proof)
    assert proof is not None
    tuned = tuned_source(args.model, args.adapter)[0].not_quantised()
    tuned = tuned.of_any_base() if args.accept_other_base else tuned
    if args.check_url is not None:
        return _check_server(args, tuned, proof)
    found = prove(tuned, find_source(args.check_model, None, is_asked=False), proof, args.revision)
    if args.json:
        _write_json(args.json, asdict(found))
    return _tell(found.lines(), found.failures(proof.max_kl))


def _check_server(args: argparse.Namespace, tuned: ModelSource, proof: ProofOptions) -> int:
    from dcap.infer.loading import OPENAI
    from dcap.infer.serve_check import ServeCheckOptions, check_server

    engine = engine_options(args, f"{OPENAI}{args.check_url}")
    options = ServeCheckOptions(engine, proof.data, proof.num_records, proof.max_new_tokens, proof.root)
    found = check_server(replace(tuned, profile=proof.asked(tuned.profile)), options)
    if args.json:
        _write_json(args.json, asdict(found))
    return _tell(found.lines(), found.written.failures())


def _check_json(args: argparse.Namespace) -> None:
    data = [] if args.data is None else expand_sources(args.data)
    check_outputs(outputs_given(("--json", args.json, JSON_MARK)), data)
    if args.json is not None and args.out is not None and args.json.resolve().is_relative_to(args.out.resolve()):
        raise ConfigError(f"--json must be outside the folder of --out, which is whole as it is, not {args.json}")


def _export(args: argparse.Namespace, proof: ProofOptions | None) -> int:
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
        proof=proof,
    )
    made = export(options)
    for line in survival_lines(made.survival):
        log.info("%s", line)
    warning = loss_warning(made.survival, made.about["dtype"])
    if warning is not None:
        log.warning("%s", warning)
    if args.json:
        _write_json(args.json, made.about)
    log.info("wrote %s", made.out)
    if made.about["serve"] is None:
        log.info("no server finds %s by its name; --format merged writes a model that one can load", made.about["base"])
    else:
        log.info("serve it: %s", made.about["serve"])
    trained_with = made.about["adapter"]["quantization"]
    if trained_with != "none":
        log.info(
            "the adapter was trained on a base in 4 bits (%s), and goes with the base as it is from now on: answers "
            "differ a little from those in training",
            trained_with,
        )
    if made.proof is None or proof is None:
        log.info("it was not compared with base and adapter; --data FILE does that")
        return 0
    if made.from_quantised is not None:
        log.info("beside the model in 4 bits that was trained, where no limit holds:")
        _tell(made.from_quantised.lines(), ())
        log.info("beside base and adapter:")
    return _tell(made.proof.lines(), made.proof.failures(proof.max_kl))


def _tell(lines: Sequence[str], failures: Sequence[str]) -> int:
    for line in lines:
        log.info("%s", line)
    for failure in failures:
        log.warning("too far apart: %s", failure)
    return 1 if failures else 0


def _write_json(path: Path, tree: Mapping[str, Any]) -> None:
    write_whole(path, json.dumps(marked("export", tree), indent=2, ensure_ascii=False) + "\n")
