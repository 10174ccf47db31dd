"""A run of ``dcap predict``: lines in order, interruptions, bad records, and the sheet of its answers."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from dcap.answers.prediction import Prediction
from dcap.core.errors import CheckpointError, ConfigError, RecordError
from dcap.core.shard import Shard, ShardFolder, whole_shards
from dcap.evaluate.repeats import Pruning
from dcap.geometry.canvas import Canvas
from dcap.geometry.shapes import ShapeArray
from dcap.geometry.tiling import Tiling
from dcap.infer import hf_engine as engine_module
from dcap.infer import run as run_module
from dcap.infer.engine import Reply, Request
from dcap.infer.loading import EngineOptions, open_predictor
from dcap.infer.prediction_file import merge_predictions, read_left_out
from dcap.infer.predictor import Predictor, Question
from dcap.infer.run import SHEET_SIDE, Outcome, PredictOptions, predict, prediction_sheet
from dcap.model.decoding import Decoding
from dcap.records.record import Origin


@pytest.fixture
def options(photos: Path, generator: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> PredictOptions:
    """Options of a run that uses the model of the session instead of loading one."""

    def load(config: Any, device: Any, for_generation: bool, may_be_quantised: bool) -> Any:
        assert for_generation
        assert may_be_quantised
        assert (config.dtype, device.type) == ("float32", "cpu")
        return generator.model

    monkeypatch.setattr(engine_module, "load_model", load)
    monkeypatch.setattr(run_module, "_AHEAD", 1)
    return PredictOptions(
        "builtin:micro",
        (photos,),
        tmp_path / "out" / "pred.jsonl",
        engine=EngineOptions(batch_size=2, device="cpu"),
        decoding=Decoding(max_new_tokens=6),
    )


def test_one_line_per_record_in_order_and_the_same_bytes_every_time(options: PredictOptions, tmp_path: Path) -> None:
    outcome = predict(options)
    assert (outcome.written, outcome.kept, outcome.left_out) == (5, 0, ())
    lines = [json.loads(line) for line in options.out.read_text("utf-8").splitlines()]
    assert [line["images"] for line in lines] == [[f"{i}.png"] for i in range(5)]
    assert [line["source"]["line"] for line in lines] == [1, 2, 3, 4, 5]
    assert outcome.unclean == sum(bool(line["problems"]) for line in lines)
    again = dataclasses.replace(options, out=tmp_path / "again.jsonl")
    predict(again)
    assert again.out.read_bytes() == options.out.read_bytes()


def test_what_is_dropped_belongs_to_the_run(options: PredictOptions) -> None:
    predict(dataclasses.replace(options, limit=2))
    with pytest.raises(CheckpointError, match="must be continued with the same pruning"):
        predict(dataclasses.replace(options, pruning=Pruning(repeats=True)))


def test_batch_size_does_not_change_the_answers(options: PredictOptions, tmp_path: Path) -> None:
    predict(options)
    for size in (1, 5):
        other = dataclasses.replace(
            options, out=tmp_path / f"{size}.jsonl", engine=EngineOptions(batch_size=size, device="cpu")
        )
        predict(other)
        assert other.out.read_bytes() == options.out.read_bytes()


def test_next_images_take_the_places_of_answers_that_end(
    options: PredictOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model is asked about several batches at once; with the same answers, also where that run was killed."""
    predict(options)
    whole = options.out.read_bytes()
    answers, asked = Predictor.answers, []

    def watched(self: Predictor, questions: Sequence[Question]) -> list[Reply]:
        asked.append(len(questions))
        return answers(self, questions)

    monkeypatch.setattr(Predictor, "answers", watched)
    monkeypatch.setattr(run_module, "_AHEAD", 2)
    for share in (0.0, 0.5):
        options.out.write_bytes(whole[: int(len(whole) * share)])
        predict(options)
        assert options.out.read_bytes() == whole
    assert asked == [4, 1, 4, 1]


def test_a_run_on_tiles_has_a_line_per_image_and_is_continued(options: PredictOptions) -> None:
    tiled = dataclasses.replace(options, tiling=Tiling(64, 0.5), limit=2, decoding=Decoding(max_new_tokens=2))
    assert predict(tiled).written == 2
    whole = options.out.read_bytes()
    first, second = map(json.loads, whole.splitlines())
    assert first["text"].startswith("tile 1, 64x64 at (0, 0):\n")
    assert "tile 6, 64x64 at (36, 6):" in first["text"]
    assert "tile" not in second["text"], "an image of one tile is not cut"
    assert (first["width"], first["height"]) == (100, 70)
    options.out.write_bytes(whole[:-9])
    assert predict(tiled).written == 1
    assert options.out.read_bytes() == whole
    for other in (None, Tiling(64, 0.6)):
        with pytest.raises(CheckpointError, match="the same tiles"):
            predict(dataclasses.replace(tiled, tiling=other))
    with pytest.raises(ConfigError, match="--tiles must go with the mode dense"):
        predict(dataclasses.replace(tiled, mode="summary", overwrite=True))


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 0.9, 1.0])
def test_killed_run_is_continued_to_the_same_bytes(options: PredictOptions, share: float) -> None:
    predict(options)
    whole = options.out.read_bytes()
    options.out.write_bytes(whole[: int(len(whole) * share)])
    outcome = predict(options)
    assert options.out.read_bytes() == whole
    assert outcome.written + outcome.kept == 5


