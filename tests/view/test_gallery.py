import numpy as np
import pytest
from PIL import Image

from dcap.core.errors import ImageError
from dcap.geometry.shapes import ShapeArray
from dcap.records.record import Origin, parse_record
from dcap.view.gallery import answer_note, compare

LINE = b'{"images": ["a.png"], "width": 80, "height": 40, "objects": [{"desc": "cup", "bbox_2d": [10, 10, 30, 30]}]}'
PRED = ShapeArray.from_objects([{"bbox_2d": [50, 10, 70, 30]}, {"line": [0, 35, 79, 35]}])


@pytest.fixture
def record(tmp_path):
    Image.new("RGB", (80, 40), (128, 128, 128)).save(tmp_path / "a.png")
    return parse_record(LINE, Origin(str(tmp_path / "a.jsonl"), 3))


def test_truth_and_prediction_are_drawn_on_the_same_image(record):
    truth, pred = compare(record, PRED, ("cup", "edge"), ["F1 0.00"], side=160)
    assert truth.image.shape == pred.image.shape == (80, 160, 3)
    assert truth.title == "a.jsonl:3  truth: 1 object"
    assert (pred.title, pred.notes) == ("prediction: 2 objects", ("F1 0.00",))
    grey = np.array([128, 128, 128])
    assert (truth.image[40, 40] != grey).any()
    assert (truth.image[40, 120] == grey).all()
    assert (pred.image[40, 120] != grey).any()


def test_image_of_another_size_is_an_error(record, tmp_path):
    Image.new("RGB", (81, 40)).save(tmp_path / "a.png")
    with pytest.raises(ImageError, match=r"a\.jsonl:3"):
        compare(record, PRED, ("cup", "edge"), [], side=160)


@pytest.mark.parametrize(
    ("text", "note"),
    [
        (" <no> JSON\n", "answer: <no> JSON"),
        (" \n\t ", "answer: (only white space)"),
        ("", "answer: (empty)"),
        (" " * 500 + "x" * 500, "answer: " + "x" * 400),
    ],
)
def test_an_answer_without_words_is_named(text, note):
    assert answer_note(text) == note
