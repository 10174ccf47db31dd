import json
import math

import pytest
from PIL import Image

from dcap.answers.codec import parse, to_canvas
from dcap.audit.preview import PAGE_SIDE, choose, describe, dropped_objects, drops, entry, load_preview, tiles
from dcap.cli.preview import load_config
from dcap.cli.run_data import open_dataset
from dcap.view.draw import DROPPED_COLOR, scaled_to

CROP = "augmentation.ops=[{name: random_crop, params: {scale: [0.3, 0.4]}}]"


NUM_OBJECTS = 20


@pytest.fixture
def records(tmp_path):
    """One record with objects all over the image, so that any crop keeps some and loses some."""
    Image.new("RGB", (200, 100), (90, 90, 90)).save(tmp_path / "a.png")
    corners = [(40 * column + 5, 25 * row + 5) for row in range(4) for column in range(5)]
    objects = [{"desc": f"thing {i}", "bbox_2d": [x, y, x + 12, y + 12]} for i, (x, y) in enumerate(corners)]
    line = {"images": ["a.png"], "width": 200, "height": 100, "objects": objects, "summary": "twenty <things>"}
    (tmp_path / "a.jsonl").write_text(json.dumps(line) + "\n")
    return tmp_path / "a.jsonl"


@pytest.fixture
def preview(records):
    def load(draws, *overrides):
        return load_preview(open_dataset(load_config(str(records), list(overrides)), "train"), 0, draws)

    return load


@pytest.mark.parametrize(
    ("records", "samples", "expected"),
    [(0, 5, []), (1, 5, [0]), (5, 5, [0, 1, 2, 3, 4]), (9, 3, [0, 4, 8]), (1000, 1, [0])],
)
def test_records_are_spread_evenly(records, samples, expected):
    assert choose(records, samples) == expected


def test_without_augmentation_nothing_is_dropped(preview):
    shown = preview(1)
    sample = shown.draws[0]
    assert dropped_objects(sample) == {}
    assert drops(shown, sample) == entry(shown).panels[1].gone == ()
    assert "no augmentation" in describe(sample)[0]
    assert describe(sample)[-1] == (
        f"{len(sample.input_ids)} tokens: {sample.mm_token_type_ids.sum()} image, {sample.num_supervised} supervised"
    )


def test_dropped_objects_are_named_with_their_number_caption_and_reason(preview):
    shown = preview(1, CROP)
    sample = shown.draws[0]
    gone = dropped_objects(sample)
    assert 0 < len(gone) < NUM_OBJECTS
    lost = drops(shown, sample)
    assert [(drop.number, drop.caption, drop.reason) for drop in lost] == [
        (i + 1, f"thing {i}", gone[i]) for i in sorted(gone)
    ]
    panels = entry(shown).panels
    assert panels[0].dropped == gone
    assert list(panels[1].numbers) == [i + 1 for i in range(NUM_OBJECTS) if i not in gone]
    assert panels[1].gone == lost
    assert [note for note in tiles(shown, 200)[1].notes if note.startswith("dropped: ")] == [
        f"dropped: {drop.number} {drop.caption} ({drop.reason})" for drop in lost
    ]


def test_each_draw_crosses_out_what_it_lost_itself(preview):
    shown = preview(3, CROP)
    panels = entry(shown).panels
    assert panels[0].dropped == {}
    lost = [{drop.number - 1 for drop in panel.gone} for panel in panels[1:]]
    assert lost == [set(dropped_objects(sample)) for sample in shown.draws]
    assert lost[0] != lost[1]


def test_each_draw_is_what_the_dataset_gives_in_that_epoch(preview, records):
    shown = preview(3, CROP)
    dataset = open_dataset(load_config(str(records), [CROP]), "train")
    assert [sample.answer for sample in shown.draws] == [dataset[(epoch, 0)].answer for epoch in range(3)]
    assert len({sample.answer for sample in shown.draws}) > 1
    assert [panel.text for panel in entry(shown).panels] == ["twenty <things>", *(s.answer for s in shown.draws)]


def test_tiles_cross_out_only_when_there_is_one_draw(preview):
    one, three = tiles(preview(1, CROP), 200), tiles(preview(3, CROP), 200)
    assert (len(one), len(three)) == (2, 4)
    assert (one[0].image == DROPPED_COLOR).all(axis=2).any()
    assert not (three[0].image == DROPPED_COLOR).all(axis=2).any()
    assert one[1].notes[-1] == preview(1, CROP).draws[0].answer


ROUND = ("data.answer.max_polygon_points=7", "data.answer.min_polygon_iou=0.5", "data.answer.emit_norm=norm100")


@pytest.fixture
def circle(records):
    """Make the record's objects a box below a circle of 60 points."""
    line = json.loads(records.read_text())
    angles = [2 * math.pi * i / 60 for i in range(60)]
    points = [round(v, 2) for a in angles for v in (100 + 70.3 * math.cos(a), 40 + 30.7 * math.sin(a))]
    line["objects"] = [{"desc": "box", "bbox_2d": [3, 81, 50, 99]}, {"desc": "circle", "poly": points}]
    records.write_text(json.dumps(line))


@pytest.mark.usefixtures("circle")
def test_what_is_drawn_is_what_the_answer_says(preview):
    """Simplified, on the text's grid, and in its order."""
    shown = preview(2, "augmentation.ops=[{name: hflip, prob: 0.5}]", *ROUND)
    profile = load_config("x", list(ROUND)).data.answer
    for sample, objects, panel in zip(shown.draws, shown.objects, entry(shown).panels[1:], strict=True):
        canvas = sample.scene.canvas
        said = parse(sample.answer, profile)
        assert objects.shapes == to_canvas(said, canvas, profile)
        assert panel.shapes == scaled_to(sample.scene.image, objects.shapes, PAGE_SIDE)[1]
        assert [len(points) for _, points in panel.shapes] == [7, 2]
        assert panel.captions == objects.captions == said.captions == ("circle", "box")
        assert panel.numbers == objects.numbers == (2, 1)
        (line,) = [note for note in panel.notes if note.startswith("simplified")]
        assert line.startswith("simplified: 1 shape, IoU kept: least 0.8")


def test_a_summary_holds_no_objects(preview):
    panel = entry(preview(1, "data.mode=summary")).panels[1]
    assert (len(panel.shapes), panel.captions, panel.text) == (0, (), "twenty <things>")


def test_the_whole_answer_is_shown(preview):
    shown = preview(1)
    assert tiles(shown, 200)[1].notes[-1] == entry(shown).panels[1].text == shown.draws[0].answer
