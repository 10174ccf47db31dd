from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from dcap.answers.codec import write
from dcap.answers.profile import AnswerProfile
from dcap.answers.prompts import PromptConfig
from dcap.augment.config import AugmentConfig
from dcap.augment.fit import fit_canvas
from dcap.core.errors import ImageError, RecordError
from dcap.data.config import DataConfig, resolve_profile
from dcap.data.dataset import DenseCaptionDataset
from dcap.data.encode import IGNORE_INDEX, Encoder
from dcap.geometry.affine import Affine
from dcap.geometry.canvas import Canvas
from dcap.geometry.overlap import polygon_iou
from dcap.geometry.shapes import ShapeArray
from dcap.geometry.transform import transform
from dcap.infer.options import PredictOptions
from dcap.infer.predictor import Predictor, to_file_pixels
from dcap.model.generation import Generated
from dcap.records.files.jsonl import JsonlFile


class Oracle:
    """Answers every prompt with the truth, as the trainer would have written it."""

    def __init__(self, texts, finished=True):
        self.texts, self.finished, self.asked = list(texts), finished, []

    def generate(self, prompts):
        self.asked += prompts
        return [Generated(self.texts.pop(0), 7, self.finished) for _ in prompts]


def predictor(tokenizer, texts, photos, mode="dense", finished=True, **options):
    profile = resolve_profile(DataConfig(answer=options.pop("answer", AnswerProfile())))
    chosen = PredictOptions("builtin:tiny", (photos,), photos.parent / "out.jsonl", **options)
    return Predictor(Oracle(texts, finished), Encoder(tokenizer), profile, mode, chosen)


def truth_texts(records, profile):
    texts = []
    for record in records:
        seen = fit_canvas(record.canvas, profile.min_pixels, profile.max_pixels)
        scale = Affine.scaling(seen.width / record.canvas.width, seen.height / record.canvas.height)
        texts.append(write(transform(record.shapes, scale), record.captions, seen, profile))
    return texts


@pytest.mark.parametrize("norm", ["norm1000", "norm100", "none"])
@pytest.mark.parametrize("layout", ["object_map", "qwen"])
def test_true_answers_come_back_in_file_pixels(generator, photos, norm, layout):
    answer = AnswerProfile(format=layout, emit_norm=norm)
    records = list(JsonlFile(photos))
    chosen = predictor(generator.tokenizer, truth_texts(records, answer), photos, answer=answer)
    lines, lost = chosen.answer(records)
    assert not lost
    for (line, k), record in zip(lines, records, strict=True):
        assert (line["images"], line["problems"]) == ([record.image], [])
        assert (line["width"], line["height"]) == (record.canvas.width, record.canvas.height)
        assert line["source"] == {"file": str(photos), "line": k + 1}
        shapes = ShapeArray.from_objects(line["objects"])
        order = [record.captions.index(obj["desc"]) for obj in line["objects"]]
        half_step = max(record.canvas.width, record.canvas.height) / (100 if norm == "norm100" else 250) / 2
        np.testing.assert_allclose(shapes.take([order.index(0)]).xy, record.shapes.points(0), atol=half_step + 1e-4)
        overlap = polygon_iou(record.shapes.take(order), shapes)
        assert np.diag(overlap).min() > 0.9


def test_model_sees_the_image_as_the_published_processor_would_give_it(generator, photos):
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    answer = AnswerProfile(min_pixels=1024, max_pixels=10_000)
    processor = Qwen2VLImageProcessorPil(
        patch_size=16, image_mean=[0.5] * 3, image_std=[0.5] * 3, size={"shortest_edge": 1024, "longest_edge": 10_000}
    )
    chosen = predictor(generator.tokenizer, [], photos, answer=answer)
    for record in JsonlFile(photos):
        prompt, canvas = chosen.prompt(record)
        with Image.open(photos.parent / record.image) as image:
            theirs = processor(images=[image.convert("RGB")], return_tensors="np")
        assert theirs["image_grid_thw"].tolist() == [list(prompt.grid_thw)]
        assert canvas.num_pixels <= 10_000
        np.testing.assert_allclose(prompt.pixel_values, theirs["pixel_values"], atol=1e-6)


