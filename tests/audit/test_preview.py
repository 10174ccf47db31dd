from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dcap.answers.codec import parse, to_canvas
from dcap.audit.preview import PAGE_SIDE, Preview, choose, entry, load_preview, tiles
from dcap.cli.run_data import load_config, open_dataset
from dcap.data.dataset import DenseCaptionDataset
from dcap.view.draw import DROPPED_COLOR, scaled_to

CROP = "augmentation.ops=[{name: random_crop, params: {scale: [0.3, 0.4]}}]"


NUM_OBJECTS = 20


@pytest.fixture
def records(tmp_path: Path) -> Path:
    """One record with objects all over the image, so that any crop keeps some and loses some."""
    Image.new("RGB", (200, 100), (90, 90, 90)).save(tmp_path / "a.png")
    corners = [(40 * column + 5, 25 * row + 5) for row in range(4) for column in range(5)]
    objects = [{"desc": f"thing {i}", "bbox_2d": [x, y, x + 12, y + 12]} for i, (x, y) in enumerate(corners)]
    line = {"images": ["a.png"], "width": 200, "height": 100, "objects": objects, "summary": "twenty <things>"}
    (tmp_path / "a.jsonl").write_text(json.dumps(line) + "\n")
    return tmp_path / "a.jsonl"


Load = Callable[..., Preview]


@pytest.fixture
def dataset(records: Path) -> Callable[..., DenseCaptionDataset]:
    return lambda *overrides: open_dataset(load_config([str(records)], overrides, "test"), "train")


@pytest.fixture
def preview(dataset: Callable[..., DenseCaptionDataset]) -> Load:
    return lambda draws, *overrides: load_preview(dataset(*overrides), 0, draws)


@pytest.mark.parametrize(
    ("num_records", "samples", "expected"),
    [(0, 5, []), (1, 5, [0]), (5, 5, [0, 1, 2, 3, 4]), (9, 3, [0, 4, 8]), (1000, 1, [0])],
)
def test_records_are_spread_evenly(num_records: int, samples: int, expected: list[int]) -> None:
    assert choose(num_records, samples) == expected


def test_without_augmentation_nothing_is_dropped(preview: Load, dataset: Callable[..., DenseCaptionDataset]) -> None:
    shown, sample = preview(1), dataset()[0]
    draw = shown.draws[0]
    assert draw.dropped == {}
    assert draw.gone == entry(shown).panels[1].gone == ()
    assert "no augmentation" in draw.describe()[0]
    assert draw.describe()[-1] == (
        f"{len(sample.input_ids)} tokens: {sample.mm_token_type_ids.sum()} image, {sample.num_supervised} supervised"
    )


def test_changed_words_are_told_and_marked(dataset: Callable[..., DenseCaptionDataset]) -> None:
    shown = load_preview(dataset("data.train=builtin:photos/train.jsonl", "augmentation.ops=[{name: hflip}]"), 0, 1)
    (draw,) = shown.draws
    assert "words: left -> right, right -> left" in draw.describe()[0]
    items = [item for item in entry(shown).panels[1].listed if item.marks]
    assert [item.pieces for item in items] == [
        [("right", True), (" eye of the cat, green", False)],
        [("left", True), (" eye of the cat, green", False)],
    ]
    assert all(not item.marks for item in entry(shown).panels[0].listed)


def test_without_a_tokenizer_tokens_are_not_counted(records: Path, preview: Load) -> None:
    config = load_config([str(records)], [CROP], "test")
    dataset = DenseCaptionDataset(config.data, "train", None, augmentation=config.augmentation)
    draw, counted = load_preview(dataset, 0, 1).draws[0], preview(1, CROP).draws[0]
    assert [line for line in draw.describe() if "tokens" in line] == ["tokens are not counted: there is no tokenizer"]
    assert (draw.answer, draw.gone) == (counted.answer, counted.gone)
    assert np.array_equal(draw.pixels, counted.pixels)


def test_dropped_objects_are_named_with_their_number_caption_and_reason(preview: Load) -> None:
    shown = preview(1, CROP)
    draw = shown.draws[0]
    assert 0 < len(draw.dropped) < NUM_OBJECTS
    lost = [(drop.number, drop.caption, drop.reason) for drop in draw.gone]
    assert lost == [(i + 1, f"thing {i}", draw.dropped[i]) for i in sorted(draw.dropped)]
    panels = entry(shown).panels
    assert panels[0].dropped == draw.dropped
    assert panels[1].numbers == tuple(i + 1 for i in range(NUM_OBJECTS) if i not in draw.dropped)
    assert panels[1].gone == draw.gone
    assert [note for note in tiles(shown, 200)[1].notes if note.startswith("dropped: ")] == [
        f"dropped: {number} {caption} ({reason})" for number, caption, reason in lost
    ]


