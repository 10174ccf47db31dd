"""The folder of a run: one owner, and errors of the disk with the place."""

from __future__ import annotations

import errno
import json
import logging
import os
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

from dcap.core.config import dump_yaml
from dcap.core.errors import CheckpointError, ConfigError, TrainingError
from dcap.core.lock import FILE_NAME, Owner
from dcap.train import setup
from dcap.train.__main__ import main
from dcap.train.config import RunConfig
from dcap.train.loop import train
from dcap.train.run_folder import disk_errors_named, log_to_file, run_folder
from support.training_runs import files_of_at_most

RunMaker = Callable[..., RunConfig]


def test_a_folder_with_a_run_in_it_is_refused_before_anything_is_read(
    run_config: RunMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = run_config(model={"name_or_path": "/nowhere"})
    output = Path(config.training.output_dir)
    output.mkdir()
    owner = replace(
        Owner.this_process(), pid=os.getppid(), start=Path(f"/proc/{os.getppid()}/stat").read_text().split()[21]
    )
    (output / FILE_NAME).write_text(json.dumps(asdict(owner)))
    monkeypatch.setattr("fcntl.lockf", failing(OSError(errno.ENOLCK, "No locks available")))
    with pytest.raises(CheckpointError, match=r"process \d+ on .* owns it\. Wait until .*another training\.output_dir"):
        train(config)
    assert [path.name for path in output.iterdir()] == [FILE_NAME]


def failing(error: Exception) -> Callable[..., Any]:
    def fail(*_: Any) -> Any:
        raise error

    return fail


def test_two_commands_at_once_make_one_run(
    run_config: RunMaker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The second one is refused while the first waits at its start."""
    file = tmp_path / "run.yaml"
    file.write_text(dump_yaml(run_config()))
    context = get_context("fork")
    inside, leave = context.Event(), context.Event()

    def waiting(_: RunConfig) -> None:
        inside.set()
        leave.wait(240)
        sys.exit(7)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(setup, "check_source", waiting)
        process = context.Process(target=main, args=([str(file)],))
        process.start()
    try:
        assert inside.wait(240)
        assert main([str(file)]) == 1
    finally:
        leave.set()
        process.join(240)
    assert process.exitcode == 7
    told = capsys.readouterr().err
    assert told.startswith(f"dcap: {tmp_path / 'run'} must have one owner at a time, and process {process.pid} on")
    assert len(told.splitlines()) == 1


LONG = "x" * 300


@pytest.mark.parametrize("name", [LONG, f"a/{LONG}/b", "file/run", "/proc/none/run", "a" + "/b" * 2100])
def test_a_folder_that_cannot_be_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"training\.output_dir must be a folder that can be written to, not"):  # noqa: SIM117
        with run_folder(tmp_path / name):
            pass


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_is_read_only_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    with pytest.raises(ConfigError, match="Permission denied"), run_folder(tmp_path / "run"):
        pass


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.ENOSPC, errno.EIO])
def test_what_the_disk_refuses_within_the_folder_is_named(tmp_path: Path, number: int) -> None:
    place = tmp_path / "run" / "config.yaml"
    with pytest.raises(TrainingError, match=rf"{place} must be writable, not {os.strerror(number)}"):  # noqa: SIM117
        with disk_errors_named(tmp_path / "run"):
            raise OSError(number, os.strerror(number), str(place))


def test_a_full_disk_without_a_name_is_that_of_the_folder(tmp_path: Path) -> None:
    def write() -> None:
        with disk_errors_named(tmp_path), files_of_at_most(10), (tmp_path / "a").open("wb", buffering=0) as file:
            file.write(b"x" * 10)
            file.write(b"x" * 10)

    with pytest.raises(TrainingError, match=rf"{tmp_path} must be writable, not File too large"):
        write()


def test_other_errors_of_the_system_are_not_those_of_the_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), disk_errors_named(tmp_path / "run"):
        (tmp_path / "elsewhere").read_text()
    with pytest.raises(ConnectionError), disk_errors_named(tmp_path / "run"):
        raise ConnectionError


def test_the_log_goes_to_a_file_too(tmp_path: Path) -> None:
    logger = logging.getLogger("dcap.test")
    with log_to_file(tmp_path / "train.log"):
        logger.info("said")
    logger.warning("said later")
    assert (tmp_path / "train.log").read_text().endswith("INFO said\n")


def test_a_log_that_cannot_be_written_is_said_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("dcap.test")
    with files_of_at_most(1), log_to_file(tmp_path / "train.log"):
        logger.info("one")
        logger.info("two")
    assert capsys.readouterr().err.count("cannot be written to, so the log is on the terminal only") == 1
