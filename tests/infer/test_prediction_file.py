"""The prediction file: what is kept, cut and refused, and the list of records that got no prediction beside it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from dcap.answers.prediction import Prediction
from dcap.core.errors import CheckpointError, ImageError
from dcap.core.shard import Shard, ShardFolder, WholeShard, keep_pieces, whole_shards
from dcap.core.words import show
from dcap.geometry.canvas import Canvas
from dcap.geometry.shapes import ShapeArray
from dcap.infer import prediction_file
from dcap.infer.prediction_file import (
    LeftOut,
    PredictionFile,
    left_out_path,
    merge_predictions,
    read_left_out,
    write_left_out,
)
from dcap.records.checking import BadRecord
from dcap.records.json_line import Problem
from dcap.records.record import Origin

MADE_WITH: dict[str, Any] = {"model": "abc", "profile": {"answer": {"format": "qwen"}}, "max-new-tokens": 8}
ORIGIN = Origin("data/a.jsonl", 3)


def line(k: int, text: str = "x") -> Prediction:
    return Prediction("a.jpg", Canvas(2, 3), ShapeArray.empty(), (), text=text, source=Origin("a.jsonl", k))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with PredictionFile(tmp_path / "new" / "pred.jsonl", MADE_WITH) as file:
        assert (file.kept, file.last) == (0, None)
        file.append([line(1), line(2)])
        file.append([line(4, "ä\n")])
    return tmp_path / "new" / "pred.jsonl"


def test_lines_are_json_and_the_meta_says_what_made_them(path: Path) -> None:
    rows = [json.loads(row) for row in path.read_text("utf-8").splitlines()]
    assert rows == [each.to_dict() for each in (line(1), line(2), line(4, "ä\n"))]
    meta = json.loads((path.parent / "pred.jsonl.meta.json").read_text())
    assert meta["made_with"] == MADE_WITH


def test_same_settings_continue(path: Path) -> None:
    with PredictionFile(path, MADE_WITH) as file:
        assert (file.kept, file.last) == (3, Origin("a.jsonl", 4))
        file.append([line(5)])
    assert len(path.read_bytes().splitlines()) == 4


@pytest.fixture
def shards(tmp_path: Path) -> list[WholeShard]:
    folder = ShardFolder(tmp_path / "other.jsonl", Shard(0, 1), ("predict",))
    keep_pieces(folder, MADE_WITH, range(2), 2, lambda _: ({"text": "y"} for _ in range(2)), False)
    return whole_shards(folder.out)


def test_shards_are_not_merged_into_a_file_that_a_run_writes(path: Path, shards: list[WholeShard]) -> None:
    before = path.read_bytes()
    with PredictionFile(path, MADE_WITH) as file:
        with pytest.raises(CheckpointError, match=r"pred\.jsonl must be used by one run at a time"):
            merge_predictions(path, shards)
        assert path.read_bytes() == before
        file.append([line(5)])
    with PredictionFile(path, MADE_WITH) as file:
        assert file.kept == 4
    assert merge_predictions(path, shards) == (2, [])


def test_no_run_writes_a_file_that_shards_are_merged_into(
    path: Path, shards: list[WholeShard], monkeypatch: pytest.MonkeyPatch
) -> None:
    real, opened = prediction_file.lines_of, path.open("ab")

    def lines(shards: Any) -> Any:
        with pytest.raises(CheckpointError, match="another one writes or merges it"):
            PredictionFile(path, MADE_WITH, overwrite=True)
        return real(shards)

    monkeypatch.setattr(prediction_file, "lines_of", lines)
    merge_predictions(path, shards)
    # A run that opened the old file before the new one was put in place writes into neither.
    with opened, monkeypatch.context() as patch:
        patch.setattr(type(path), "open", lambda *_: opened)
        with pytest.raises(CheckpointError, match="another one writes or merges it"):
            PredictionFile(path, MADE_WITH)


@pytest.mark.parametrize("cut", [1, 5, 20])
def test_torn_last_line_is_cut(path: Path, cut: int) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    with PredictionFile(path, MADE_WITH) as file:
        assert (file.kept, file.last) == (2, Origin("a.jsonl", 2))
        file.append([line(4, "ä\n")])
    assert path.read_bytes() == whole


def test_nothing_but_a_torn_line(path: Path) -> None:
    path.write_bytes(b'{"text": "x", "sou')
    with PredictionFile(path, MADE_WITH) as file:
        assert (file.kept, file.last) == (0, None)
    assert path.read_bytes() == b""


@pytest.mark.parametrize("change", [{"model": "other"}, {"profile": {}}, {"max-new-tokens": 9}, {"new": 1}])
def test_other_settings_are_refused_and_leave_the_file_alone(path: Path, change: dict[str, Any]) -> None:
    before = path.read_bytes()
    name, value = next(iter(change.items()))
    was = MADE_WITH.get(name)
    said = (
        rf"profile.answer was {re.escape(show(was['answer']))} and is null"
        if name == "profile" and was is not None
        else rf"{name} was {re.escape(show(was))} and is {re.escape(show(value))}"
    )
    with pytest.raises(CheckpointError, match=rf"the same {name}.*{said}. .*--overwrite"):
        PredictionFile(path, {**MADE_WITH, **change})
    assert path.read_bytes() == before


def test_overwrite_starts_anew_with_other_settings(path: Path) -> None:
    with PredictionFile(path, {**MADE_WITH, "model": "other"}, overwrite=True) as file:
        assert (file.kept, file.last) == (0, None)
        file.append([line(1)])
    assert len(path.read_bytes().splitlines()) == 1
    with PredictionFile(path, {**MADE_WITH, "model": "other"}) as file:
        assert file.kept == 1


def test_file_of_unknown_origin_is_refused(path: Path) -> None:
    (path.parent / "pred.jsonl.meta.json").unlink()
    with pytest.raises(CheckpointError, match=r"must have pred\.jsonl\.meta\.json beside it.*--overwrite"):
        PredictionFile(path, MADE_WITH)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "null"])
def test_damaged_meta_is_refused(path: Path, text: str) -> None:
    (path.parent / "pred.jsonl.meta.json").write_text(text)
    with pytest.raises(CheckpointError, match="is damaged"):
        PredictionFile(path, MADE_WITH)


@pytest.mark.parametrize("text", ["not json\n", "{}\n", '{"source": {"file": "a"}}\n', "[1]\n", "\n"])
def test_last_line_that_is_no_prediction_is_refused(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)
    with pytest.raises(CheckpointError, match=r"pred\.jsonl:4: .* must be .*--overwrite"):
        PredictionFile(path, MADE_WITH)


def test_last_line_that_answers_no_record_is_refused(path: Path) -> None:
    with path.open("ab") as file:
        file.write(Prediction("a.jpg", Canvas(2, 3), ShapeArray.empty(), ()).to_line())
    with pytest.raises(CheckpointError, match=r"pred\.jsonl:4: line must name the record.*--overwrite"):
        PredictionFile(path, MADE_WITH)


def test_two_writers_at_once_are_refused(path: Path) -> None:
    with PredictionFile(path, MADE_WITH), pytest.raises(CheckpointError, match="one run at a time"):
        PredictionFile(path, MADE_WITH)


def test_entries_name_file_line_and_everything_that_is_wrong() -> None:
    bad = BadRecord(ORIGIN, (Problem("width", "must be given"), Problem("height", "must be given")), "{}")
    assert LeftOut.of_check(bad) == LeftOut("data/a.jsonl", 3, "a.jsonl:3: width must be given; height must be given")
    late = LeftOut.of_error(ORIGIN, ImageError("a.jsonl:3: torn"))
    assert late == LeftOut("data/a.jsonl", 3, "a.jsonl:3: torn")
    assert late.origin == ORIGIN


def test_list_reads_back_and_an_empty_one_is_no_file(tmp_path: Path) -> None:
    out = tmp_path / "pred.jsonl"
    items = [LeftOut("a.jsonl", 1, "ä\nb"), LeftOut("a.jsonl", 2, "c")]
    write_left_out(out, items)
    assert read_left_out(out) == items
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pred.jsonl.bad_records.jsonl"]
    write_left_out(out, [])
    assert read_left_out(out) == []
    assert not left_out_path(out).exists()


@pytest.mark.parametrize("text", ["{", '{"file": 1}\n', "[]\n"])
def test_damaged_list_is_an_error(tmp_path: Path, text: str) -> None:
    left_out_path(tmp_path / "pred.jsonl").write_text(text)
    with pytest.raises(CheckpointError, match=r"bad_records\.jsonl must list records.*Delete it"):
        read_left_out(tmp_path / "pred.jsonl")
