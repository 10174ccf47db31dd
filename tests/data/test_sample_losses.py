from __future__ import annotations

import json
import math
from pathlib import Path

import msgspec
import pytest

from dcap.core.errors import RecordError
from dcap.data.sample_losses import (
    ObjectLoss,
    SampleLoss,
    TokenLoss,
    end_of_step,
    epoch_file,
    epoch_files,
    losses_folder,
    read_losses,
    validation_file,
)


def a_loss(step: int, index: int = 4) -> SampleLoss:
    caption, coordinate = TokenLoss(3, 0.41), TokenLoss(8, 9.7)
    objects = (ObjectLoss(1, "bbox_2d", caption, coordinate),)
    return SampleLoss(step, index, 0, "train.jsonl:5", caption, coordinate, TokenLoss(21, 0.02), objects)


def test_a_line_is_what_the_guide_says(tmp_path: Path) -> None:
    line = a_loss(7).to_line()
    assert line == (
        b'{"step":7,"index":4,"draw":0,"sample":"train.jsonl:5","caption":[3,0.41],"coordinate":[8,9.7],'
        b'"structure":[21,0.02],"objects":[[1,"bbox_2d",[3,0.41],[8,9.7]]]}\n'
    )
    path = tmp_path / "one.jsonl"
    path.write_bytes(line)
    assert list(read_losses(path)) == [a_loss(7)]


def test_the_mean_of_no_token_is_none() -> None:
    assert TokenLoss(4, 2.0).mean == 0.5
    assert TokenLoss(0, 0.0).mean is None


def test_a_loss_that_is_not_finite_is_null_and_read_back(tmp_path: Path) -> None:
    loss = msgspec.structs.replace(a_loss(7), caption=TokenLoss(3, None))
    path = tmp_path / "one.jsonl"
    path.write_bytes(loss.to_line())
    assert json.loads(loss.to_line())["caption"] == [3, None]
    (found,) = read_losses(path)
    assert (found, found.caption.mean) == (loss, math.inf)


def test_a_cut_last_line_is_left_out_and_another_damaged_one_is_named(tmp_path: Path) -> None:
    path = tmp_path / "some.jsonl"
    path.write_bytes(a_loss(1).to_line() + a_loss(2).to_line()[:-5])
    assert [loss.step for loss in read_losses(path)] == [1]
    assert list(read_losses(tmp_path / "deleted meanwhile.jsonl")) == []
    path.write_bytes(a_loss(1).to_line() + b'{"step":2}\n' + a_loss(3).to_line())
    with pytest.raises(RecordError, match=r"some\.jsonl:2: line must be the loss of a sample"):
        list(read_losses(path))


@pytest.mark.parametrize(
    ("old", "new"),
    [(b'"index":', b'"index":-'), (b'"bbox_2d"', b'"circle"'), (b'"index":', b'"index":99999999999999999999'),
     (b'"objects":[[', b'"objects":[[-'), (b'"caption":[', b'"caption":[-')],
)  # fmt: skip
def test_numbers_that_no_run_writes_are_refused(tmp_path: Path, old: bytes, new: bytes) -> None:
    line = a_loss(1).to_line()
    assert old in line
    path = tmp_path / "some.jsonl"
    path.write_bytes(line.replace(old, new, 1) + a_loss(2).to_line())
    with pytest.raises(RecordError, match=r"some\.jsonl:1: line must be the loss of a sample"):
        list(read_losses(path))


@pytest.mark.parametrize(("step", "lines"), [(0, 0), (1, 2), (2, 2), (3, 3), (9, 4)])
def test_the_end_of_a_step(tmp_path: Path, step: int, lines: int) -> None:
    path = tmp_path / "some.jsonl"
    data = [a_loss(number, index).to_line() for number, index in ((1, 0), (1, 5), (3, 2), (4, 1))]
    path.write_bytes(b"".join(data) + data[0][:20])
    assert end_of_step(path, step) == sum(map(len, data[:lines]))


def test_the_files_of_a_run(tmp_path: Path) -> None:
    assert epoch_files(tmp_path) == {}
    losses_folder(tmp_path).mkdir()
    for path in (epoch_file(tmp_path, 10), epoch_file(tmp_path, 9), validation_file(tmp_path)):
        path.touch()
    (losses_folder(tmp_path) / "epoch-one.jsonl").touch()
    assert list(epoch_files(tmp_path)) == [9, 10]
