from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from dcap.core.errors import ConfigError, StoppedError, TrainingError
from dcap.train import loop
from dcap.train.__main__ import field_lines, main
from dcap.train.config import RunConfig


@pytest.fixture
def config_file(run_tree: dict[str, Any], tmp_path: Path) -> str:
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(run_tree))
    return str(path)


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[RunConfig]:
    """Configs that would have been trained."""
    configs: list[RunConfig] = []
    monkeypatch.setattr(loop, "train", configs.append)
    return configs


def test_overrides_reach_the_run(config_file: str, trained: list[RunConfig]) -> None:
    assert main([config_file, "training.learning_rate=5e-5", "model.adapter.rank=7"]) == 0
    (config,) = trained
    assert config.training.learning_rate == 5e-5
    assert config.model.adapter.rank == 7
    assert config.training.max_steps == 4


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.learning_rte=1", "override training.learning_rte=1: training.learning_rte is not a field"),
        ("training.max_steps=0", "override training.max_steps=0: training.max_steps must be at least 1"),
        ("augmentation.ops=[{name: rotat}]", "override augmentation.ops=[{name: rotat}]: augmentation.ops[0].name: "),
        ("seed", 'override must be key=value, not "seed"'),
        (
            "trainng.num_epochs=2",
            "override trainng.num_epochs=2: trainng is not a field of the config; did you mean tra",
        ),
        (
            "data.train=nope.jsonl",
            'override data.train=nope.jsonl: data.train must name files that exist, not "nope.jsonl"',
        ),
        ("data.val=[nope]", 'override data.val=[nope]: data.val must name files that exist, not "nope"'),
        (
            "augmentation.ops=[{name: rotate, max_deg: 3}]",
            "override augmentation.ops=[{name: rotate, max_deg: 3}]: augmentation.ops[0].max_deg is not a field of "
            "augmentation.ops[0]; put it in params, as params: {max_deg: ...}",
        ),
    ],
)
def test_a_bad_config_is_one_line_and_code_2(
    config_file: str, trained: list[RunConfig], capsys: pytest.CaptureFixture[str], override: str, message: str
) -> None:
    assert main([config_file, override]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"dcap: {message}")
    assert len(error.splitlines()) == 1
    assert not trained


def test_the_file_is_blamed_for_what_is_wrong_in_it(
    config_file: str, trained: list[RunConfig], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    text = Path(config_file).read_text()
    for added, changes, message in (
        ("trainng: {seed: 1}\n", ["trainng.num_epochs=2"], "dcap: run.yaml: trainng is not a field"),
        ("", [f"data.train={tmp_path / 'empty'}"], "data.train: "),
    ):
        (tmp_path / "empty").mkdir(exist_ok=True)
        Path(config_file).write_text(text + added)
        assert main([config_file, *changes]) == 2
        assert message in capsys.readouterr().err
    (tmp_path / "data.yaml").write_text("train: images\nnames: [cup]\n")
    for name, message in (("records.jsonl", "not a file of records"), ("data.yaml", "dcap convert yolo ")):
        assert main([str(tmp_path / name)]) == 2
        assert message in capsys.readouterr().err
    assert not trained


def test_a_small_model_gets_one_thread_unless_the_user_says_how_many(
    config_file: str, trained: list[RunConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.set_num_threads(2)
    assert main([config_file]) == 0
    assert torch.get_num_threads() == 2  # OMP_NUM_THREADS is set
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main([config_file]) == 0
    assert torch.get_num_threads() == 1


def failing(error: BaseException) -> Callable[[RunConfig], None]:
    def fail(_config: RunConfig) -> None:
        raise error

    return fail


@pytest.mark.parametrize(("error", "code"), [(TrainingError("step 3: no"), 1), (ConfigError("no"), 2)])
def test_a_failed_run_is_one_line_and_a_code(
    config_file: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: Exception,
    code: int,
) -> None:
    monkeypatch.setattr(loop, "train", failing(error))
    assert main([config_file]) == code
    assert capsys.readouterr().err == f"dcap: {error}\n"


def test_a_mistake_of_ours_is_not_hidden(config_file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "train", failing(KeyError("bug")))
    with pytest.raises(KeyError, match="bug"):
        main([config_file])


def test_help_lists_every_field_with_its_meaning(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    for expected in (
        "model.adapter.rank = 16",
        "Inner dimension of the adapters.",
        "data.mixture[].weight = null",
        "augmentation.ops[].prob = 1.0",
        "augmentation.completeness.partial",
        "data.answer.prompts.system = null",
        "data.packing = true",
        "training.adam_betas = [0.9, 0.95]",
        "training.resume = auto",
        "training.min_lr_ratio = null",
        "training.lr_schedule_params\n",
        "constant | constant_with_warmup | cosine",
        "seed = 0",
        "torchrun --nproc_per_node 2",
    ):
        assert expected in text


REFUSED = {
    "training.num_epochs=none": "training.num_epochs must be an integer",
    "augmentation.ops=[{name: rotat}]": "'rotat' is not a known op; did you mean rotate?",
    "augmentation.ops=[{name: rotate, params: {max: 3}}]": "augmentation.ops[0].params.max is not a field",
    "data.preprocessors=[{name: min_object}]": "did you mean min_objects?",
    "data.answer.format=qwem": "data.answer.format: 'qwem' is not a known answer format",
    "data.answer.prompts.name=xx": "data.answer.prompts.name: 'xx' is not a known prompt set",
}
REFUSING = """
import sys
from dcap.train.__main__ import main

for override in sys.argv[2:]:
    assert main([sys.argv[1], override]) == 2
    assert not {"torch", "transformers"} & set(sys.modules)
"""


def test_a_config_is_refused_before_torch_is_imported(config_file: str) -> None:
    """One line each; one process refuses them all."""
    command = [sys.executable, "-c", REFUSING, config_file, *REFUSED]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    for line, (override, message) in zip(done.stderr.splitlines(), REFUSED.items(), strict=True):
        assert line.startswith(f"dcap: override {override}: ")
        assert message in line


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"augmentation": {"ops": [{"name": "rotat"}]}}, "run.yaml: augmentation.ops[0].name: 'rotat'"),
        ({"training": {}}, "run.yaml: training.output_dir must be given"),
    ],
)
def test_what_the_file_says_is_blamed_on_the_file(
    run_tree: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, Any], message: str
) -> None:
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(run_tree | changes))
    assert main([str(tmp_path / "run.yaml"), "seed=4", "training.save_steps=3"]) == 2
    assert capsys.readouterr().err.startswith(f"dcap: {message}")


@pytest.mark.parametrize(("error", "code"), [(StoppedError("saved"), 143), (KeyboardInterrupt(), 130)])
def test_a_run_that_was_stopped_is_no_success(
    config_file: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    code: int,
) -> None:
    monkeypatch.setattr(loop, "train", failing(error))
    assert main([config_file]) == code
    assert "Traceback" not in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["--help"])
    assert f"  {code}  " in capsys.readouterr().out


def test_the_help_gives_the_words_that_a_field_takes() -> None:
    text = "\n".join(field_lines(RunConfig))
    assert "  data.overlong = error  (error | drop | drop_objects | shrink_image)\n" in text
    assert "  training.best_mode = null  (min | max)\n" in text
    assert "  seed = 0\n" in text
