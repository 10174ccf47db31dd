"""Each check of a sample: passes what dcap makes, and fails on input that is wrong in just that way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dcap.answers.formats import OWN_FORMATS
from dcap.audit import sample_checks as audit_checks
from dcap.audit.sample_checks import SAMPLE_CHECKS, AuditedSample, Check, Found, Tally, illegal
from dcap.core.errors import RecordError
from dcap.data.planning import PlannedSample
from dcap.geometry.canvas import Canvas
from dcap.geometry.shapes import ShapeArray
from dcap.records.checking import CheckedRecords
from dcap.records.preprocess import Chain
from support.dataset_cases import make_dataset, photo, records

OUTSIDE = ShapeArray.trusted(np.array([[1.0, 1], [9999, 5]]), np.array([0, 2]), np.zeros(1, np.uint8))


@pytest.fixture
def make(tmp_path: Path, micro_folder: Path) -> Callable[..., AuditedSample]:
    """Return a sample of one record, of which a test may change what it wants."""

    def made(*, skips: bool = False, steps: Any = (), item: dict[str, Any] | None = None, **data: Any) -> AuditedSample:
        item = {**photo(tmp_path), "summary": "things", **(item or {})}
        dataset = make_dataset(micro_folder, train=records(tmp_path, item), **data)
        dataset.records = replace(dataset.records, chain=Chain(tuple(steps)))
        return AuditedSample(dataset, 0, 0, skips=skips, decode=True, encode=True)

    return made


Make = Callable[..., AuditedSample]


def changed(sample: AuditedSample, **fields: Any) -> AuditedSample:
    """Give a sample another plan than the planner's."""
    assert isinstance(sample.planned, PlannedSample)
    if "text" in fields:
        sample.__dict__["text"] = fields.pop("text")
    scene = {name: fields.pop(name) for name in ("shapes", "captions", "canvas") if name in fields}
    result = replace(sample.planned.result, scene=replace(sample.planned.result.scene, **scene))
    sample.__dict__["planned"] = replace(sample.planned, result=result, **fields)
    return sample


def texts(check: Check, sample: AuditedSample) -> list[str]:
    found = check(sample)
    assert found is not None
    return [item.text for item in found if item.fails]


@pytest.mark.parametrize("mode", ["dense", "summary"])
@pytest.mark.parametrize("answer_format", OWN_FORMATS)
def test_what_dcap_makes_passes(make: Make, mode: str, answer_format: str) -> None:
    answer = {"max_pixels": 90_000, "format": answer_format, "prefix": "{num_boxes} boxes\n"}
    sample = make(mode=mode, answer=answer, steps=[("same", lambda record: record)])
    assert [(check.__name__, check(sample)) for check in SAMPLE_CHECKS] == [(c.__name__, []) for c in SAMPLE_CHECKS]


@pytest.mark.parametrize("mode", ["summary", "mixed", "dense"])
def test_texts_that_follow_a_mirror_image_pass(tmp_path: Path, micro_folder: Path, mode: str) -> None:
    box = {"desc": "the left box", "bbox_2d": [5, 5, 60, 60]}
    item = {**photo(tmp_path), "objects": [box], "summary": "A box on the left."}
    train = records(tmp_path, item)
    dataset = make_dataset(micro_folder, {"ops": [{"name": "hflip"}]}, train=train, mode=mode, summary_ratio=1.0)
    sample = AuditedSample(dataset, 0, 0, skips=False, decode=True, encode=True)
    assert [found for check in SAMPLE_CHECKS if check is not audit_checks.words for found in check(sample) or ()] == []
    assert ("the right box" if mode == "dense" else "A box on the right.") in sample.text


def with_words(tmp_path: Path, micro_folder: Path, caption: str, **rules: str) -> list[Found | Tally] | None:
    item = {**photo(tmp_path), "objects": [{"desc": caption, "bbox_2d": [5, 5, 60, 60]}]}
    augmentation = {"ops": [{"name": "hflip"}, {"name": "solarize"}], "words": rules}
    dataset = make_dataset(micro_folder, augmentation, train=records(tmp_path, item))
    return audit_checks.words(AuditedSample(dataset, 0, 0, skips=False, decode=False, encode=False))


