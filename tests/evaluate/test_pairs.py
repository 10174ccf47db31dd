"""Joining predictions with true records."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from dcap.core.errors import RecordError
from dcap.evaluate.pairs import pair_up
from support.container_cases import write_parquet, write_tar

LINE = {"images": ["a.jpg"], "width": 100, "height": 80, "objects": [{"desc": "cup", "bbox_2d": [1, 2, 3, 4]}]}


def write(path: Path, *lines: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    return path


def test_pairs_by_image_whatever_the_order(tmp_path: Path) -> None:
    b = {**LINE, "images": ["sub/b.jpg"]}
    truth = write(tmp_path / "truth.jsonl", LINE, b, {**LINE, "images": ["c.jpg"]})
    pred = write(tmp_path / "pred.jsonl", {**b, "images": ["./sub/b.jpg"]}, LINE)
    pairs = pair_up([truth], pred)
    assert [pair.truth.image for pair in pairs] == ["a.jpg", "sub/b.jpg", "c.jpg"]
    assert [pair.pred and pair.pred.where for pair in pairs] == ["pred.jsonl:2", "pred.jsonl:1", None]


def test_records_of_one_image_pair_in_order(tmp_path: Path) -> None:
    truth = write(tmp_path / "truth.jsonl", LINE, LINE)
    pred = write(tmp_path / "pred.jsonl", {**LINE, "text": "first"}, {**LINE, "text": "second"})
    assert [pair.pred.text for pair in pair_up([truth], pred)] == ["first", "second"]


def test_a_record_that_was_left_out_takes_no_other_s_answer(tmp_path: Path) -> None:
    truth = write(tmp_path / "truth.jsonl", LINE, LINE, LINE)
    lines = [{**LINE, "text": str(n), "source": {"file": "data/truth.jsonl", "line": n}} for n in (3, 2)]
    pairs = pair_up([truth], write(tmp_path / "pred.jsonl", *lines))
    assert [pair.pred and pair.pred.text for pair in pairs] == [None, "2", "3"]


def test_unknown_image_and_surplus_prediction_are_errors(tmp_path: Path) -> None:
    truth = write(tmp_path / "truth.jsonl", LINE)
    unknown = write(tmp_path / "pred.jsonl", LINE, {**LINE, "images": ["z.jpg"]})
    with pytest.raises(RecordError, match=r"pred\.jsonl:2: image must be one of the truth, not 'z\.jpg'"):
        pair_up([truth], unknown)
    twice = write(tmp_path / "twice.jsonl", LINE, LINE)
    with pytest.raises(RecordError, match=r"twice\.jsonl:2: image must have one prediction for each of its records"):
        pair_up([truth], twice)


def test_other_size_is_an_error(tmp_path: Path) -> None:
    truth = write(tmp_path / "truth.jsonl", LINE)
    pred = write(tmp_path / "pred.jsonl", {**LINE, "width": 80, "height": 100})
    with pytest.raises(RecordError, match=r"pred\.jsonl:1: size must be 100 x 80 as in truth\.jsonl:1, not 80 x 100"):
        pair_up([truth], pred)


@pytest.mark.parametrize("ending", [".jsonl", ".jsonl.gz", ".parquet", ".tar", ".out", ""])
def test_both_sides_may_be_any_file_of_records(tmp_path: Path, ending: str) -> None:
    lines = [LINE, {**LINE, "images": ["b.jpg"]}]
    text = "".join(json.dumps(line) + "\n" for line in lines).encode()
    pred = tmp_path / f"pred{ending}"
    if ending == ".jsonl.gz":
        pred.write_bytes(gzip.compress(text))
    elif ending == ".parquet":
        write_parquet(pred, lines)
    elif ending == ".tar":
        write_tar(pred, [(f"{i}.json", json.dumps(line).encode()) for i, line in enumerate(lines)])
    elif ending:
        pred.write_bytes(text)
    else:  # a folder of several files
        pred.mkdir()
        for name, line in zip(("1.jsonl", "2.jsonl"), lines, strict=True):
            write(pred / name, line)
    truth = pred if ending != ".out" else write(tmp_path / "truth.jsonl", *lines)
    pairs = pair_up([truth], pred)
    assert [(pair.truth.image, pair.pred and pair.pred.image) for pair in pairs] == [("a.jpg",) * 2, ("b.jpg",) * 2]


@pytest.mark.parametrize("content", [b"", b"\n \n"])
def test_an_empty_prediction_file_is_named(tmp_path: Path, content: bytes) -> None:
    truth, pred = write(tmp_path / "truth.jsonl", LINE), tmp_path / "pred.jsonl"
    pred.write_bytes(content)
    with pytest.raises(RecordError, match=r"pred\.jsonl: predictions must be at least one line, not an empty file"):
        pair_up([truth], pred)
