from __future__ import annotations

import logging
from typing import Any

import pytest

from dcap.core.config import merge
from dcap.core.errors import CheckpointError
from dcap.train.resume import check_same_run

SAVED: dict[str, Any] = {
    "seed": 1,
    "world_size": 2,
    "model": {"name_or_path": "x", "attention": "auto", "adapter": {"rank": 4}},
    "data": {"train": ["a.jsonl"], "num_workers": 2, "val": [], "root": None},
    "augmentation": {"ops": []},
    "training": {"num_epochs": 1, "effective_batch_size": 8, "per_device_batch_size": 1, "resume": "auto"},
}


def change(dotted: str, value: Any) -> dict[str, Any]:
    *path, last = dotted.split(".")
    tree: dict[str, Any] = {last: value}
    for key in reversed(path):
        tree = {key: tree}
    return merge(SAVED, tree)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("seed", 2),
        ("world_size", 4),
        ("model.name_or_path", "y"),
        ("model.adapter.rank", 8),
        ("data.train", ["b.jsonl"]),
        ("data.packing", False),
        ("augmentation.bypass_prob", 0.5),
        ("training.effective_batch_size", 16),
        ("training.per_device_batch_size", 2),
    ],
)
def test_a_change_of_samples_rows_or_model_is_refused(name: str, value: Any) -> None:
    with pytest.raises(CheckpointError, match=rf"{name} was .* and is .*training.resume=none"):
        check_same_run(SAVED, change(name, value))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("training.num_epochs", 3),
        ("data.num_workers", 0),
        ("data.val", ["v.jsonl"]),
        ("model.attention", "segments"),
        ("data.root", "/data"),
    ],
)
def test_other_changes_are_followed_and_said(
    name: str, value: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("dcap"), "propagate", True)
    check_same_run(SAVED, change(name, value))
    assert f"resuming with a change: {name} was" in caplog.text


def test_how_to_resume_is_no_change(caplog: pytest.LogCaptureFixture) -> None:
    check_same_run(SAVED, change("training.resume", "out/checkpoints/step-000002"))
    assert not caplog.text


@pytest.mark.parametrize(("until", "free"), [("until_step", True), ("until_percent", False)])
def test_the_length_of_a_run_binds_a_curriculum_in_percent(until: str, free: bool) -> None:
    saved = merge(SAVED, {"augmentation": {"curriculum": [{until: 50}]}})
    longer = merge(saved, {"training": {"num_epochs": 3}})
    if free:
        check_same_run(saved, longer)
        return
    with pytest.raises(CheckpointError, match=r"training\.num_epochs was 1 and is 3"):
        check_same_run(saved, longer)
