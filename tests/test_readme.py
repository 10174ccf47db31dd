"""What the README shows must work as it stands."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from dcap.core.config import build
from dcap.data.config import DataConfig
from dcap.records.files.paths import expand_sources
from support.plugin_cases import distribution, run_beside

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.+?)```", README, re.DOTALL)


def test_pictures_exist() -> None:
    pictures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", README)
    assert pictures
    assert [p for p in pictures if not (ROOT / p).is_file()] == []


def test_the_record_is_legal() -> None:
    from dcap.records.record import Origin, parse_record

    text = next(block for block in blocks("json") if '"images"' in block)
    record = parse_record(json.dumps(json.loads(text)).encode(), Origin("readme.jsonl", 1))
    assert record.captions == ("sandwich", "cup", "road, paved")


def test_library_example() -> None:
    scope: dict[str, Any] = {}
    exec(next(block for block in blocks("python") if "dcap.geometry" in block), scope)
    assert len(scope["visible"].shapes) == 2
    assert (scope["visible"].visible_fraction <= 1).all()


def test_the_mixture_is_legal() -> None:
    text = next(block for block in blocks("yaml") if "mixture:" in block)
    data = build(DataConfig, yaml.safe_load(text)["data"], "data")
    assert [entry.rule for entry in data.entries("train")] == ["target", "weight 2", "ratio 0.25", "ratio 0.1"]
    assert data.of_entry(data.mixture[0]).answer.prompts.dense == data.domains["telecom"]["dense"]


@pytest.fixture(scope="module")
def extended() -> dict[str, Any]:
    scope: dict[str, Any] = {"__name__": __name__}
    for sign in ("@register(", "@PREPROCESSORS.register("):
        exec(next(block for block in blocks("python") if sign in block), scope)
    return scope


def test_files_that_hold_images_are_written_as_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from dcap.cli.__main__ import main

    monkeypatch.chdir(tmp_path)
    exec(next(block for block in blocks("python") if "write_table" in block), {})
    assert main(["validate", "photos.parquet", "photos-0000.tar", "--decode", "--root", str(tmp_path)]) == 0
    assert "8 good, 0 bad" in capsys.readouterr().out
    (command,) = re.findall(r"^dcap validate (.*\.tar.*?)  +#", "\n".join(blocks("bash")), re.MULTILINE)
    for name in ("data/a.jsonl.gz", "val.parquet", "shards/a.tar", *(f"more/train-{i:04}.tar" for i in range(128))):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert len(expand_sources(shlex.split(command))) == 131


def test_an_op_is_added_as_shown(tmp_path: Path) -> None:
    """File, test and line of registration as pasted, as an installed package has them."""
    op, test = (next(block for block in blocks("python") if sign in block) for sign in ("@register(", "def test_"))
    points = tomllib.loads(blocks("toml")[0])["project"]["entry-points"]
    folder = distribution(tmp_path, "my-package", points, {"my_package.py": op})
    (tmp_path / "test_my_package.py").write_text(test)
    for command, said in (
        (["pytest", "-q", "-c", "/dev/null", str(tmp_path / "test_my_package.py")], "1 passed"),
        (["dcap.cli", "schema", "--ops"], "nudge: Shift by a few pixels.\n  max_px = 8.0\n      Largest shift along"),
    ):
        done = run_beside(folder, [sys.executable, "-m", *command])
        assert (done.returncode, said in done.stdout) == (0, True), done.stdout + done.stderr


@pytest.mark.usefixtures("extended")
def test_extensions_are_used_by_name(tmp_path: Path, tiny_folder: Path) -> None:
    from dcap.answers.codec import parse
    from dcap.core.config import build
    from dcap.data.dataset import DenseCaptionDataset
    from dcap.train.config import RunConfig

    record = {"images": ["a.png"], "width": 64, "height": 64, "objects": [{"desc": "CUP", "bbox_2d": [16, 16, 48, 48]}]}
    (tmp_path / "r.jsonl").write_text(json.dumps(record))
    from PIL import Image

    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(tmp_path / "a.png")
    answer = {"format": "named_list", "prompts": {"name": "short"}, "min_pixels": 4096}
    tree = {
        "model": {"name_or_path": str(tiny_folder)},
        "data": {"train": str(tmp_path / "r.jsonl"), "preprocessors": [{"name": "lower_case"}], "answer": answer},
        "augmentation": {"ops": [{"name": "nudge", "params": {"max_px": 8}}]},
        "training": {"output_dir": str(tmp_path)},
    }
    sample = DenseCaptionDataset(build(RunConfig, tree))[0]
    assert sample.answer.startswith('[{"bbox_2d": [')
    assert '"name": "cup"' in sample.answer
    assert "nudge: by (" in sample.augmented.plan.describe()
    dataset = DenseCaptionDataset(build(RunConfig, tree))
    assert dataset.profile.prompts.dense == "List the objects."
    assert parse(sample.answer, dataset.profile.answer).captions == ("cup",)


def test_the_config_is_complete() -> None:
    import yaml

    from dcap.core.config import build
    from dcap.train.config import RunConfig

    config = build(RunConfig, yaml.safe_load(blocks("yaml")[0]))
    assert config.data.global_max_length == 12_000


def test_the_conversion_works_as_pasted(tmp_path: Path) -> None:
    commands = re.search(r"<!-- convert -->\n```bash\n(.+?)```", README, re.DOTALL)
    assert commands
    binary = f'dcap() {{ "{sys.executable}" -m dcap.cli "$@"; }}; python() {{ "{sys.executable}" "$@"; }}\n'
    command = ["bash", "-euc", binary + commands[1]]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, "no problems" in done.stdout) == (0, True), done.stdout + done.stderr
