from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from dcap.core.errors import CheckpointError
from dcap.core.manifest import read_marker
from dcap.train.atomic import whole_folder


def write(target: Path, text: str = "hello") -> None:
    with whole_folder(target, "meta.json") as folder:
        (folder / "part").mkdir()
        (folder / "part" / "a.txt").write_text(text)
        (folder / "meta.json").write_text(json.dumps({"step": 3}))


def write_half(target: Path) -> None:
    with whole_folder(target, "meta.json") as folder:
        (folder / "half").write_text("")
        raise OSError("disk full")


def test_a_folder_appears_with_its_marker(tmp_path: Path) -> None:
    write(tmp_path / "runs" / "x")
    assert read_marker(tmp_path / "runs" / "x", "meta.json") == {"step": 3}
    assert [p.name for p in (tmp_path / "runs").iterdir()] == ["x"]


@pytest.mark.parametrize("mask", [0o022, 0o027, 0o077])
def test_all_files_have_the_mode_that_the_user_wants(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        with whole_folder(tmp_path / "x", "meta.json") as folder:
            (folder / "part").mkdir()
            save_file({"a": torch.zeros(1)}, folder / "part" / "a.safetensors")
            (folder / "meta.json").write_text("{}")
    finally:
        os.umask(before)
    files = [path for path in (tmp_path / "x").rglob("*") if path.is_file()]
    assert [path.stat().st_mode & 0o777 for path in files] == [0o666 & ~mask] * 2


def test_an_older_folder_is_replaced(tmp_path: Path) -> None:
    write(tmp_path / "x", "old")
    write(tmp_path / "x", "newer")
    assert (tmp_path / "x" / "part" / "a.txt").read_text() == "newer"
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


def test_a_failure_leaves_the_older_folder(tmp_path: Path) -> None:
    write(tmp_path / "x", "old")
    with pytest.raises(CheckpointError, match=r"x must be written whole, but .*: disk full\. Older .* as they"):
        write_half(tmp_path / "x")
    assert (tmp_path / "x" / "part" / "a.txt").read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


@pytest.mark.parametrize("damage", ["cut", "delete", "marker", "marker_cut", "not_an_object"])
def test_a_torn_folder_is_recognised(tmp_path: Path, damage: str) -> None:
    write(tmp_path / "x")
    file, marker = tmp_path / "x" / "part" / "a.txt", tmp_path / "x" / "meta.json"
    if damage == "cut":
        file.write_text("hel")
    elif damage == "delete":
        file.unlink()
    elif damage == "marker":
        marker.unlink()
    else:
        marker.write_text("[1]" if damage == "not_an_object" else marker.read_text()[:10])
    with pytest.raises(CheckpointError, match=r"checkpoint .*x must"):
        read_marker(tmp_path / "x", "meta.json")
