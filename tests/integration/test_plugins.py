"""Ops and colour steps of an installed package: found by name alone, in processes that never import it themselves."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from support.forks import Forks
from support.plugin_cases import distribution, run_beside

MODULE = """
from dataclasses import dataclass

import numpy as np

from dcap.augment.color import TableStep
from dcap.augment.policy import Recolor


@dataclass(frozen=True)
class Darker(TableStep):
    by: int

    def table(self):
        return (np.arange(256) // self.by).astype(np.uint8)


@dataclass(frozen=True)
class Night:
    \"\"\"Divide all values by a whole number.\"\"\"

    most: int = 4
    \"\"\"Largest divisor, at least 2.\"\"\"

    def sample(self, view, rng):
        by = int(rng.integers(2, self.most + 1))
        return Recolor((Darker(by),), f"divided by {by}")
"""
POINTS = {"dcap.ops": {"night": "far_away:Night"}, "dcap.color_steps": {"darker": "far_away:Darker"}}
OPS = "augmentation.ops=[{name: night, params: {most: 2}}]"
MICRO = "model.name_or_path=builtin:micro"

DRAW = """
import numpy as np
from dcap.augment import Pipeline, Scene
from dcap.core.random import generator
from dcap.geometry import Canvas, ShapeArray

image = np.full((32, 64, 3), 200, np.uint8)
pipeline = Pipeline.from_config([{"name": "night", "params": {"most": 2}}])
result = pipeline(Scene(Canvas(32, 64), ShapeArray.empty(), (), image), generator(0))
assert (result.scene.image == 100).all()
print(result.plan.to_json())
"""
READ = """
import sys
import numpy as np
from dcap.augment import Plan, render

assert "far_away" not in sys.modules
plan = Plan.from_json(sys.argv[1])
assert (render(np.full((32, 64, 3), 200, np.uint8), plan) == 100).all()
print(plan.describe())
"""

COMMAND = """
import sys
from dcap.cli.__main__ import main

sys.path.insert(0, sys.argv[1])
sys.exit(main(sys.argv[2:]))
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return distribution(tmp_path_factory.mktemp("plugin"), "far-away", POINTS, {"far_away.py": MODULE})


def test_a_plan_with_a_step_from_outside_is_read_where_nothing_imports_it(site: Path) -> None:
    drawn = run_beside(site, [sys.executable, "-c", DRAW])
    assert drawn.returncode == 0, drawn.stderr
    assert json.loads(drawn.stdout)["color"] == [{"step": "darker", "params": {"by": 2}}]
    read = run_beside(site, [sys.executable, "-c", READ, drawn.stdout])
    assert read.returncode == 0, read.stderr
    assert read.stdout == "64x32 -> 64x32\nnight: divided by 2\n"


def test_the_command_uses_an_op_from_outside(site: Path, tmp_path: Path, forks: Forks) -> None:
    command = (COMMAND, str(site), "preview", "builtin:photos/val.jsonl", "--out", str(tmp_path), MICRO)
    done = forks.run(*command, OPS, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "night: divided by 2" in (tmp_path / "index.html").read_text("utf-8")
    wrong = forks.run(*command, OPS.replace("most", "mots"), folder=tmp_path)
    assert wrong.returncode == 2
    assert (
        "augmentation.ops[0].params.mots is not a field of augmentation.ops[0].params; did you mean most?"
        in wrong.stderr
    )
