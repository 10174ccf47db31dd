"""What ``test_parallel.py`` runs on two processes: ``main(OUT, WHAT, ...)``.

OUT holds a config for each case, and one for each run that hops from one number of ranks to another. WHAT is ``cases``,
or a hop: the run, the number of the hop, and ``ddp`` or ``fsdp``, as ``full:2:fsdp``.
"""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

import torch

from dcap.train import weights
from dcap.train.config import load_run_config
from dcap.train.parallel import build_accelerator
from support.sharded_runs import CASES, go_on, make_steps


def main(folder: str, *wanted: str) -> None:
    out = Path(folder)
    torch.set_num_threads(1)
    weights.PIECE_BYTES = 100_000
    with ExitStack() as closing:
        for each in wanted:
            if each == "cases":
                try_cases(out, closing)
            else:
                name, number, parallel = each.split(":")
                go_on(out, name, int(number), parallel, closing)


def try_cases(out: Path, closing: ExitStack) -> None:
    """Make the steps of each case, and write what came out."""
    configs = {name: load_run_config(out / f"{name}.yaml") for name in CASES}
    accelerator = build_accelerator(configs["ddp lora"])
    closing.callback(accelerator.end_training)
    rank = accelerator.process_index
    found = {name: asdict(make_steps(config, [rank], out / f"{name}.safetensors")) for name, config in configs.items()}
    (out / f"found-{rank}.json").write_text(json.dumps(found))
