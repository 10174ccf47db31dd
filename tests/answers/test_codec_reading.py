"""Readers of answer texts: the strict one names every difference with its place, the lenient one survives anything."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dcap.answers.codec import Parsed, parse, to_answer, write, write_answer
from dcap.answers.profile import AnswerProfile
from dcap.answers.reader import MAX_PROBLEMS
from dcap.core.errors import AnswerError
from dcap.geometry.canvas import Canvas
from dcap.geometry.shapes import ShapeArray
from support.answer_cases import profiles, scenes, shapes_of

DEFAULT = AnswerProfile()
BOX = '{"bbox_2d": [1, 2, 3, 4], "desc": "a"}'


def one(members: str) -> str:
    """Return an answer with one object."""
    return f'{{"object_1": {{{members}}}}}'


class TestStrict:
    @pytest.mark.parametrize(
        ("text", "position", "message"),
        [
            ("", 0, "answer must be a JSON value in brackets, found none"),
            ("no objects", 0, "answer must be nothing but JSON, found 'no objects'"),
            ("[]", 0, "answer must be an object of objects"),
            ("```json\n{}\n```", 0, "answer must be nothing but JSON"),
            ("{} thanks", 3, "answer must be nothing but JSON, found 'thanks'"),
            ("{} {}", 3, "answer must be one JSON value, found another one"),
            ('{"object_1": ' + BOX, 51, "answer must not end inside an object or list"),
            ('{"object_1": ' + BOX + ",}", 52, "comma must not come before '}'"),
            ('{"object_1": ' + BOX + ' "object_2": ' + BOX + "}", 52, "comma is missing"),
            ('{"object_2": ' + BOX + "}", 1, "key must be 'object_1', not 'object_2'"),
            ('{"object_1": 5}', 1, "item 1 must be an object with a shape"),
            (one(''), 13, "item 1 must be an object with a shape"),
            (one('"desc": "a"'), 13, "object must have one of bbox_2d, poly, line"),
            (one('"bbox_2d": [1, 2, 3, 4]'), 13, "object must have a desc"),
            (one('"bbox_2d": [1, 2, 3, 4], "label": "a"'), 39, "key 'label' must not be in an object"),
            (one('"bbox_2d": [1, 2, 3, 4], "desc": 5'), 39, "desc must be a string"),
            (one('"bbox_2d": [1, 2, 3, 4], "desc": "a", "score": 1'), 52, "key 'score' must not be in an object"),
            (one('"desc": "a", "bbox_2d": [1, 2, 3, 4], "desc": "b"'), 52, "key 'desc' must be given once"),
            (one('"bbox_2d": [1, NaN, 3, 4], "desc": "a"'), 14, "bbox_2d must hold numbers, not NaN"),
            (one('"bbox_2d": [1, null, 3, 4], "desc": "a"'), 14, "bbox_2d must hold numbers, not null"),
            (one('"bbox_2d": [1, {}, 3, 4], "desc": "a"'), 14, "bbox_2d must hold numbers, not an object"),
            (one('"bbox_2d": [1, 2.0, 3, 4], "desc": "a"'), 13, "box must have whole numbers"),
            (one('"bbox_2d": [1, 2, 3, 1001], "desc": "a"'), 13, "box must have numbers within 0..1000"),
            (one('"bbox_2d": [1, -2, 3, 4], "desc": "a"'), 13, "box must have numbers within 0..1000"),
            (one('"bbox_2d": [3, 2, 1, 4], "desc": "a"'), 13, "box must have x1 < x2 and y1 < y2, not swapped"),
            (one('"bbox_2d": [1, 2, 1, 4], "desc": "a"'), 13, "box must have x1 < x2 and y1 < y2, not an empty"),
            (one('"bbox_2d": [1, 2, 3], "desc": "a"'), 14, "bbox_2d must have an even count of numbers, not 3"),
            (one('"bbox_2d": [1, 2], "desc": "a"'), 13, "box must have 4 numbers"),
            (one('"bbox_2d": [[1, 2], [3, 4]], "desc": "a"'), 14, "bbox_2d must be a flat list"),
            (one('"bbox_2d": "x", "desc": "a"'), 14, "bbox_2d must be a list of numbers"),
            (one('"poly": [[1, 2], [3, 4], [5, 1]], "desc": "a"'), 13, "poly_points must be given"),
            (one('"poly_points": 4, "poly": [[1, 2], [3, 4], [5, 1]], "desc": "a"'), 14, "poly_points must be 3"),
            (one('"poly_points": 3.0, "poly": [[1, 2], [3, 4], [5, 1]], "desc": "a"'), 14, "poly_points must be 3"),
            (one('"poly_points": 3, "poly": [1, 2, 3, 4, 5, 1], "desc": "a"'), 32, "poly must be a list of [x, y]"),
            (one('"poly_points": 3, "poly": [[1, 2], [3, 4], 5], "desc": "a"'), 32, "poly must hold pairs of numbers"),
            (one('"poly_points": 2, "poly": [[1, 2], [3, 4]], "desc": "a"'), 13, "polygon must have at least 3"),
            (one('"line_points": 3, "line": [[1, 2], [1, 2], [3, 4]], "desc": "a"'), 13, "line must not repeat a"),
            (one('"line_points": 1, "line": [[1, 2]], "desc": "a"'), 13, "line must have at least 2 distinct points"),
            (one('"bbox_2d": [1, 2, 3, 4], "desc": "a\nb"'), 49, "control character in a string must be escaped"),
            (one('"bbox_2d": [1, 2, 3, 4], "desc": "\\x"'), 48, "escape in the string must be one that JSON knows"),
            (one('"bbox_2d": [1, 2, 3, 4], "desc": "\\ud800"'), 47, "string must be Unicode text"),
            (one('"bbox_2d": [1, 2, 3, 4}, "desc": "a"'), 36, "'}' must not close what another bracket opened"),
            (one('"bbox_2d": [1, 2,, 3, 4], "desc": "a"'), 31, "comma must be between two items"),
            ('{"object_1" {"bbox_2d": [1, 2, 3, 4], "desc": "a"}}', 12, "'{' must not be here, expected colon"),
            ('{"object_1": , "a": 1}', 13, "',' must not be here, expected value"),
            ('{"object_1": }', 13, "'}' must not be here, expected value"),
            ("{5: 6}", 1, "'5' must not be here, expected key or end"),
            ("{'a': 1}", 1, '"\'" must not be here, expected key or end'),
        ],
    )  # fmt: skip
    def test_everything_else_is_an_error_with_its_place(self, text: str, position: int, message: str) -> None:
        with pytest.raises(AnswerError) as caught:
            parse(text, DEFAULT)
        assert str(caught.value).startswith(f"answer at character {position}: {message}")
        assert parse(text, DEFAULT, strict=False).problems != ()

    def test_qwen_wants_a_list(self) -> None:
        with pytest.raises(AnswerError, match="answer must be a list of objects"):
            parse('{"object_1": {"bbox_2d": [1, 2, 3, 4], "label": "a"}}', AnswerProfile(format="qwen"))

    def test_space_between_tokens_does_not_matter(self) -> None:
        text = json.dumps(json.loads('{"object_1": ' + BOX + "}"), indent=2)
        assert parse(f"\n{text}\n", DEFAULT).captions == ("a",)


def lenient(text: str, profile: AnswerProfile = DEFAULT) -> Parsed:
    return parse(text, profile, strict=False)


class TestLenient:
    @pytest.mark.parametrize(
        "text",
        [
            f'Sure, here it is:\n```json\n{{"object_1": {BOX}}}\n```\nAnything else?',
            f'{{"object_1": {BOX},}}',
            f'{{"object_1": {BOX}, "object_2": {{"bbox_2d": [1, 2, 3, 4], "desc": "tru',
            f'{{"object_1": {BOX}, "object_2": {{"bbox_2d": [1, 2, 3',
            f'{{"object_1": {BOX}, "obj',
            f'{{"object_1": {BOX}',
            f'{{"object_1": {BOX} {{',
            f'{{"object_1": {{"bbox_2d": [9, 9, 9 "desc": "b"}}, "object_2": {BOX}}}',
            f'{{"object_1": {{"bbox_2d": [NaN, 9, 12, 19], "desc": "b"}}, "object_2": {BOX}}}',
            f'{{"object_1": {{"bbox_2d": [1, 2, {"9" * 5000}, -1e999], "desc": "b"}}, "object_2": {BOX}}}',
            f'{{"object_1": {{"bbox_2d": [5, 5, 8, 8], "desc": "b}}, "object_2": {BOX}}}',
            f'{{"object_1": {{"bbox_2d": [1, 2, 3}}, "desc": "b"}}, "object_2": {BOX}}}',
            f'{{5" pipe {BOX}',
            f"[{BOX}]",
            '[{"bbox_2d": [1, 2, 3, 4], "label": "a"}]',
            '{"object_1": {"bbox_2d": [1, 2, 3, 4] "desc": "a"}}',
            '{"object_1": {"bbox_2d": [1 2 3 4], "desc": "a"}}',
            '{"object_1": {"bbox_2d": [1, 2, 3, 4,], "desc": "a"}}',
            '{"object_1": {"bbox_2d": [[1, 2], [3, 4]], "desc": "a"}}',
            '{"object_1": {"bbox_2d": [3, 2, 1, 4], "desc": "a"}}',
            '{"object_1": {"bbox_2d": [1.2, 1.9, 3.0, 4], "desc": "a"}}',
            '{"object_1": {"bbox_2d": [1, 2, 3, 4], "desc": "a", "score": null}}',
            '{"object_1": {"bbox_2d": [1, 2, 3, 4], "desc": "a", "desc": "z"}}',
            f"{BOX}{{",
        ],
    )
    def test_the_whole_object_is_found_and_the_rest_is_named(self, text: str) -> None:
        read = lenient(text)
        assert read.captions == ("a",)
        assert read.shapes == shapes_of({"bbox_2d": [1, 2, 3, 4]})
        assert read.problems != ()

    def test_numbers_outside_are_clamped(self) -> None:
        read = lenient('{"object_1": {"bbox_2d": [-5, 2, 1003, 4], "desc": "a"}}')
        assert read.shapes.xy.tolist() == [[0, 2], [1000, 4]]
        assert len(read.problems) == 1

    def test_flat_polygons_and_wrong_counts_are_read(self) -> None:
        read = lenient('{"object_1": {"poly_points": 9, "poly": [1, 2, 3, 4, 5, 1, 1, 2], "desc": "a"}}')
        assert read.shapes.xy.tolist() == [[1, 2], [3, 4], [5, 1]]
        assert len(read.problems) == 3

    def test_broken_escapes_keep_the_text(self) -> None:
        read = lenient(r'{"object_1": {"bbox_2d": [1, 2, 3, 4], "desc": "it\'s \\ \"5\" \u00e9 \ud800"}}')
        assert read.captions == ('it\\\'s \\ "5" é \ufffd',)

    def test_a_caption_cannot_inject_an_object(self) -> None:
        caption = 'x"}, "object_2": ' + BOX + "}"
        text = write(shapes_of({"bbox_2d": [5, 5, 9, 9]}), [caption], Canvas(1000, 1000), DEFAULT)
        for end in range(len(text) + 1):
            assert lenient(text[:end]).captions in ((), (caption,))

    def test_problems_come_in_the_order_of_the_text(self) -> None:
        keys = [f"key_{k}" for k in range(12)]
        text = one('"bbox_2d": [1, 2, 3, 4], "desc": "a", ' + ", ".join(f'"{key}": 1' for key in keys))
        assert [problem.split("'")[1] for problem in lenient(text).problems] == keys

    def test_problems_are_bounded(self) -> None:
        read = lenient("{" * 5000)
        assert len(read.problems) == MAX_PROBLEMS + 1
        assert read.problems[-1] == f"and {5000 - MAX_PROBLEMS} more"

    @given(scenes(), profiles)
    def test_every_prefix_gives_every_object_that_it_holds(
        self, scene: tuple[ShapeArray, list[str], Canvas], profile: AnswerProfile
    ) -> None:
        shapes, captions, canvas = scene
        answer = to_answer(shapes, captions, canvas, profile)
        text = write_answer(answer, profile)
        ends = _object_ends(text, profile)
        assert len(ends) == len(captions)
        for cut in {*ends, *(end - 1 for end in ends), *range(0, len(text), 7)}:
            read = lenient(text[:cut], profile)
            whole = sum(end <= cut for end in ends)
            assert read.captions == answer.captions[:whole]
            assert read.shapes == answer.shapes.take(np.arange(whole))
            assert bool(read.problems) == (cut < len(text))

    @given(st.text())
    @example("{" * 100)
    @example('{"' * 100)
    @example("\ud800")
    @example('{"object_1": {"bbox_2d": [١, 2, 3, 4], "desc": "a"}}')
    def test_any_text_is_survived(self, text: str) -> None:
        check_is_legal(lenient(text))

    @given(
        st.lists(
            st.sampled_from(
                [
                    "{",
                    "}",
                    "[",
                    "]",
                    ",",
                    ":",
                    '"',
                    "\\",
                    "1",
                    "-",
                    "1e9",
                    "NaN",
                    "null",
                    " ",
                    "\n",
                    '"desc"',
                    '"label"',
                    '"bbox_2d"',
                    '"poly"',
                    '"line"',
                    "[1, 2, 3, 4]",
                    "[[1, 2], [3, 4], [5, 5]]",
                    '"a"',
                    BOX,
                    "```",
                    "９",
                    "object_1",
                    '[1, 2, 3, 4, "b"]',
                    '["l", 1, 2, 3, 4, "c"]',
                    '"l"',
                    "[1: ",
                ]
            ),
            max_size=40,
        )
    )
    @example(['{"a":', BOX])
    def test_any_heap_of_tokens_is_survived(self, tokens: list[str]) -> None:
        for profile in (DEFAULT, AnswerProfile(format="rows", emit_norm="none", prefix="[{num_objects}: ")):
            check_is_legal(lenient("".join(tokens), profile))

    @given(scenes(), profiles, st.data())
    def test_any_damage_is_survived_and_leaves_earlier_objects_alone(
        self, scene: tuple[ShapeArray, list[str], Canvas], profile: AnswerProfile, data: st.DataObject
    ) -> None:
        shapes, captions, canvas = scene
        answer = to_answer(shapes, captions, canvas, profile)
        text = write_answer(answer, profile)
        at = data.draw(st.integers(0, len(text)))
        count = data.draw(st.integers(0, 3))
        damaged = text[:at] + data.draw(st.text(max_size=3)) + text[at + count :]
        read = lenient(damaged, profile)
        check_is_legal(read)
        before = sum(end < at for end in _object_ends(text, profile))
        assert read.captions[:before] == answer.captions[:before]

    @pytest.mark.parametrize(
        "text",
        [
            "[",
            "{",
            '{"a":',
            '{"',
            '{ "',
            '{"\\',
            "{}",
            "[{},",
            '{"a":{}},',
            "[1,",
            '{""',
            '}{"]["\\',
            '{"desc":"a",',
            '["a"],',
            " ",
        ],
    )
    def test_time_is_linear(self, text: str) -> None:
        def seconds(count: int) -> float:
            start = time.process_time()
            lenient(text * count)
            return time.process_time() - start

        small, large = min(seconds(1000) for _ in range(3)), min(seconds(8000) for _ in range(2))
        assert large < 30 * small + 0.02


def _object_ends(text: str, profile: AnswerProfile) -> list[int]:
    """Return where each object of a valid answer ends, found by Python's own JSON decoder."""
    if text.endswith(profile.empty or "\0"):
        return []
    bracket = "[" if profile.format == "rows" else "{"
    ends, position, decoder = [], min(text.find(each) for each in "[{" if each in text) + 1, json.JSONDecoder()
    while (start := text.find(bracket, position)) >= 0:
        position = decoder.raw_decode(text, start)[1]
        ends.append(position)
    return ends


def check_is_legal(read: Parsed) -> None:
    assert len(read.captions) == len(read.shapes)
    assert ShapeArray.from_objects(read.shapes.to_objects()) == read.shapes
    assert "".join(read.captions).encode() is not None
    for start, end in zip(read.shapes.offsets[:-1], read.shapes.offsets[1:], strict=True):
        assert (read.shapes.xy[start:end] >= 0).all()
