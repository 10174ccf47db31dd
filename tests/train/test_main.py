from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from dcap.core.errors import ConfigError, TrainingError
from dcap.train import loop
from dcap.train.__main__ import main
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
        ("training.learning_rte=1", "training.learning_rte is not a field"),
        ("training.max_steps=0", "max_steps must be at least 1"),
        ("seed", "override must be key=value"),
    ],
)
def test_a_bad_config_is_one_line_and_code_2(
    config_file: str, trained: list[RunConfig], capsys: pytest.CaptureFixture[str], override: str, message: str
) -> None:
    assert main([config_file, override]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("ConfigError: ")
    assert len(error.splitlines()) == 1
    assert not trained


def failing(error: Exception) -> Callable[[RunConfig], None]:
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
    assert capsys.readouterr().err == f"{type(error).__name__}: {error}\n"


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
        "data.answer.prompts.system = None",
        "training.min_lr_ratio = 0.1",
        "seed = 0",
        "torchrun --nproc_per_node 2",
    ):
        assert expected in text


def test_a_config_is_refused_before_torch_is_imported(config_file: str) -> None:
    script = (
        "import sys\n"
        "from dcap.train.__main__ import main\n"
        f"code = main([{config_file!r}, 'training.num_epochs=none'])\n"
        "assert 'torch' not in sys.modules\n"
        "sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1, done.stderr
    assert "training.num_epochs must be an integer" in done.stderr