def test_each_draw_crosses_out_what_it_lost_itself(preview: Load) -> None:
    shown = preview(3, CROP)
    panels = entry(shown).panels
    assert panels[0].dropped == {}
    lost = [{drop.number - 1 for drop in panel.gone} for panel in panels[1:]]
    assert lost == [set(draw.dropped) for draw in shown.draws]
    assert lost[0] != lost[1]


def test_each_draw_is_what_the_dataset_gives_in_that_epoch(
    preview: Load, dataset: Callable[..., DenseCaptionDataset]
) -> None:
    shown, samples = preview(3, CROP), [dataset(CROP)[(epoch, 0)] for epoch in range(3)]
    assert [draw.answer for draw in shown.draws] == [sample.answer for sample in samples]
    for draw, sample in zip(shown.draws, samples, strict=True):
        assert np.array_equal(draw.pixels, sample.scene.image)
    assert len({draw.answer for draw in shown.draws}) > 1
    assert [panel.text for panel in entry(shown).panels] == ["twenty <things>", *(draw.answer for draw in shown.draws)]


def test_tiles_cross_out_only_when_there_is_one_draw(preview: Load) -> None:
    one, three = tiles(preview(1, CROP), 200), tiles(preview(3, CROP), 200)
    assert (len(one), len(three)) == (2, 4)
    assert (one[0].image == DROPPED_COLOR).all(axis=2).any()
    assert not (three[0].image == DROPPED_COLOR).all(axis=2).any()
    assert one[1].notes[-1] == preview(1, CROP).draws[0].answer


ROUND = ("data.answer.max_polygon_points=7", "data.answer.min_polygon_iou=0.5", "data.answer.emit_norm=norm100")


@pytest.fixture
def circle(records: Path) -> None:
    """Make the record's objects a box below a circle of 60 points."""
    line = json.loads(records.read_text())
    angles = [2 * math.pi * i / 60 for i in range(60)]
    points = [round(v, 2) for a in angles for v in (100 + 70.3 * math.cos(a), 40 + 30.7 * math.sin(a))]
    line["objects"] = [{"desc": "box", "bbox_2d": [3, 81, 50, 99]}, {"desc": "circle", "poly": points}]
    records.write_text(json.dumps(line))


@pytest.mark.usefixtures("circle")
def test_what_is_drawn_is_what_the_answer_says(preview: Load) -> None:
    """Simplified, on the text's grid, and in its order."""
    shown = preview(2, "augmentation.ops=[{name: hflip, prob: 0.5}]", *ROUND)
    profile = load_config(["x"], ROUND, "test").data.answer
    for draw, panel in zip(shown.draws, entry(shown).panels[1:], strict=True):
        canvas, objects = draw.planned.result.scene.canvas, draw.objects
        said = parse(draw.answer, profile)
        assert objects.shapes == to_canvas(said, canvas, profile)
        assert panel.shapes == scaled_to(draw.pixels, objects.shapes, PAGE_SIDE)[1]
        assert [len(points) for _, points in panel.shapes] == [7, 2]
        assert panel.captions == objects.captions == said.captions == ("circle", "box")
        assert panel.numbers == objects.numbers == (2, 1)
        (line,) = [note for note in panel.notes if note.startswith("simplified")]
        assert line.startswith("simplified: 1 shape, IoU kept: least 0.8")
        assert panel.notes[-1] == "order in the answer, by these numbers: 2, 1"


def test_a_summary_holds_no_objects(preview: Load) -> None:
    panel = entry(preview(1, "data.mode=summary")).panels[1]
    assert (len(panel.shapes), panel.captions, panel.text) == (0, (), "twenty <things>")


def test_the_whole_answer_is_shown(preview: Load) -> None:
    shown = preview(1)
    assert tiles(shown, 200)[1].notes[-1] == entry(shown).panels[1].text == shown.draws[0].answer


def test_a_nearly_black_picture_says_so(records: Path, preview: Load) -> None:
    Image.fromarray(np.linspace(0, 4095, 20_000).reshape(100, 200).astype(np.uint16)).save(records.parent / "a.png")
    dark = preview(1)
    assert dark.image.max() == 15
    assert dark.notes[0].startswith("the image decodes to a nearly black picture")
    assert dark.notes[0] in tiles(dark, 200)[0].notes
    assert entry(dark).panels[0].notes == dark.notes
    shown = preview(1, "data.sixteen_bit=percentile")
    assert shown.notes == ()
    assert shown.image.max() == shown.draws[0].pixels.max() == 255
