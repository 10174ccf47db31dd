"""``dcap lengths``: how many tokens each sample of an epoch has, as a file, and kept for training."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dcap.cli.arguments import add_overrides, add_shard, inputs_of, require_at_least, shard_folder
from dcap.core.files import written_whole
from dcap.core.line_log import LineLog
from dcap.core.log import get_logger
from dcap.core.outputs import check_outputs, outputs_given
from dcap.core.progress import progress_of
from dcap.core.shard import WholeShard, check_same, keep_pieces, pieces_of
from dcap.core.words import counted

if TYPE_CHECKING:
    from dcap.data.lengths import EpochLengths
    from dcap.train.config import RunConfig

log = get_logger(__name__)

_CHUNK = 256
"""Samples of a piece."""

EPILOG = """\
examples:
  dcap lengths configs/mine.yaml --out lengths.jsonl                   samples of the first epoch of train
  dcap lengths configs/mine.yaml --split val --out val-lengths.jsonl   of val
  dcap lengths configs/mine.yaml --out lengths.jsonl --shard 0/8 the first of eight parts: dcap guide many_machines

A line is a sample: file and line of its record, its tokens, and how many of them are the image. A sample that is left
out has 0 tokens. No image is opened.

Where nothing about samples is drawn, as in val and in train without augmentation, lengths are the same in every epoch.
They are then kept beside the records, if these are larger than 1 MiB, and training begins at once.

next: dcap inspect configs/mine.yaml
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``dcap lengths`` to the command line."""
    parser = subparsers.add_parser(
        "lengths",
        help="count the tokens of each sample, on one machine or on many",
        description="Plan the samples of an epoch and write how many tokens each has.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("config", metavar="CONFIG.yaml", help="a run's config")
    add_overrides(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.jsonl", help="file to write")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing --out")
    parser.add_argument("--split", choices=("train", "val"), default="train", help="which samples (default: train)")
    parser.add_argument("--epoch", type=int, default=0, metavar="N", help="which epoch, from 0 (default: 0)")
    add_shard(parser, "--out")
    parser.set_defaults(run=run, merge=merge)


def run(args: argparse.Namespace) -> int:
    """Write the lengths and return the exit code.

    Raises:
        ConfigError: The config is wrong, a number is negative, or ``--out`` is not to be replaced.
        RecordError: A record breaks the contract.
    """
    config, files = _checked(args)
    folder, lengths = shard_folder(args), _open(args, config)
    total = len(lengths.samples)
    if folder is None:
        return _finish(args, lengths, _pieces(lengths, range(total)))
    span = folder.shard.of(total)

    def make(kept: LineLog) -> Iterator[Any]:
        return _pieces(lengths, span[_CHUNK * kept.kept :])

    keep_pieces(folder, _made_with(args, config, files), span, total, make, args.overwrite)
    lengths.report()
    return 0


def merge(args: argparse.Namespace, shards: Sequence[WholeShard]) -> int:
    """Write the lengths of all shards as one run writes them.

    Raises:
        ConfigError: The config or the records have changed, or ``--out`` is not to be replaced.
        CheckpointError: A shard is damaged.
    """
    config, files = _checked(args)
    check_same(shards, _made_with(args, config, files))
    return _finish(args, _open(args, config), pieces_of(shards))


def _checked(args: argparse.Namespace) -> tuple[RunConfig, list[Path]]:
    """Return the config, and the files that it reads."""
    from dcap.cli.run_data import run_inputs
    from dcap.train.config import load_run_config

    require_at_least(args, 0, "epoch")
    config = load_run_config(args.config, args.overrides)
    files = run_inputs(args.config, config.data, args.split)
    # A shard replaces nothing; dcap merge does.
    check_outputs(outputs_given(("--out", args.out, args.overwrite or args.shard is not None)), files)
    return config, files


def _open(args: argparse.Namespace, config: RunConfig) -> EpochLengths:
    from dcap.cli.run_data import open_dataset
    from dcap.data.lengths import EpochLengths

    return EpochLengths(open_dataset(config, args.split), args.epoch)


def _made_with(args: argparse.Namespace, config: RunConfig, files: Sequence[Path]) -> dict[str, Any]:
    """Return what lengths depend on."""
    from dcap.cli.run_data import sample_settings

    given = {"command": "lengths", "split": args.split, "epoch": args.epoch, "inputs": inputs_of(files)}
    return {**given, "config": sample_settings(config)}


def _pieces(lengths: EpochLengths, span: range) -> Iterator[dict[str, Any]]:
    """Yield the sizes of some samples in lists, and whether there is more to say about them."""
    done = progress_of(lengths.in_chunks(span, _CHUNK), -(-len(span) // _CHUNK), f"Planning {lengths.name}")
    for sizes in done:
        yield {"sizes": list(map(list, sizes)), "noted": not lengths.notes.may_be_saved}


def _finish(args: argparse.Namespace, lengths: EpochLengths, pieces: Iterable[dict[str, Any]]) -> int:
    from dcap.data.lengths import save_fixed_sizes
    from dcap.data.packing import SampleSizes

    found, count, noted = [np.empty((0, 2), np.int64)], 0, False
    with written_whole(args.out) as file:
        for piece in pieces:
            sizes = piece["sizes"]
            file.writelines(_line(lengths, k, *each) for k, each in enumerate(sizes, count))
            found.append(np.array(sizes, np.int64))
            count += len(sizes)
            noted |= piece["noted"]
    lengths.report()
    tokens, image_tokens = np.concatenate(found).T.copy()
    left_out = int((tokens == 0).sum())
    log.info("%s, %d tokens, in %s; %d left out", counted(len(tokens), "sample"), tokens.sum(), args.out, left_out)
    if not noted and save_fixed_sizes(lengths.dataset, SampleSizes(tokens, image_tokens)):
        log.info("the lengths are kept for training")
    return 0


def _line(lengths: EpochLengths, k: int, tokens: int, image_tokens: int) -> bytes:
    """Return the line of sample `k` of the epoch."""
    records, index, draw = lengths.dataset.records, int(lengths.samples.index[k]), int(lengths.samples.draw[k])
    origin = records.files[records.file_index[index]].origin(int(records.row_index[index]))
    line: dict[str, Any] = {"source": {"file": origin.file, "line": origin.line}}
    line |= {"tile": records.tile_of(index)} if records.tiling is not None else {}
    line |= {"draw": draw} if draw else {}
    return json.dumps(line | {"tokens": tokens, "image_tokens": image_tokens}).encode() + b"\n"
