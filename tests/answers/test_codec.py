"""The answer text both ways: exact texts, order and detail, and the round trip on the grid."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dcap.answers.codec import Parsed, order_objects, parse, to_answer, to_canvas, write, write_answer
from dcap.answers.formats import OWN_FORMATS
from dcap.answers.profile import AnswerProfile
from dcap.core.errors import AnswerError, ConfigError
from dcap.geometry.canvas import Canvas
from dcap.geometry.measures import polygon_iou
from dcap.geometry.shapes import GeometryKind, ShapeArray
from support.answer_cases import profiles, scenes, shapes_of

CANVAS = Canvas(height=500, width=1000)
DEFAULT = AnswerProfile()
FLAT_ON_THE_GRID = (shapes_of({"poly": [0, 0.3, 1, 0.3, 0.5, 0.3000796]}), ["a"], Canvas(height=1, width=1))


class TestWrite:
    def test_object_map(self) -> None:
        shapes = shapes_of({"bbox_2d": [417, 247, 491, 351]}, {"line": [0, 16, 125, 51, 328, 56]})
        assert write(shapes, ["cup", "road, paved, 2 lanes"], CANVAS, DEFAULT) == (
            '{"object_1": {"line_points": 3, "line": [[0, 32], [125, 102], [328, 112]], '
            '"desc": "road, paved, 2 lanes"}, '
            '"object_2": {"bbox_2d": [417, 494, 491, 702], "desc": "cup"}}'
        )

    def test_qwen(self) -> None:
        shapes = shapes_of({"bbox_2d": [417, 247, 491, 351]}, {"poly": [10, 300, 30, 300, 20, 400]})
        assert write(shapes, ["cup", "杯子"], CANVAS, AnswerProfile(format="qwen")) == (
            '[{"bbox_2d": [417, 494, 491, 702], "label": "cup"}, '
            '{"poly_points": 3, "poly": [[10, 600], [30, 600], [20, 800]], "label": "杯子"}]'
        )

    @pytest.mark.parametrize(("name", "text"), [("object_map", "{}"), ("qwen", "[]")])
    def test_no_objects(self, name: str, text: str) -> None:
        profile = AnswerProfile(format=name)
        assert write(ShapeArray.empty(), [], CANVAS, profile) == text
        assert parse(text, profile) == Parsed(ShapeArray.empty(), (), ())

    @pytest.mark.parametrize("name", OWN_FORMATS)
    @pytest.mark.parametrize("prefix", [None, "{num_objects} objects\n"])
    def test_a_text_for_no_objects(self, name: str, prefix: str | None) -> None:
        profile = AnswerProfile(format=name, prefix=prefix, empty="No objects.")
        text = write(ShapeArray.empty(), [], CANVAS, profile)
        assert text == ("" if prefix is None else "0 objects\n") + "No objects."
        nothing = Parsed(ShapeArray.empty(), (), ())
        assert parse(text, profile) == parse(text, profile, strict=False) == nothing
        assert parse(f"{text}\n", profile, strict=False) == nothing, "a model may end with a blank"
        shapes = shapes_of({"bbox_2d": [417, 247, 491, 351]})
        assert write(shapes, ["a"], CANVAS, profile) == write(shapes, ["a"], CANVAS, replace(profile, empty=None))
        assert parse(write(shapes, ["a"], CANVAS, profile), profile).captions == ("a",)

    def test_no_objects_have_one_text(self) -> None:
        profile = AnswerProfile(empty="No objects.")
        with pytest.raises(AnswerError, match=r'answer without objects must be "No objects\."'):
            parse("{}", profile)
        lenient = parse("{}", profile, strict=False)
        assert lenient.problems == ('character 0: answer without objects must be "No objects."',)
        assert parse("No objects. {", profile, strict=False).problems

    @pytest.mark.parametrize(
        ("empty", "message"),
        [
            ("", 'empty must begin with a character that is not blank, not "". null: no empty'),
            ("none []", "empty must have no brackets, which begin objects"),
            ("none ", "no blank at its end"),
            ("<|im_end|>", "empty must not hold"),
            ("e\u0301", "empty must be in Unicode's form NFC"),
        ],
    )
    def test_a_text_for_no_objects_that_would_not_come_back(self, empty: str, message: str) -> None:
        with pytest.raises(ConfigError) as caught:
            AnswerProfile(empty=empty)
        assert message in str(caught.value)

    @pytest.mark.parametrize(
        ("norm", "numbers"), [("norm1000", [500, 1000, 1000, 1000]), ("norm100", [50, 99, 100, 100])]
    )
    def test_grids(self, norm: Any, numbers: list[int]) -> None:
        shapes = shapes_of({"bbox_2d": [500, 497, 1000, 500]})
        text = write(shapes, ["a"], CANVAS, AnswerProfile(emit_norm=norm))
        expected = [numbers[0], 994 if norm == "norm1000" else 99, *numbers[2:]]
        assert json.loads(text)["object_1"]["bbox_2d"] == expected

    def test_pixels_of_the_canvas(self) -> None:
        text = write(shapes_of({"bbox_2d": [500, 497, 1000, 500]}), ["a"], CANVAS, AnswerProfile(emit_norm="none"))
        assert json.loads(text)["object_1"]["bbox_2d"] == [500, 497, 1000, 500]

    def test_rounding_is_half_to_even(self) -> None:
        shapes = shapes_of({"line": [0.5, 0.5, 1.5, 1.5, 2.5, 2.5, 3.5, 3.5]})
        text = write(shapes, ["a"], Canvas(height=1000, width=1000), DEFAULT)
        assert json.loads(text)["object_1"]["line"] == [[0, 0], [2, 2], [4, 4]]

    def test_a_format_that_nobody_registered(self) -> None:
        with pytest.raises(ConfigError, match=r"'qwem' is not a known answer format; did you mean qwen\?"):
            write(ShapeArray.empty(), [], CANVAS, AnswerProfile(format="qwem"))


class TestOrder:
    SHAPES = shapes_of(
        {"bbox_2d": [50, 20, 60, 30]}, {"bbox_2d": [10, 20, 20, 30]}, {"poly": [90, 5, 80, 9, 95, 9]},
        {"line": [0, 40, 100, 2]}, {"bbox_2d": [10, 20, 11, 21]},
    )  # fmt: skip

    def test_reading_is_top_to_bottom_then_left_to_right_and_stable(self) -> None:
        assert order_objects(self.SHAPES, "reading").tolist() == [3, 2, 1, 4, 0]

    def test_record_keeps_the_file_s_order(self) -> None:
        assert order_objects(self.SHAPES, "record").tolist() == [0, 1, 2, 3, 4]

    def test_xy_is_left_to_right_then_top_to_bottom_and_the_nearer_end_first(self) -> None:
        assert order_objects(self.SHAPES, "xy").tolist() == [3, 4, 1, 0, 2]

    def test_center_goes_by_the_middle_of_the_bounds(self) -> None:
        assert order_objects(self.SHAPES, "center").tolist() == [2, 4, 3, 1, 0]
        around = shapes_of({"bbox_2d": [10, 10, 90, 40]}, {"bbox_2d": [20, 20, 30, 30]}, {"bbox_2d": [10, 20, 40, 30]})
        assert order_objects(around, "center").tolist() == [2, 1, 0], "around one middle, the wider one first"

    @pytest.mark.parametrize(("order", "names"), [("xy", "bac"), ("center", "bac"), ("reading", "bca")])
    def test_xy_and_center_compare_what_is_written(self, order: Any, names: str) -> None:
        """On the grid, a and b have the same left side, a and c the same top and bottom."""
        boxes = shapes_of(
            {"bbox_2d": [99.9, 250.2, 300, 350]},
            {"bbox_2d": [100.1, 200, 300, 305]},
            {"bbox_2d": [150, 250.1, 260, 349.7]},
        )
        answer = to_answer(boxes, list("abc"), Canvas(1000, 1000), AnswerProfile(object_order=order))
        assert "".join(answer.captions) == names

    def test_captions_move_with_their_shapes(self) -> None:
        answer = to_answer(self.SHAPES, list("abcde"), CANVAS, DEFAULT)
        assert answer.captions == tuple("dcbea")
        assert answer.index.tolist() == [3, 2, 1, 4, 0]
        assert [o["desc"] for o in json.loads(write_answer(answer, DEFAULT)).values()] == list("dcbea")


class TestSimplify:
    @given(st.integers(0, 1000), st.sampled_from([0.0, 0.8, 0.95, 1.0]))
    def test_simplifying_keeps_the_iou_it_promises(self, seed: int, least: float) -> None:
        rng = np.random.default_rng(seed)
        angle = np.linspace(0, 2 * np.pi, 60, endpoint=False)
        radius = rng.uniform(60, 240, 60)
        star = np.stack([500 + radius * np.cos(angle), 250 + radius * np.sin(angle)], axis=1)
        shapes = ShapeArray.from_points([star, [[0, 0], [300, 5]]], [GeometryKind.POLYGON, GeometryKind.LINE])
        answer = to_answer(shapes, ["star", "line"], CANVAS, AnswerProfile(max_polygon_points=6, min_polygon_iou=least))
        assert (answer.kept_iou >= least).all()
        rough = to_answer(shapes, ["star", "line"], CANVAS, AnswerProfile(max_polygon_points=6, min_polygon_iou=0.0))
        assert len(answer.shapes.xy) >= len(rough.shapes.xy) <= 8
        if least == 1.0:
            assert len(answer.shapes.xy) > 50

    def test_points_are_bounded_and_the_loss_is_reported(self) -> None:
        angles = np.linspace(0, 2 * np.pi, 64, endpoint=False)
        circle = np.stack([500 + 200 * np.cos(angles), 250 + 200 * np.sin(angles)], 1)
        shapes = ShapeArray.from_points([[[1, 300], [2, 400]], circle], [GeometryKind.BOX, GeometryKind.POLYGON])
        profile = AnswerProfile(max_polygon_points=12)
        answer = to_answer(shapes, ["box", "circle"], CANVAS, profile)
        assert answer.captions == ("circle", "box")
        assert 3 <= np.diff(answer.shapes.offsets)[0] <= 12
        assert 0.8 < answer.kept_iou[0] < 1
        assert answer.kept_iou[1] == 1

    def test_without_a_bound_nothing_is_lost(self) -> None:
        answer = to_answer(shapes_of({"poly": [0, 0, 9, 0, 9, 9, 5, 8]}), ["a"], CANVAS, DEFAULT)
        assert answer.kept_iou.tolist() == [1]
        assert np.diff(answer.shapes.offsets).tolist() == [4]


class TestRoundTrip:
    @given(scenes(), profiles, st.booleans())
    def test_parse_of_write_is_the_answer(
        self, scene: tuple[ShapeArray, list[str], Canvas], profile: AnswerProfile, strict: bool
    ) -> None:
        shapes, captions, canvas = scene
        answer = to_answer(shapes, captions, canvas, profile)
        assert parse(write(shapes, captions, canvas, profile), profile, strict) == Parsed(
            answer.shapes, answer.captions, ()
        )

    @given(scenes(), profiles)
    def test_no_object_is_lost_and_all_are_legal(
        self, scene: tuple[ShapeArray, list[str], Canvas], profile: AnswerProfile
    ) -> None:
        shapes, captions, canvas = scene
        answer = to_answer(shapes, captions, canvas, profile)
        assert sorted(answer.index.tolist()) == list(range(len(shapes)))
        assert answer.shapes.kinds.tolist() == shapes.kinds[answer.index].tolist()
        assert ShapeArray.from_objects(answer.shapes.to_objects()) == answer.shapes
        span = {"norm1000": (1000, 1000), "norm100": (100, 100)}.get(profile.emit_norm, (canvas.width, canvas.height))
        assert (answer.shapes.xy >= 0).all()
        assert (answer.shapes.xy <= np.array(span)).all()

    @given(scenes(), profiles)
    @example(FLAT_ON_THE_GRID, AnswerProfile(point_order="canonical"))
    def test_what_was_read_is_written_again(
        self, scene: tuple[ShapeArray, list[str], Canvas], profile: AnswerProfile
    ) -> None:
        shapes, captions, canvas = scene
        keep = replace(profile, object_order="record", max_polygon_points=None)
        text = write(shapes, captions, canvas, keep)
        read = parse(text, keep)
        assert write(to_canvas(read, canvas, keep), read.captions, canvas, keep) == text

    @given(scenes(), st.sampled_from(["norm1000", "none"]))
    def test_back_on_the_canvas_points_are_half_a_unit_off_at_most(
        self, scene: tuple[ShapeArray, list[str], Canvas], norm: Any
    ) -> None:
        shapes, captions, canvas = scene
        profile = AnswerProfile(emit_norm=norm, object_order="record")
        back = to_canvas(parse(write(shapes, captions, canvas, profile), profile), canvas, profile)
        unit = np.array([canvas.width, canvas.height]) / (1000 if norm == "norm1000" else [canvas.width, canvas.height])
        for before, after in zip(shapes.bounds(), back.bounds(), strict=True):
            # A shape that rounding made flat is widened by one unit.
            assert (np.abs(before - after) <= np.tile(unit, 2) * 1.5 + 1e-9).all()

    def test_a_large_polygon_keeps_its_area(self) -> None:
        star = shapes_of(
            {
                "poly": [
                    500,
                    10,
                    560,
                    200,
                    780,
                    200,
                    610,
                    310,
                    680,
                    480,
                    500,
                    370,
                    320,
                    480,
                    390,
                    310,
                    220,
                    200,
                    440,
                    200,
                ]
            }
        )
        read = parse(write(star, ["star"], CANVAS, DEFAULT), DEFAULT)
        assert polygon_iou(star, to_canvas(read, CANVAS, DEFAULT))[0, 0] > 0.995


def test_predictions_in_pixels_stay_on_the_canvas() -> None:
    profile = AnswerProfile(emit_norm="none")
    read = parse('{"object_1": {"bbox_2d": [10, 20, 5000, 400], "desc": "a"}}', profile)
    assert to_canvas(read, CANVAS, profile).xy.tolist() == [[10, 20], [1000, 400]]
