"""What a run does when a process, an image or the disk fails it: a clear error, and then the same run as ever."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import threading
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dcap.core.config import dump_yaml
from dcap.core.errors import CheckpointError, ImageError, WorkerError
from dcap.train.config import RunConfig
from dcap.train.loop import train
from support.training_runs import (
    RunMaker,
    assert_same_run,
    at_step,
    files_of_at_most,
    metrics,
    run_standard,
    standard,
    steps,
)

TWO_STEPS = ["step-000002"]


def kill_a_worker() -> None:
    worker = multiprocessing.active_children()[0]
    os.kill(worker.pid or 0, signal.SIGKILL)
    threading.Event().wait(30)  # until torch's signal handler ends it by its error


def test_a_worker_killed_during_a_step_is_a_clear_error_and_costs_nothing(
    reference: dict[str, Any], run_config: RunMaker, photo_file: Path
) -> None:
    config = standard(run_config, photo_file)
    config = replace(config, data=replace(config.data, num_workers=1))
    with pytest.MonkeyPatch.context() as patch:
        at_step(patch, 3, kill_a_worker)
        with pytest.raises(WorkerError, match=r"a loader process died .*signal.*lower data\.num_workers"):
            train(config)
    assert multiprocessing.active_children() == []
    assert steps(config) == TWO_STEPS
    assert train(config).step == 5
    assert_same_run(config, run_standard(reference, run_config, photo_file))


@pytest.fixture
def own_photos(photo_file: Path, tmp_path: Path) -> Path:
    """The four photos in a folder that a test may damage; the third record's is ``astronaut.png``."""
    folder = tmp_path / "own"
    folder.mkdir()
    records = [json.loads(line) for line in photo_file.read_text().splitlines()]
    for record in records:
        record["images"] = [shutil.copy(record["images"][0], folder)]
    (folder / "four.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    return folder


def over(config: RunConfig, photos: Path, **data: Any) -> RunConfig:
    return replace(config, data=replace(config.data, train=str(photos / "four.jsonl"), **data))


def test_an_image_that_is_cut_during_a_run_is_named_and_may_come_back(
    reference: dict[str, Any], run_config: RunMaker, photo_file: Path, own_photos: Path
) -> None:
    config, image = over(standard(run_config, photo_file), own_photos), own_photos / "astronaut.png"
    whole = image.read_bytes()
    with pytest.MonkeyPatch.context() as patch:
        at_step(patch, 2, lambda: image.write_bytes(whole[: len(whole) // 2]))
        with pytest.raises(ImageError, match=r"four\.jsonl:3: image .*astronaut\.png must be whole"):
            train(config)
    assert steps(config) == TWO_STEPS
    image.write_bytes(whole)
    assert train(config).step == 5
    assert_same_run(config, run_standard(reference, run_config, photo_file))


def test_an_image_that_is_deleted_during_a_run_may_be_skipped(
    run_config: RunMaker, photo_file: Path, own_photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = over(standard(run_config, photo_file, max_steps=6, eval_steps=6), own_photos, on_bad_record="skip")
    at_step(monkeypatch, 2, (own_photos / "astronaut.png").unlink)
    assert train(config).step == 6
    output = Path(config.training.output_dir)
    (left_out,) = [json.loads(line) for line in (output / "bad_records.jsonl").read_text().splitlines()]
    assert "four.jsonl:3: image" in left_out["errors"][0]
    assert "astronaut.png must be a readable file, not missing" in left_out["errors"][0]
    trained = [line for line in metrics(config) if "loss" in line]
    assert [line["step"] for line in trained] == [1, 2, 3, 4, 5, 6]
    # Two epochs come after it is gone, without one of four photos each.
    assert trained[-1]["samples"] == 3 * 4 - 2
    assert "left out: 1 bad record" in (output / "train.log").read_text()


def test_a_disk_that_fills_up_leaves_the_older_checkpoint(
    reference: dict[str, Any], run_config: RunMaker, photo_file: Path
) -> None:
    config = standard(run_config, photo_file)
    with pytest.MonkeyPatch.context() as patch, ExitStack() as limit:
        at_step(patch, 4, lambda: limit.enter_context(files_of_at_most(20_000)))
        with pytest.raises(CheckpointError, match=r"step-000004 must be written whole, but .*File too large.* resumes"):
            train(config)
    checkpoints = Path(config.training.output_dir) / "checkpoints"
    assert [path.name for path in checkpoints.iterdir()] == TWO_STEPS
    assert train(config).step == 5
    assert_same_run(config, run_standard(reference, run_config, photo_file))


FULL_DISK = """
mount -t tmpfs -o size=300k small "$1" || exit
"$2" -m dcap.train "$3"
echo "exit $?, and there are $(ls -A "$1/run/checkpoints")"
mount -o remount,size=20m "$1"
"$2" -m dcap.train "$3"
echo "exit $?, and there are $(ls -A "$1/run/checkpoints")"
"""


@pytest.mark.slow
def test_a_run_on_a_full_disk_goes_on_when_there_is_room(run_config: RunMaker, tmp_path: Path) -> None:
    """The whole program, on a disk where one checkpoint fits and no second one does."""
    alone = ["unshare", "--user", "--map-root-user", "--mount"]
    if shutil.which("unshare") is None or subprocess.run([*alone, "true"], capture_output=True, check=False).returncode:
        pytest.skip("mounting a small disk in a namespace of one's own must be allowed")
    disk, file = tmp_path / "disk", tmp_path / "run.yaml"
    disk.mkdir()
    training = {"output_dir": str(disk / "run"), "max_steps": 3, "save_total_limit": 9, "save_steps": 1}
    file.write_text(dump_yaml(run_config(training=training)))
    command = [*alone, "sh", "-c", FULL_DISK, "sh", str(disk), sys.executable, str(file)]
    out = subprocess.run(command, capture_output=True, text=True, check=True, timeout=250)
    reports = out.stdout.replace("\n", " ").split("exit ")[1:]
    assert [report.strip() for report in reports] == [
        "1, and there are step-000001",
        "0, and there are step-000001 step-000002 step-000003",
    ]
    assert "step-000002 must be written whole, but that failed" in out.stderr
    assert "No space left on device" in out.stderr
    assert "Traceback" not in out.stderr
    assert "resumed from" in out.stderr
