"""Questions and answers of a predictor: what the model sees, and how its answers come back in file pixels."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from PIL import Image

from dcap.answers.codec import write
from dcap.answers.prediction import Dropped, Prediction
from dcap.answers.profile import AnswerProfile
from dcap.answers.prompts import PromptConfig
from dcap.augment.fit import fit_canvas
from dcap.core.errors import ConfigError, ImageError, RecordError
from dcap.data.config import DataConfig, resolve_profile
from dcap.data.dataset import DenseCaptionDataset
from dcap.data.encode import IGNORE_INDEX, Encoder, patchify, token_bytes
from dcap.evaluate.lines import line_agreement
from dcap.evaluate.repeats import Pruning
from dcap.geometry.affine import Affine
from dcap.geometry.canvas import Canvas
from dcap.geometry.clipping import transform, transform_and_clip
from dcap.geometry.measures import polygon_iou
from dcap.geometry.shapes import ShapeArray
from dcap.geometry.tiling import Tiling
from dcap.infer.asked_record import ask_record
from dcap.infer.engine import Reply
from dcap.infer.hf_engine import HfEngine
from dcap.infer.prediction_file import LeftOut
from dcap.infer.predictor import Predictor, Question, predict_image
from dcap.infer.run import PredictOptions, predict_batches
from dcap.infer.scripted_engine import ScriptedEngine
from dcap.model.decoding import Decoding
from dcap.model.generation import Prompt
from dcap.records.files.jsonl import JsonlFile
from dcap.records.record import Origin, Record


def make(
    tokenizer: Any,
    texts: Sequence[str] = (),
    mode: Literal["dense", "summary"] = "dense",
    finished: bool = True,
    answer: AnswerProfile | None = None,
) -> Predictor:
    """A predictor that answers with given texts, such as the truth as the trainer would have written it."""
    profile = resolve_profile(DataConfig(answer=answer or AnswerProfile()))
    left = list(texts)
    engine = ScriptedEngine(lambda *_: Reply(left.pop(0), "stop" if finished else "length", tokens=7))
    return Predictor(engine, Encoder(tokenizer), profile, mode)


def scripted(predictor: Predictor) -> ScriptedEngine:
    assert isinstance(predictor.engine, ScriptedEngine)
    return predictor.engine


def prompt(generator: Any, question: Question) -> Prompt:
    """A question as a model in this process takes it."""
    return HfEngine(generator, Encoder(generator.tokenizer)).prompt(question.request)


def predict_records(
    predictor: Predictor, records: Sequence[Record], options: PredictOptions
) -> tuple[list[tuple[Prediction, int]], list[tuple[LeftOut, int]]]:
    (made,) = predict_batches(predictor, [records], options)
    return made


def options(photos: Path, **more: Any) -> PredictOptions:
    return PredictOptions("builtin:micro", (photos,), photos.parent / "out.jsonl", **more)


def truth_texts(records: Sequence[Record], profile: AnswerProfile) -> list[str]:
    texts = []
    for record in records:
        seen = fit_canvas(record.canvas, profile.min_pixels, profile.max_pixels)
        scale = Affine.scaling(seen.width / record.canvas.width, seen.height / record.canvas.height)
        texts.append(write(transform(record.shapes, scale), record.captions, seen, profile))
    return texts


@pytest.mark.parametrize("norm", ["norm1000", "norm100", "none"])
@pytest.mark.parametrize("layout", ["object_map", "qwen"])
def test_true_answers_come_back_in_file_pixels(generator: Any, photos: Path, norm: Any, layout: str) -> None:
    answer = AnswerProfile(format=layout, emit_norm=norm)
    records = list(JsonlFile(photos))
    chosen = make(generator.tokenizer, truth_texts(records, answer), answer=answer)
    lines, lost = predict_records(chosen, records, options(photos))
    assert not lost
    for (line, k), record in zip(lines, records, strict=True):
        assert (line.image, line.problems, line.finish) == (record.image, (), "stop")
        assert (line.canvas, line.source) == (record.canvas, Origin(str(photos), k + 1))
        order = [record.captions.index(caption) for caption in line.captions]
        half_step = max(record.canvas.width, record.canvas.height) / (100 if norm == "norm100" else 250) / 2
        box = line.shapes.take([order.index(0)])
        np.testing.assert_allclose(box.xy, record.shapes.points(0), atol=half_step + 1e-4)
        overlap = polygon_iou(record.shapes.take(order), line.shapes)
        assert np.diag(overlap).min() > 0.9


def test_model_sees_the_image_as_the_published_processor_would_give_it(generator: Any, photos: Path) -> None:
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    answer = AnswerProfile(min_pixels=1024, max_pixels=10_000)
    processor = Qwen2VLImageProcessorPil(
        patch_size=16, image_mean=[0.5] * 3, image_std=[0.5] * 3, size={"shortest_edge": 1024, "longest_edge": 10_000}
    )
    chosen = make(generator.tokenizer, answer=answer)
    for record in JsonlFile(photos):
        (question,) = ask_record(chosen, record).questions
        mine = prompt(generator, question)
        with Image.open(photos.parent / record.image) as image:
            theirs = processor(images=[image.convert("RGB")], return_tensors="np")
        assert theirs["image_grid_thw"].tolist() == [list(mine.grid_thw)]
        assert question.seen.num_pixels <= 10_000
        np.testing.assert_allclose(mine.pixel_values, theirs["pixel_values"], atol=1e-6)


def test_prompt_and_pixels_are_those_of_training(generator: Any, photos: Path) -> None:
    """What the model is asked is, to the bit, what it was trained on without augmentation."""
    answer = AnswerProfile(format="qwen", max_pixels=80_000, prompts=PromptConfig(name="zh", system="Be brief."))
    data = DataConfig(train=(str(photos),), val=(str(photos),), answer=answer)
    chosen = make(generator.tokenizer, answer=answer)
    dataset = DenseCaptionDataset(data, "val", generator.tokenizer)
    for k, record in enumerate(JsonlFile(photos)):
        (question,), sample = ask_record(chosen, record).questions, dataset[k]
        asked = prompt(generator, question)
        assert sample.input_ids[: len(asked.input_ids)].tolist() == asked.input_ids.tolist()
        assert (sample.labels[: len(asked.input_ids)] == IGNORE_INDEX).all()
        assert sample.labels[len(asked.input_ids)] != IGNORE_INDEX
        assert np.array_equal(sample.pixel_values, asked.pixel_values)
        assert (sample.grid_thw, sample.scene.canvas) == (asked.grid_thw, question.seen)


def predict_first(chosen: Predictor, photos: Path) -> Prediction:
    ((line, _),), _ = predict_records(chosen, [JsonlFile(photos)[0]], options(photos))
    return line


def test_broken_answer_gives_its_whole_objects_and_the_problems(generator: Any, photos: Path) -> None:
    text = '{"object_1": {"bbox_2d": [0, 0, 500, 500], "desc": "cup"}, "object_2": {"bbox_2d": [1, 2'
    line = predict_first(make(generator.tokenizer, [text], finished=False), photos)
    assert line.objects() == [{"desc": "cup", "bbox_2d": [0.0, 0.0, 50.0, 35.0]}]
    assert line.problems[0] == "stopped after 7 tokens, before the answer ended"
    assert len(line.problems) > 1
    assert (line.text, line.finish) == (text, "length")


def test_a_polygon_that_encloses_nothing_is_left_out_and_told(generator: Any, photos: Path) -> None:
    flat = '"poly_points": 3, "poly": [[0, 0], [500, 500], [1000, 1000]]'
    text = f'{{"object_1": {{{flat}, "desc": "cup"}}, "object_2": {{"bbox_2d": [0, 0, 500, 500], "desc": "mug"}}}}'
    line = predict_first(make(generator.tokenizer, [text]), photos)
    assert line.objects() == [{"desc": "mug", "bbox_2d": [0.0, 0.0, 50.0, 35.0]}]
    assert line.problems == ("object 1 must enclose an area, and is left out",)


def test_summary_is_kept_as_text(generator: Any, photos: Path) -> None:
    chosen = make(generator.tokenizer, ["a {cat}"], mode="summary")
    line = predict_first(chosen, photos)
    assert (line.summary, line.captions, line.problems) == ("a {cat}", (), ())
    assert [request.user for request in scripted(chosen).asked] == [chosen.profile.prompts.summary]


def thinking(tokenizer: Any) -> Any:
    """The tokenizer with the chat template of a thinking model, which opens reasoning."""
    other = copy.deepcopy(tokenizer)
    other.chat_template = tokenizer.chat_template.replace("assistant\\n", "assistant\\n<think>\\n")
    return other


def test_what_a_thinking_model_drafts_is_no_prediction(generator: Any, photos: Path) -> None:
    draft, answer = (json.dumps({"object_1": {"bbox_2d": [0, 0, 500, 500], "desc": name}}) for name in ("draft", "cup"))
    tokenizer = thinking(generator.tokenizer)
    line = predict_first(make(tokenizer, [f"Is it {draft}?\n</think>\n\n{answer}"]), photos)
    assert (line.captions, line.problems) == (("cup",), ())
    line = predict_first(make(tokenizer, [f"Is it {draft}?"], finished=False), photos)
    assert (line.captions, line.problems[1:]) == (
        (),
        ("character 0: reasoning must end with </think> before the answer",),
    )
    line = predict_first(make(tokenizer, ["Hm.\n</think>\n\na cat"], mode="summary"), photos)
    assert (line.summary, line.problems) == ("a cat", ())
    line = predict_first(make(tokenizer, ["Hm."], mode="summary"), photos)
    assert (line.summary, line.problems) == (None, ("reasoning must end with </think> before the answer",))


def test_bad_image_is_an_error_or_left_out(generator: Any, photos: Path) -> None:
    whole = (photos.parent / "1.png").read_bytes()
    (photos.parent / "1.png").write_bytes(whole[: len(whole) // 2])
    records = list(JsonlFile(photos))[:3]
    with pytest.raises(ImageError, match=r"photos\.jsonl:2: image .*1\.png must be whole"):
        predict_records(make(generator.tokenizer), records, options(photos))
    skip = options(photos, on_bad_record="skip")
    lines, lost = predict_records(make(generator.tokenizer, ["{}"] * 2), records, skip)
    assert [k for _, k in lines] == [0, 2]
    assert [(each.file, each.line, k) for each, k in lost] == [(str(photos), 2, 1)]
    assert "photos.jsonl:2: image" in lost[0][0].error


def test_image_too_narrow_for_the_model_is_a_bad_record(generator: Any, photos: Path) -> None:
    Image.new("RGB", (900, 2)).save(photos.parent / "0.png")
    photos.write_text('{"images": ["0.png"], "width": 900, "height": 2, "objects": []}\n')
    with pytest.raises(RecordError, match=r"photos\.jsonl:1: width, height must have an aspect ratio of at most 200"):
        predict_first(make(generator.tokenizer), photos)
    with pytest.raises(ImageError, match=r"width, height must have an aspect ratio of at most 200, not 900 x 2"):
        predict_image(make(generator.tokenizer), photos.parent / "0.png")


def test_a_sixteen_bit_image_is_seen_as_in_training(generator: Any, photos: Path) -> None:
    values = np.linspace(0, 4095, 70 * 100).reshape(70, 100).astype(np.uint16)
    Image.fromarray(values).save(photos.parent / "0.png")
    data = DataConfig(train=(str(photos),), val=(str(photos),), sixteen_bit="minmax")
    chosen = replace(make(generator.tokenizer, ["{}"]), profile=resolve_profile(data))
    sample = DenseCaptionDataset(data, "val", generator.tokenizer)[0]
    (question,) = ask_record(chosen, JsonlFile(photos)[0]).questions
    assert np.array_equal(prompt(generator, question).pixel_values, sample.pixel_values)
    predict_image(chosen, photos.parent / "0.png")
    (asked,) = scripted(chosen).asked
    assert asked.image is not None
    assert np.array_equal(patchify(asked.image), sample.pixel_values)


def test_what_the_engine_cannot_answer_is_a_bad_record(generator: Any, photos: Path) -> None:
    chosen = make(generator.tokenizer)
    engine = ScriptedEngine(lambda request, _: Reply("", "error", error="too long") if ":2" in request.key else "{}")
    chosen, records = replace(chosen, engine=engine), list(JsonlFile(photos))[:3]
    with pytest.raises(RecordError, match=r"^photos\.jsonl:2: too long$"):
        predict_records(chosen, records, options(photos))
    lines, lost = predict_records(chosen, records, options(photos, on_bad_record="skip"))
    assert ([k for _, k in lines], [(each.error, k) for each, k in lost]) == ([0, 2], [("photos.jsonl:2: too long", 1)])
    question = chosen.question(np.zeros((40, 40, 3), np.uint8))
    with pytest.raises(RecordError, match=r"^a\.png: too long$"):
        chosen.prediction(question, Reply("", "error", error="too long"), "a.png")


def test_key_of_a_question_is_its_record(generator: Any, photos: Path) -> None:
    (question,) = ask_record(make(generator.tokenizer), JsonlFile(photos)[1]).questions
    assert question.request.key == f"{photos}:2"


def test_extreme_questions_have_the_smallest_and_a_large_image(generator: Any) -> None:
    chosen = make(generator.tokenizer, answer=AnswerProfile(min_pixels=4096, max_pixels=100_000))
    small, large = chosen.extreme_questions()
    assert small.seen.num_pixels == 4096
    assert 0.8 * 100_000 <= large.seen.num_pixels <= 100_000


def test_predictions_have_one_answer_each(generator: Any) -> None:
    with pytest.raises(ConfigError, match="num_samples must be 1 for predictions, not 2"):
        replace(make(generator.tokenizer), decoding=Decoding(num_samples=2))


@pytest.mark.parametrize("decoding", [Decoding(grammar=True), Decoding(stop_repeats=3)])
def test_a_summary_has_no_grammar(generator: Any, decoding: Decoding) -> None:
    with pytest.raises(ConfigError, match=r"^(grammar|stop_repeats) must be left out for summaries, which have no"):
        replace(make(generator.tokenizer, mode="summary"), decoding=decoding)


def test_questions_say_how_objects_are_written_and_summaries_are_free(generator: Any) -> None:
    image = np.zeros((64, 64, 3), np.uint8)
    dense = make(generator.tokenizer, answer=AnswerProfile(format="rows"))
    assert dense.question(image).request.profile == AnswerProfile(format="rows")
    assert make(generator.tokenizer, mode="summary").question(image).request.profile is None


@pytest.mark.parametrize(
    ("most", "told"), [(1, ["stopped behind object 2, which repeats an earlier one (stop_repeats: 1)"]), (2, [])]
)
def test_an_answer_that_ended_at_a_repeat_says_so(generator: Any, most: int, told: list[str]) -> None:
    text = '[[1,2,3,4,"cup"],[1,2,3,4,"cup"]'
    predictor = replace(
        make(generator.tokenizer, [text], answer=AnswerProfile(format="rows")), decoding=Decoding(stop_repeats=most)
    )
    found = predict_image(predictor, np.zeros((64, 64, 3), np.uint8))
    assert found.captions == ("cup", "cup")
    assert [each for each in found.problems if "stopped" in each] == told


def test_a_batch_of_bad_images_asks_nothing(generator: Any, photos: Path) -> None:
    for i in range(2):
        (photos.parent / f"{i}.png").write_bytes(b"")
    chosen = make(generator.tokenizer)
    lines, lost = predict_records(chosen, list(JsonlFile(photos))[:2], options(photos, on_bad_record="skip"))
    assert (lines, len(lost)) == ([], 2)
    assert scripted(chosen).asked == []


def test_an_image_is_predicted_from_a_path_a_picture_or_an_array(generator: Any, photos: Path) -> None:
    text = '{"object_1": {"bbox_2d": [0, 0, 500, 500], "desc": "cup"}}'
    turned = Image.new("RGB", (40, 20), (9, 9, 9))
    turned.getexif()[0x0112] = 6
    path = photos.parent / "turned.png"
    turned.save(path, exif=turned.getexif())
    upright = np.full((40, 20, 3), 9, np.uint8)
    found = [predict_image(make(generator.tokenizer, [text]), image) for image in (path, str(path), turned, upright)]
    assert [each.image for each in found] == [str(path), str(path), "", ""]
    for each in found:
        assert (each.canvas, each.captions, each.problems, each.finish) == (Canvas(40, 20), ("cup",), (), "stop")
        assert each.shapes.xy.tolist() == [[0, 0], [10, 20]]
        assert (each.source, each.text) == (None, text)


@pytest.mark.parametrize("shape", [(4, 4), (4, 4, 4), (0, 4, 3)])
def test_an_array_of_another_shape_is_refused(generator: Any, shape: tuple[int, ...]) -> None:
    with pytest.raises(ImageError, match=r"image must be uint8 \(H, W, 3\) RGB, not uint8"):
        predict_image(make(generator.tokenizer), np.zeros(shape, np.uint8))
    with pytest.raises(ImageError, match="not float32"):
        predict_image(make(generator.tokenizer), np.zeros((4, 4, 3), np.float32))  # type: ignore[arg-type]


CUPS = (
    '{"object_1": {"bbox_2d": [100, 100, 300, 300], "desc": "cup"}, '
    '"object_2": {"poly_points": 3, "poly": [[5, 5], [5, 6], [5, 9]], "desc": "flat"}, '
    '"object_3": {"bbox_2d": [100, 100, 300, 300], "desc": "cup"}, '
    '"object_4": {"bbox_2d": [400, 400, 600, 600], "desc": "猫"}}'
)


def scored_reply(tokenizer: Any, text: str, doubtful: str) -> Reply:
    """An answer whose tokens are sure, but for those of one text."""
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    place, end, logprobs = 0, text.encode().index(doubtful.encode()) + len(doubtful.encode()), []
    for token in ids:
        place += len(token_bytes(tokenizer, token))
        logprobs.append(-1.0 if end - len(doubtful.encode()) < place <= end else 0.0)
    return Reply(text, "stop", tuple(ids), tuple(logprobs), tokens=len(ids))


def test_objects_have_scores_where_the_engine_tells_log_probabilities(generator: Any, photos: Path) -> None:
    reply = scored_reply(generator.tokenizer, CUPS, "猫")
    chosen = replace(make(generator.tokenizer), engine=ScriptedEngine(lambda *_: reply))
    record = JsonlFile(photos)[0]
    (question,) = ask_record(chosen, record).questions
    found = chosen.prediction(question, reply)
    assert found.captions == ("cup", "cup", "猫")  # the flat polygon is left out, and its score with it
    assert found.scores == (1.0, 1.0, pytest.approx(np.exp(-0.5), abs=1e-6))
    assert chosen.prediction(question, replace(reply, logprobs=None)).scores == ()
    assert chosen.prediction(question, replace(reply, token_ids=None)).scores == ()
    assert chosen.prediction(question, replace(reply, text="Sure: " + CUPS)).scores == ()


def test_repeats_are_dropped_on_request_and_stay_in_the_text(generator: Any, photos: Path) -> None:
    records = list(JsonlFile(photos))[:1]
    ((line, _),), _ = predict_records(
        make(generator.tokenizer, [CUPS]), records, options(photos, pruning=Pruning(True))
    )
    assert (line.captions, line.dropped, line.text) == (("cup", "猫"), Dropped(repeats=1), CUPS)


def test_tiles_of_an_image_are_asked_and_merged(generator: Any, tmp_path: Path) -> None:
    """An engine that is right about each tile gives the record, through all of the way."""
    objects = [
        {"desc": "field", "bbox_2d": [5, 5, 295, 195]},
        {"desc": "pond", "poly": [80, 60, 160, 60, 150, 110, 90, 100]},
        {"desc": "path", "line": [10, 150, 150, 170, 290, 130]},
    ]
    pixels = np.random.default_rng(0).integers(0, 256, (200, 300, 3), np.uint8)
    for name, image in (("large", pixels), ("small", pixels[:60, :90])):
        Image.fromarray(image).save(tmp_path / f"{name}.png")
    large = {"images": ["large.png"], "width": 300, "height": 200, "objects": objects}
    small = {"images": ["small.png"], "width": 90, "height": 60, "objects": []}
    file = tmp_path / "r.jsonl"
    file.write_text(json.dumps(large) + "\n" + json.dumps(small) + "\n")
    truth, tiling, answer = ShapeArray.from_objects(objects), Tiling(128, 0.25), AnswerProfile(min_pixels=1024)
    windows = {f"{file}:1 {window}": window for window in tiling.plan(Canvas(200, 300)).windows}

    def right(request: Any, _: int) -> str:
        if request.key not in windows:
            return "{}"
        window = windows[request.key]
        part = pixels[window.y : window.y + window.height, window.x : window.x + window.width]
        assert np.array_equal(request.image, part), "a tile is shown as it is in the file"
        cut = transform_and_clip(truth, Affine.translation(-window.x, -window.y), window.canvas)
        return write(cut.shapes, [objects[i]["desc"] for i in cut.source_index], window.canvas, answer)

    predictor = replace(make(generator.tokenizer, answer=answer), engine=ScriptedEngine(right))
    settings, records = options(file, tiling=tiling), [JsonlFile(file)[k] for k in range(2)]
    ((lines, lost),) = predict_batches(predictor, [records], settings)
    assert not lost
    assert [request.key for request in scripted(predictor).asked] == [*windows, f"{file}:2"]
    (found, first), (empty, _) = lines
    assert (first, found.image, found.canvas, found.source) == (0, "large.png", Canvas(200, 300), Origin(str(file), 1))
    assert found.captions == ("field", "pond", "path")
    assert np.diag(polygon_iou(truth, found.shapes))[:2].min() > 0.95
    assert line_agreement(truth.take([2]), found.shapes.take([2]), 1.0)[0, 0] > 0.99
    assert found.finish == "stop"
    assert found.text.count("tile ") == len(windows) == 6
    assert (empty.text, empty.captions) == ("{}", ())
    alone = predict_image(replace(predictor, engine=ScriptedEngine(lambda *_: "{}")), pixels, tiling)
    assert (alone.canvas, len(alone.shapes)) == (Canvas(200, 300), 0)


def test_an_answer_about_a_tile_that_fails_fails_the_record(generator: Any, photos: Path) -> None:
    def reply(request: Any, _: int) -> Reply | str:
        return Reply("", "error", error="too large") if "at (36, 0)" in request.key else "{}"

    predictor = replace(make(generator.tokenizer), engine=ScriptedEngine(reply))
    settings = options(photos, tiling=Tiling(64), on_bad_record="skip")
    ((lines, lost),) = predict_batches(predictor, [[JsonlFile(photos)[0], JsonlFile(photos)[1]]], settings)
    assert [k for _, k in lines] == [1]
    assert [(item.error, k) for item, k in lost] == [("photos.jsonl:1: too large", 0)]


def test_tiles_are_those_of_the_training_if_no_others_are_asked_for(generator: Any, photos: Path) -> None:
    predictor = make(generator.tokenizer)
    predictor = replace(predictor, profile=replace(predictor.profile, tiles=Tiling(64, 0.0)))
    record = JsonlFile(photos)[0]  # 100 x 70 pixels
    assert len(ask_record(predictor, record).questions) == 4
    assert len(ask_record(predictor, record, tiling=Tiling(70, 0.0)).questions) == 2
    assert len(ask_record(predictor, record, tiling=Tiling(100)).questions) == 1
    assert len(ask_record(replace(predictor, mode="summary"), record).questions) == 1
    asked = ScriptedEngine(lambda *_: "{}")
    predict_image(replace(predictor, engine=asked), np.zeros((70, 100, 3), np.uint8))
    assert len(asked.asked) == 4
    ((lines, _),) = predict_batches(replace(predictor, engine=asked), [[record]], options(photos))
    assert lines[0][0].text.count("tile ") == 4


def test_too_many_tiles_are_named(generator: Any, photos: Path) -> None:
    record = replace(JsonlFile(photos)[0], canvas=Canvas(5000, 5000))
    with pytest.raises(RecordError, match=r"photos\.jsonl:1: width, height must need at most 4096 tiles, not \d+ for"):
        ask_record(make(generator.tokenizer), record, tiling=Tiling(64, 0.0))