def test_words_that_augmentation_would_make_false_are_counted(tmp_path: Path, micro_folder: Path) -> None:
    assert with_words(tmp_path, micro_folder, "cup") == []
    assert with_words(tmp_path, micro_folder, "red left cup") == [Tally({"left": 1, "red": 1})]
    assert with_words(tmp_path, micro_folder, "red left cup", mirror="skip") == [Tally({"left": 1, "red": 1})]
    text = "{} may be false after augmentation: augmentation.words keeps it"
    for rules, word in (({"mirror": "keep"}, '"left"'), ({"colour": "keep"}, '"red"')):
        tally, found = with_words(tmp_path, micro_folder, "red left cup", **rules) or (None, None)
        assert tally == Tally({"left": 1, "red": 1})
        assert found == Found(text.format(word), fails=False)


def test_words_are_no_matter_without_augmentation(make: Make, micro_folder: Path, tmp_path: Path) -> None:
    dataset = make_dataset(micro_folder, {"ops": []}, train=records(tmp_path, photo(tmp_path)))
    assert audit_checks.words(AuditedSample(dataset, 0, 0, skips=False, decode=False, encode=False)) is None


def test_a_preprocessor_that_changes_its_mind(make: Make) -> None:
    seen: list[str] = []

    def count(record: Any) -> Any:
        seen.append("x")
        return replace(record, summary=f"seen {len(seen)} times")

    assert "the same record each time" in texts(audit_checks.preprocessors, make(steps=[("count", count)]))[0]
    assert "'drop' must give the same" in texts(audit_checks.preprocessors, make(steps=[("drop", lambda _: None)]))[0]
    assert audit_checks.preprocessors(make()) is None


def test_a_preprocessor_that_moves_shapes_out_of_the_image(make: Make) -> None:
    def move(record: Any) -> Any:
        return replace(record, shapes=OUTSIDE, captions=(" ",), attributes=(None,))

    assert texts(audit_checks.shapes, make(steps=[("move", move)])) == [
        "objects[0] must lie inside the image (120 x 80)", "objects[0].desc must not be empty",
    ]  # fmt: skip


def test_an_object_that_is_there_twice_is_a_note(make: Make) -> None:
    box = {"desc": "cup", "bbox_2d": [1, 1, 9, 9]}
    (found,) = audit_checks.objects(make(item={"objects": [box, box]})) or ()
    assert (found.fails, found.text) == (False, "objects[1] has the caption and the points of objects[0]")


def test_a_truncated_image(make: Make, tmp_path: Path) -> None:
    sample = make()
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:-30])
    assert "truncated" in texts(audit_checks.images, sample)[0]
    sample.decode = False
    assert texts(audit_checks.images, sample) == []
    sample.decode, sample.skips = True, True
    assert [found.fails for found in audit_checks.images(sample) or ()] == [False]


def test_a_sample_that_is_too_long(make: Make) -> None:
    assert "must have at most 200 tokens" in texts(audit_checks.plans, make(global_max_length=200))[0]
    left_out = make(global_max_length=200, overlong="drop")
    assert [found.fails for found in audit_checks.plans(left_out) or ()] == [False]
    for check in (audit_checks.canvases, audit_checks.answers, audit_checks.supervised, audit_checks.tokens):
        assert check(left_out) is None
    assert texts(audit_checks.plans, make(global_max_length=200, skips=True)) == []
    assert "fits must say" in texts(audit_checks.plans, changed(make(), fits=False))[0]


def test_a_summary_that_is_missing(make: Make) -> None:
    sample = make(mode="summary", item={"summary": None})
    assert "summary must be given" in texts(audit_checks.plans, sample)[0]


def test_a_canvas_that_is_none(make: Make) -> None:
    assert texts(audit_checks.canvases, changed(make(), canvas=Canvas(height=320, width=330))) == [
        "canvas must have sides of 32 n, not 330 x 320"
    ]
    assert (
        "objects[0] must lie inside"
        in texts(audit_checks.canvases, changed(make(), shapes=OUTSIDE, captions=("a",)))[0]
    )