def test_complete_file_loads_no_model(options: PredictOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    predict(options)
    monkeypatch.setattr(engine_module, "load_model", None)
    assert predict(options).kept == 5


def test_limit_is_continued_by_a_larger_one(options: PredictOptions) -> None:
    assert predict(dataclasses.replace(options, limit=3)).written == 3
    outcome = predict(options)
    assert (outcome.written, outcome.kept) == (2, 3)
    assert len(options.out.read_bytes().splitlines()) == 5


def test_other_settings_or_data_do_not_continue(options: PredictOptions, photos: Path) -> None:
    predict(dataclasses.replace(options, limit=1))
    with pytest.raises(CheckpointError, match="the same max-new-tokens"):
        predict(dataclasses.replace(options, decoding=Decoding(max_new_tokens=5)))
    with pytest.raises(CheckpointError, match="the same decoding"):
        predict(dataclasses.replace(options, decoding=Decoding(max_new_tokens=6, temperature=0.5)))
    with pytest.raises(CheckpointError, match="the same mode"):
        predict(dataclasses.replace(options, mode="summary"))
    photos.write_text(photos.read_text().replace("half", "all"))
    with pytest.raises(CheckpointError, match="the same data"):
        predict(options)
    assert predict(dataclasses.replace(options, overwrite=True)).written == 5


def test_last_line_of_no_record_is_refused(options: PredictOptions) -> None:
    predict(dataclasses.replace(options, limit=1))
    options.out.write_text(options.out.read_text().replace('"line":1', '"line":77'))
    with pytest.raises(CheckpointError, match=r"last line must answer a record of the data.*--overwrite"):
        predict(options)


def test_bad_records_stop_before_anything_is_loaded(
    options: PredictOptions, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "load_model", None)
    (photos.parent / "2.png").unlink()
    photos.write_text(photos.read_text() + "{}\n")
    with pytest.raises(RecordError) as error:
        predict(options)
    assert "photos.jsonl:3" in str(error.value)
    assert "photos.jsonl:6" in str(error.value)
    assert not options.out.exists()


def test_skipped_records_are_named_and_the_run_continues_past_them(options: PredictOptions, photos: Path) -> None:
    (photos.parent / "0.png").unlink()
    whole = (photos.parent / "3.png").read_bytes()
    (photos.parent / "3.png").write_bytes(whole[: len(whole) // 2])
    skip = dataclasses.replace(options, on_bad_record="skip")
    outcome = predict(skip)
    assert outcome.written == 3
    assert [item.error.partition(": ")[0] for item in outcome.left_out] == ["photos.jsonl:1", "photos.jsonl:4"]
    assert read_left_out(options.out) == list(outcome.left_out)
    whole_file = options.out.read_bytes()
    assert [json.loads(line)["source"]["line"] for line in whole_file.splitlines()] == [2, 3, 5]
    options.out.write_bytes(b"".join(whole_file.splitlines(keepends=True)[:1]) + b'{"ima')
    assert predict(skip).left_out == outcome.left_out
    assert options.out.read_bytes() == whole_file
    # Nothing is tried again, and what was left out before is still said.
    assert predict(skip) == Outcome(0, 3, 0, outcome.left_out, "full")
    assert read_left_out(options.out) == list(outcome.left_out)


def test_the_list_of_skipped_records_stays_the_same_however_often_the_run_is_continued(
    options: PredictOptions, photos: Path
) -> None:
    for name in ("1.png", "4.png"):
        whole = (photos.parent / name).read_bytes()
        (photos.parent / name).write_bytes(whole[: len(whole) // 2])
    skip = dataclasses.replace(options, on_bad_record="skip")
    for kept in (0, 3, 3):
        outcome = predict(skip)
        assert (outcome.kept, [item.line for item in outcome.left_out]) == (kept, [2, 5])
        assert read_left_out(options.out) == list(outcome.left_out)


def test_a_file_that_is_named_twice_is_continued_where_it_was(options: PredictOptions, photos: Path) -> None:
    twice = dataclasses.replace(options, data=(photos, photos))
    predict(dataclasses.replace(twice, limit=7))
    assert predict(twice).kept == 7
    lines = [json.loads(line)["source"]["line"] for line in options.out.read_text("utf-8").splitlines()]
    assert lines == [1, 2, 3, 4, 5] * 2


def test_an_older_file_is_overwritten_only_once_the_model_can_be_asked(
    options: PredictOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    predict(options)
    before = {path.name: path.read_bytes() for path in options.out.parent.iterdir()}

    def fails(*_: Any) -> Predictor:
        raise ConfigError("the server must count 100 tokens, not 200")

    with monkeypatch.context() as patch:
        patch.setattr(run_module, "open_predictor", fails)
        with pytest.raises(ConfigError, match="must count 100 tokens"):
            predict(dataclasses.replace(options, overwrite=True, decoding=Decoding(max_new_tokens=5)))
    assert {path.name: path.read_bytes() for path in options.out.parent.iterdir()} == before
    assert predict(dataclasses.replace(options, overwrite=True)).written == 5


def test_error_may_be_answered_by_skipping_the_rest_of_the_way(options: PredictOptions, photos: Path) -> None:
    whole = (photos.parent / "3.png").read_bytes()
    (photos.parent / "3.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(RecordError, match=r"photos\.jsonl:4"):
        predict(options)
    outcome = predict(dataclasses.replace(options, on_bad_record="skip"))
    assert (outcome.written, outcome.kept, len(outcome.left_out)) == (2, 2, 1)


def test_lines_of_finished_batches_survive_a_failure(options: PredictOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    answers, calls = Predictor.answers, []

    def fail_later(self: Predictor, questions: Sequence[Question]) -> list[Reply]:
        calls.append(questions)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return answers(self, questions)

    monkeypatch.setattr(Predictor, "answers", fail_later)
    with pytest.raises(KeyboardInterrupt):
        predict(options)
    assert len(options.out.read_bytes().splitlines()) == 4
    monkeypatch.setattr(Predictor, "answers", answers)
    outcome = predict(options)
    assert (outcome.written, outcome.kept) == (1, 4)


def test_exif_orientation_and_grey_images_are_predicted_as_displayed(options: PredictOptions, photos: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("L", (100, 60), 90).save(photos.parent / "turned.jpg", exif=exif)
    photos.write_text('{"images": ["turned.jpg"], "width": 60, "height": 100, "objects": []}\n')
    assert predict(options).written == 1


def test_limit_must_be_positive(options: PredictOptions) -> None:
    with pytest.raises(ConfigError, match="--limit must be at least 1, not 0"):
        dataclasses.replace(options, limit=0)


def lines(photos: Path, *numbers: int) -> Path:
    out = photos.parent / "pred.jsonl"
    found = ShapeArray.from_objects([{"bbox_2d": [1, 1, 9, 9]}])
    text = [
        Prediction(
            image=f"{n - 1}.png",
            canvas=Canvas(64, 64),
            shapes=found if n % 2 else ShapeArray.empty(),
            captions=("杯子",) if n % 2 else (),
            text="<no> JSON",
            problems=("what",),
            source=Origin(str(photos), n),
        )
        for n in numbers
    ]
    out.write_bytes(b"".join(line.to_line() for line in text))
    return out


def test_one_row_per_prediction_up_to_the_limit(photos: Path) -> None:
    out = lines(photos, 1, 2, 5)
    sheets = [prediction_sheet(out, [photos], n) for n in (1, 2, 3, 9)]
    shapes = [sheet.shape for sheet in sheets if sheet is not None]
    assert shapes[0][0] < shapes[1][0] < shapes[2][0] == shapes[3][0]
    assert shapes[2][1] == 2 * SHEET_SIDE + 3 * 14


def test_an_empty_file_gives_no_sheet(photos: Path) -> None:
    assert prediction_sheet(lines(photos), [photos], 5) is None


def test_a_sheet_of_other_data_is_refused(photos: Path) -> None:
    with pytest.raises(RecordError, match=r"pred\.jsonl:1: source must name a record .* not photos\.jsonl:77"):
        prediction_sheet(lines(photos, 77), [photos], 5)


class BatchTeller:
    """An engine whose answer depends on all that it is asked at a time, as that of a real one may."""

    num_parallel = 1

    def generate(self, requests: Sequence[Request], decoding: Decoding) -> list[Reply]:
        del decoding
        return [Reply(f"{request.key} among {[each.key for each in requests]}", "stop") for request in requests]


@pytest.fixture
def told_options(options: PredictOptions, photos: Path, monkeypatch: pytest.MonkeyPatch) -> PredictOptions:
    """As `options`, with `BatchTeller` and 13 records."""
    photos.write_text("".join((photos.read_text().splitlines(keepends=True) * 3)[:13]))
    opened: list[Predictor] = []

    def open_once(*args: Any) -> Predictor:
        opened[:] = opened or [dataclasses.replace(open_predictor(*args), engine=BatchTeller())]
        return opened[0]

    monkeypatch.setattr(run_module, "open_predictor", open_once)
    return options


def compare_shards(options: PredictOptions, counts: Sequence[int], folder: Path) -> Outcome:
    """Compare what shards make together with what one run makes, byte for byte."""
    whole = predict(options)
    for count in counts:
        out = folder / f"{count}" / "pred.jsonl"
        for k in reversed(range(count)):
            part = dataclasses.replace(options, out=out, shard=ShardFolder(out, Shard(k, count), ("predict",)))
            outcome = predict(part)
            assert predict(part).kept == outcome.written
        assert merge_predictions(out, whole_shards(out)) == (whole.written, list(whole.left_out))
        for name in ("pred.jsonl", "pred.jsonl.meta.json", "pred.jsonl.bad_records.jsonl"):
            made, wanted = out.with_name(name), options.out.with_name(name)
            assert made.exists() == wanted.exists()
            assert not made.exists() or made.read_bytes() == wanted.read_bytes()
        assert predict(dataclasses.replace(options, out=out)).written == 0
    return whole


def test_shards_merged_are_what_one_run_writes(told_options: PredictOptions, tmp_path: Path) -> None:
    assert compare_shards(told_options, range(1, 8), tmp_path).written == 13
    limited = dataclasses.replace(told_options, limit=7, out=tmp_path / "limited" / "pred.jsonl")
    assert compare_shards(limited, [3], tmp_path / "limited").written == 7


class TileTeller(BatchTeller):
    """As `BatchTeller`, with boxes of which some reach the border of a tile."""

    def generate(self, requests: Sequence[Request], decoding: Decoding) -> list[Reply]:
        del decoding
        among = str([each.key for each in requests])
        return [Reply(self._answer(f"{each.key} {among}"), "stop") for each in requests]

    def _answer(self, asked: str) -> str:
        x, y, w, h = (1 + number % 498 for number in hashlib.sha256(asked.encode()).digest()[:4])
        boxes = [[x, y, min(1000, x + 3 * w), min(1000, y + 3 * h)], [900, 0, 1000, 200 + w], [0, 0, 200, 300 + h]]
        objects = {f"object_{k}": {"bbox_2d": box, "desc": "cup"} for k, box in enumerate(boxes, 1)}
        return json.dumps(objects)


def test_shards_of_tiled_images_are_what_one_run_writes(
    told_options: PredictOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BatchTeller, "generate", lambda _, *rest: TileTeller().generate(*rest))
    tiled = dataclasses.replace(told_options, tiling=Tiling(64, 0.5))
    assert compare_shards(tiled, range(1, 8), tmp_path).objects > 26


def test_a_shard_without_a_record_says_why(
    told_options: PredictOptions, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    part = dataclasses.replace(told_options, shard=ShardFolder(told_options.out, Shard(0, 40), ("predict",)))
    with caplog.at_level("INFO"):
        assert predict(part).written == 0
    size = run_module._batch_size(told_options, None)
    why = f"shard 0/40 gets none of 13 records: shards have whole batches of {size}"
    assert [message for message in caplog.messages if "gets none" in message] == [why]


def test_shards_answer_as_one_run_does(options: PredictOptions, tmp_path: Path) -> None:
    compare_shards(options, [2], tmp_path)


def test_shards_leave_out_what_one_run_leaves_out(told_options: PredictOptions, photos: Path, tmp_path: Path) -> None:
    first, *others = photos.read_text().splitlines()
    bad, lost = json.loads(first), json.loads(first)
    bad["width"], lost["images"] = -1, ["torn.png"]
    (photos.parent / "torn.png").write_bytes((photos.parent / "0.png").read_bytes()[:-30])
    lines = [json.dumps(bad), first, others[0], json.dumps(lost), *others[1:], json.dumps(lost), json.dumps(bad)]
    photos.write_text("\n".join(lines))
    whole = compare_shards(dataclasses.replace(told_options, on_bad_record="skip"), [1, 2, 5, 7], tmp_path)
    assert (whole.written, len(whole.left_out)) == (13, 4)


def test_a_shard_that_was_killed_goes_on(options: PredictOptions, tmp_path: Path) -> None:
    shard = ShardFolder(options.out, Shard(1, 2), ("predict",))
    part = dataclasses.replace(options, shard=shard)
    predict(part)
    whole = shard.pieces.read_bytes()
    assert whole.count(b"\n") == 3
    (shard.path / "shard.json").unlink()
    shard.pieces.write_bytes(whole[: whole.index(b"\n") + 20])
    assert predict(part).kept == 1
    assert shard.pieces.read_bytes() == whole
    (shard.path / "shard.json").unlink()
    with pytest.raises(CheckpointError, match="must be continued with the same limit"):
        predict(dataclasses.replace(part, limit=4))
