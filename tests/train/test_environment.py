from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import torch

import dcap
from dcap.kernels import BACKEND
from dcap.train.setup import git_commit, write_environment


def test_the_file_says_what_the_run_was_made_with(tmp_path: Path) -> None:
    write_environment(tmp_path, world_size=2, device="cpu")
    found = json.loads((tmp_path / "environment.json").read_text())
    assert found["dcap"] == dcap.__version__
    assert found["backend"] == BACKEND
    assert (found["world_size"], found["device"]) == (2, "cpu")
    assert found["cpu_threads"] == torch.get_num_threads()
    assert found["packages"]["torch"]
    assert found["packages"]["transformers"]


def test_commit_of_a_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{name}_NAME", "a")
        monkeypatch.setenv(f"GIT_{name}_EMAIL", "a@example.com")
    for command in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "x"]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    commit = git_commit(tmp_path)
    assert commit is not None
    assert len(commit) == 40


def test_no_repository_and_no_git_are_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert git_commit(tmp_path) is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_commit(tmp_path) is None