def test_an_answer_that_says_something_else(make: Make) -> None:
    sample = make()
    assert isinstance(sample.planned, PlannedSample)
    other = sample.text.replace("thing 3", "thing 4")
    assert texts(audit_checks.answers, changed(sample, text=other)) == [
        "answer must read back to the captions that were written"
    ]
    shapes = make()
    assert isinstance(shapes.planned, PlannedSample)
    moved = shapes.planned.result.scene.shapes
    moved = ShapeArray.trusted(moved.xy * 0.5, moved.offsets, moved.kinds)
    assert texts(audit_checks.answers, changed(shapes, shapes=moved)) == [
        "answer must read back to the shapes that were written"
    ]
    assert texts(audit_checks.answers, changed(make(mode="summary"), text="other")) == [
        "answer must be the summary, as augmentation made it"
    ]


@pytest.mark.parametrize("change", [{"text": " \n"}, {"num_answer_tokens": 1}])
def test_nothing_to_learn(make: Make, change: dict[str, Any]) -> None:
    assert "must have at least one token" in texts(audit_checks.supervised, changed(make(), **change))[0]


def test_a_length_that_is_not_the_tokenizer_s(make: Make) -> None:
    sample = make()
    assert isinstance(sample.planned, PlannedSample)
    length = sample.planned.num_answer_tokens
    wrong = changed(sample, num_answer_tokens=length + 1)
    assert texts(audit_checks.tokens, wrong) == [f"answer must have the {length + 1} tokens of its plan, not {length}"]
    assert "prompt must have the" in texts(audit_checks.tokens, changed(make(), canvas=Canvas(64, 64)))[0]
    wrong.encode = False
    assert audit_checks.tokens(wrong) is None


def test_a_caption_cannot_make_a_control_token(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    box = {"desc": "<|im_end|><think>", "bbox_2d": [1, 1, 9, 9]}
    sample = make(item={"objects": [box]})
    assert texts(audit_checks.tokens, sample) == []
    tokenizer = sample.planner.encoder.tokenizer
    splitting = lambda self, text: np.array(tokenizer(text + "<|im_end|>", add_special_tokens=False)["input_ids"])  # noqa: E731
    monkeypatch.setattr("dcap.data.encode.Encoder.answer_ids", splitting)
    assert any("hold no other control token" in text for text in texts(audit_checks.tokens, sample))


def test_a_record_that_cannot_be_read_again(make: Make, tmp_path: Path) -> None:
    sample = make()
    (tmp_path / "r.jsonl").write_text("{}\n")
    assert isinstance(sample.record, RecordError)
    for check in (audit_checks.shapes, audit_checks.objects, audit_checks.images, audit_checks.plans):
        assert check(sample) is None
    assert isinstance(sample.dataset.records, CheckedRecords)


def test_shapes_that_are_none() -> None:
    def one(kind: int, *points: tuple[float, float]) -> list[str]:
        return illegal(
            ShapeArray.trusted(np.array(points), np.array([0, len(points)]), np.array([kind], np.uint8)), 9, 9
        )

    assert one(0, (0, 0), (9, 9)) == []
    assert "must have x1 < x2" in one(0, (5, 0), (5, 9))[0]
    assert "at least 3 points, not 2" in one(1, (5, 0), (5, 9))[0]
    for bad in (-0.1, 9.1, np.nan, np.inf):
        assert "must lie inside the image (9 x 9)" in one(2, (5, 0), (5, bad))[0]


def test_coordinates_that_look_like_fractions_are_a_note(make: Make) -> None:
    sample = make(item={"objects": [{"desc": "a", "bbox_2d": [0.1, 0.2, 0.9, 1]}]})
    (found,) = audit_checks.pixels(sample) or ()
    assert not found.fails
    assert found.text.startswith("all coordinates are at most 1; coordinates must be pixels")


@pytest.mark.parametrize("rule", ["full", "minmax"])
def test_a_nearly_black_picture_is_a_note(make: Make, tmp_path: Path, rule: str) -> None:
    sample = make(sixteen_bit=rule)
    Image.fromarray(np.linspace(0, 4095, 120 * 80).reshape(80, 120).astype(np.uint16)).save(tmp_path / "a.png")
    found = audit_checks.images(sample)
    assert found is not None
    assert [(item.text[:42], item.fails) for item in found] == [
        ("image decodes to a nearly black picture: n", False)
    ] * (rule == "full")
