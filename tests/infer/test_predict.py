import dataclasses
import json

import pytest
import torch
from PIL import Image

from dcap.core.errors import CheckpointError, ConfigError, RecordError
from dcap.infer import predictor as predictor_module
from dcap.infer.left_out import read_list
from dcap.infer.options import PredictOptions, choose_device
from dcap.infer.predict import Outcome, predict
from dcap.infer.predictor import Predictor


@pytest.fixture
def options(photos, generator, monkeypatch, tmp_path):
    """Options of a run that uses the model of the session instead of loading one."""

    def load(config, device, for_generation):
        assert for_generation
        assert (config.dtype, device.type) == ("float32", "cpu")
        return generator.model

    monkeypatch.setattr(predictor_module, "load_model", load)
    return PredictOptions(
        "builtin:tiny", (photos,), tmp_path / "out" / "pred.jsonl", batch_size=2, max_new_tokens=6, device="cpu"
    )


def test_one_line_per_record_in_order_and_the_same_bytes_every_time(options, tmp_path):
    outcome = predict(options)
    assert (outcome.written, outcome.kept, outcome.left_out) == (5, 0, ())
    lines = [json.loads(line) for line in options.out.read_text("utf-8").splitlines()]
    assert [line["images"] for line in lines] == [[f"{i}.png"] for i in range(5)]
    assert [line["source"]["line"] for line in lines] == [1, 2, 3, 4, 5]
    assert outcome.unclean == sum(bool(line["problems"]) for line in lines)
    again = dataclasses.replace(options, out=tmp_path / "again.jsonl")
    predict(again)
    assert again.out.read_bytes() == options.out.read_bytes()


def test_batch_size_does_not_change_the_answers(options, tmp_path):
    predict(options)
    for size in (1, 5):
        other = dataclasses.replace(options, out=tmp_path / f"{size}.jsonl", batch_size=size)
        predict(other)
        assert other.out.read_bytes() == options.out.read_bytes()


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 0.9, 1.0])
def test_killed_run_is_continued_to_the_same_bytes(options, share):
    predict(options)
    whole = options.out.read_bytes()
    options.out.write_bytes(whole[: int(len(whole) * share)])
    outcome = predict(options)
    assert options.out.read_bytes() == whole
    assert outcome.written + outcome.kept == 5


def test_complete_file_loads_no_model(options, monkeypatch):
    predict(options)
    monkeypatch.setattr(predictor_module, "load_model", None)
    assert predict(options).kept == 5


def test_limit_is_continued_by_a_larger_one(options):
    assert predict(dataclasses.replace(options, limit=3)).written == 3
    outcome = predict(options)
    assert (outcome.written, outcome.kept) == (2, 3)
    assert len(options.out.read_bytes().splitlines()) == 5


def test_other_settings_or_data_do_not_continue(options, photos):
    predict(dataclasses.replace(options, limit=1))
    with pytest.raises(CheckpointError, match="the same max-new-tokens"):
        predict(dataclasses.replace(options, max_new_tokens=5))
    with pytest.raises(CheckpointError, match="the same mode"):
        predict(dataclasses.replace(options, mode="summary"))
    photos.write_text(photos.read_text().replace("half", "all"))
    with pytest.raises(CheckpointError, match="the same data"):
        predict(options)
    assert predict(dataclasses.replace(options, overwrite=True)).written == 5


def test_last_line_of_no_record_is_refused(options):
    predict(dataclasses.replace(options, limit=1))
    options.out.write_text(options.out.read_text().replace('"line":1', '"line":77'))
    with pytest.raises(CheckpointError, match=r"last line must answer a record of the data.*--overwrite"):
        predict(options)


def test_bad_records_stop_before_anything_is_loaded(options, photos, monkeypatch):
    monkeypatch.setattr(predictor_module, "load_model", None)
    (photos.parent / "2.png").unlink()
    photos.write_text(photos.read_text() + "{}\n")
    with pytest.raises(RecordError) as error:
        predict(options)
    assert "photos.jsonl:3" in str(error.value)
    assert "photos.jsonl:6" in str(error.value)
    assert not options.out.exists()


def test_skipped_records_are_named_and_the_run_continues_past_them(options, photos):
    (photos.parent / "0.png").unlink()
    whole = (photos.parent / "3.png").read_bytes()
    (photos.parent / "3.png").write_bytes(whole[: len(whole) // 2])
    skip = dataclasses.replace(options, on_bad_record="skip")
    outcome = predict(skip)
    assert outcome.written == 3
    assert [item.error.partition(": ")[0] for item in outcome.left_out] == ["photos.jsonl:1", "photos.jsonl:4"]
    assert read_list(options.out) == list(outcome.left_out)
    whole_file = options.out.read_bytes()
    assert [json.loads(line)["source"]["line"] for line in whole_file.splitlines()] == [2, 3, 5]
    options.out.write_bytes(b"".join(whole_file.splitlines(keepends=True)[:1]) + b'{"ima')
    assert predict(skip).left_out == outcome.left_out
    assert options.out.read_bytes() == whole_file
    # Nothing is tried again, and what was left out before is still said.
    assert predict(skip) == Outcome(0, 3, 0, outcome.left_out)
    assert read_list(options.out) == list(outcome.left_out)


def test_error_may_be_answered_by_skipping_the_rest_of_the_way(options, photos):
    whole = (photos.parent / "3.png").read_bytes()
    (photos.parent / "3.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(RecordError, match=r"photos\.jsonl:4"):
        predict(options)
    outcome = predict(dataclasses.replace(options, on_bad_record="skip"))
    assert (outcome.written, outcome.kept, len(outcome.left_out)) == (2, 2, 1)


def test_lines_of_finished_batches_survive_a_failure(options, monkeypatch):
    answer, calls = Predictor.answer, []

    def fail_later(self, records):
        calls.append(records)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return answer(self, records)

    monkeypatch.setattr(Predictor, "answer", fail_later)
    with pytest.raises(KeyboardInterrupt):
        predict(options)
    assert len(options.out.read_bytes().splitlines()) == 4
    monkeypatch.setattr(Predictor, "answer", answer)
    outcome = predict(options)
    assert (outcome.written, outcome.kept) == (1, 4)


def test_exif_orientation_and_grey_images_are_predicted_as_displayed(options, photos):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("L", (100, 60), 90).save(photos.parent / "turned.jpg", exif=exif)
    photos.write_text('{"images": ["turned.jpg"], "width": 60, "height": 100, "objects": []}\n')
    assert predict(options).written == 1


@pytest.mark.parametrize("name", ["batch_size", "max_new_tokens", "limit"])
def test_options_must_be_positive(options, name):
    with pytest.raises(ConfigError, match=rf"--{name.replace('_', '-')} must be at least 1, not 0"):
        dataclasses.replace(options, **{name: 0})


def test_device_and_precision_follow_from_the_machine():
    assert choose_device("cpu", None) == (torch.device("cpu"), "float32")
    assert choose_device("cpu", "bfloat16")[1] == "bfloat16"
    with pytest.raises(ConfigError, match="--device must be"):
        choose_device("no such device", None)
    with pytest.raises(ConfigError, match="--device must be one of this machine's"):
        choose_device("cuda:99", None)