def test_prompt_and_pixels_are_those_of_training(generator, photos):
    """What the model is asked is, to the bit, what it was trained on without augmentation."""
    answer = AnswerProfile(format="qwen", max_pixels=80_000, prompts=PromptConfig(name="zh", system="Be brief."))
    data = DataConfig(train=(str(photos),), val=(str(photos),), answer=answer)
    config = SimpleNamespace(data=data, augmentation=AugmentConfig(), model=None, seed=0)
    dataset = DenseCaptionDataset(config, "val", generator.tokenizer)
    chosen = predictor(generator.tokenizer, [], photos, answer=answer)
    for k, record in enumerate(JsonlFile(photos)):
        prompt, canvas = chosen.prompt(record)
        sample = dataset[k]
        assert sample.input_ids[: len(prompt.input_ids)].tolist() == prompt.input_ids.tolist()
        assert (sample.labels[: len(prompt.input_ids)] == IGNORE_INDEX).all()
        assert sample.labels[len(prompt.input_ids)] != IGNORE_INDEX
        assert np.array_equal(sample.pixel_values, prompt.pixel_values)
        assert (sample.grid_thw, sample.scene.canvas) == (prompt.grid_thw, canvas)


def test_broken_answer_gives_its_whole_objects_and_the_problems(generator, photos):
    text = '{"object_1": {"bbox_2d": [0, 0, 500, 500], "desc": "cup"}, "object_2": {"bbox_2d": [1, 2'
    lines, _ = predictor(generator.tokenizer, [text], photos, finished=False).answer([JsonlFile(photos)[0]])
    (line, _) = lines[0]
    assert line["objects"] == [{"desc": "cup", "bbox_2d": [0.0, 0.0, 50.0, 35.0]}]
    assert line["problems"][0] == "stopped after 7 tokens, before the answer ended"
    assert len(line["problems"]) > 1
    assert line["text"] == text


def test_summary_is_kept_as_text(generator, photos):
    chosen = predictor(generator.tokenizer, ["a {cat}"], photos, mode="summary")
    lines, _ = chosen.answer([JsonlFile(photos)[0]])
    assert (lines[0][0]["summary"], lines[0][0]["objects"], lines[0][0]["problems"]) == ("a {cat}", [], [])
    asked = generator.tokenizer.decode(chosen.generator.asked[0].input_ids.tolist())
    assert chosen.profile.prompts.summary in asked


def test_bad_image_is_an_error_or_left_out(generator, photos):
    whole = (photos.parent / "1.png").read_bytes()
    (photos.parent / "1.png").write_bytes(whole[: len(whole) // 2])
    records = list(JsonlFile(photos))[:3]
    with pytest.raises(ImageError, match=r"photos\.jsonl:2: image .*1\.png must be whole"):
        predictor(generator.tokenizer, [], photos).answer(records)
    lines, lost = predictor(generator.tokenizer, ["{}"] * 2, photos, on_bad_record="skip").answer(records)
    assert [k for _, k in lines] == [0, 2]
    assert len(lost) == 1
    assert (lost[0].file, lost[0].line) == (str(photos), 2)
    assert "photos.jsonl:2: image" in lost[0].error


def test_image_too_narrow_for_the_model_is_a_bad_record(generator, photos):
    Image.new("RGB", (900, 2)).save(photos.parent / "0.png")
    text = photos.read_text().splitlines()[0]
    photos.write_text('{"images": ["0.png"], "width": 900, "height": 2, "objects": []}\n' + text + "\n")
    with pytest.raises(RecordError, match=r"photos\.jsonl:1: .*aspect ratio of at most 200"):
        predictor(generator.tokenizer, [], photos).answer([JsonlFile(photos)[0]])


def test_a_batch_of_bad_images_asks_nothing(generator, photos):
    for i in range(2):
        (photos.parent / f"{i}.png").write_bytes(b"")
    chosen = predictor(generator.tokenizer, [], photos, on_bad_record="skip")
    lines, lost = chosen.answer(list(JsonlFile(photos))[:2])
    assert (lines, len(lost)) == ([], 2)
    assert chosen.generator.asked == []


@pytest.mark.parametrize(("height", "width"), [(1, 1), (7, 1999), (4000, 3)])
def test_smallest_shape_of_the_grid_stays_a_shape_in_file_pixels(height, width):
    seen = Canvas(320, 320)
    step = 320 / 1000
    shapes = ShapeArray.from_objects([{"bbox_2d": [999 * step, 999 * step, 320, 320]}, {"bbox_2d": [0, 0, step, step]}])
    mapped = to_file_pixels(shapes, seen, Canvas(height, width))
    again = ShapeArray.from_objects(mapped.to_objects())
    assert again == mapped
    assert mapped.xy.max(axis=0).tolist() == [width, height]


def test_torch_is_left_in_its_usual_mode(generator):
    assert not torch.is_inference_mode_enabled()
