"""Programs in forks of one process that has imported what takes long: as fresh as a new interpreter, seconds sooner."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

IMPORTED = ("dcap.train.loop", "dcap.infer.predictor", "peft", "transformers.models.qwen3_vl.modeling_qwen3_vl")

_SERVER = """
import importlib, json, os, sys, traceback

def run(program, arguments, folder, out, environment):
    os.chdir(folder)
    for number, name in ((0, os.devnull), (1, out + ".out"), (2, out + ".err")):
        os.dup2(os.open(name, os.O_RDWR | os.O_CREAT, 0o600), number)
    os.environ.update(environment)
    sys.argv[1:] = arguments
    exec(compile(program, "<program>", "exec"), {"__name__": "__main__"})

def fork(task):
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        run(**task)
        code = 0
    except SystemExit as end:
        code = end.code or 0
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)

answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
for name in sys.argv[1:]:
    importlib.import_module(name)
for line in sys.stdin:
    asked = json.loads(line)
    told = fork(asked) if isinstance(asked, dict) else os.waitstatus_to_exitcode(os.waitpid(asked, 0)[1])
    print(told, file=answers, flush=True)
"""


_RANKS = """
import os, runpy, signal, sys
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

script, tests, limit_s, *arguments = sys.argv[1:]
os.environ.pop("ACCELERATE_USE_CPU", None)  # the plain command of the guide needs no such variable
sys.path.insert(0, tests)
main = runpy.run_path(script)["main"]

def rank():
    signal.alarm(int(limit_s))
    main(*arguments)

config = LaunchConfig(
    min_nodes=1, max_nodes=1, nproc_per_node=2, start_method="fork", max_restarts=0,
    rdzv_backend="c10d", rdzv_endpoint="localhost:0", run_id="none",
)
elastic_launch(config, rank)()
"""
"""What ``torchrun --standalone --nproc_per_node 2`` does, but that the ranks are forks."""
RANKS_LIMIT_S = 300
"""Ranks that wait for each other fail after this time."""


@dataclass(frozen=True)
class Forks:
    """A process that forks; use `forks`."""

    process: subprocess.Popen[str]
    folder: Path
    numbers: Iterator[int]

    def start(self, program: str, *arguments: str, folder: Path, **environment: str) -> Fork:
        """Start a program in a folder, with its arguments and with changes of the environment."""
        out = str(self.folder / str(next(self.numbers)))
        task = {"program": program, "arguments": arguments, "folder": str(folder), "out": out}
        return Fork(self, self.ask({**task, "environment": environment}), out)

    def run(self, program: str, *arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
        """Run a program to its end."""
        return self.start(program, *arguments, folder=folder).wait()

    def run_ranks(self, script: Path, *arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
        """Run ``main`` of a script of the tests with its arguments on two ranks, as torchrun starts them."""
        tests = str(Path(__file__).parents[1])
        return self.run(_RANKS, str(script), tests, str(RANKS_LIMIT_S), *arguments, folder=folder)

    def ask(self, question: Any) -> int:
        """Write a line and read a number."""
        asks, answers = self.process.stdin, self.process.stdout
        assert asks is not None
        assert answers is not None
        print(json.dumps(question), file=asks, flush=True)
        return int(answers.readline())


@dataclass(frozen=True)
class Fork:
    """A program that runs, or ran."""

    forks: Forks
    pid: int
    out: str

    def wait(self) -> subprocess.CompletedProcess[str]:
        """Return what it left; a negative exit code is the signal that ended it."""
        code = self.forks.ask(self.pid)
        told = [Path(self.out + ending).read_text("utf-8") for ending in (".out", ".err")]
        return subprocess.CompletedProcess([], code, *told)


@contextmanager
def forks() -> Iterator[Forks]:
    """Start the process that forks, with one thread for its arithmetic, and end it."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", _SERVER, *IMPORTED]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        ) as process:
            yield Forks(process, Path(folder), itertools.count())
            assert process.stdin is not None
            process.stdin.close()
