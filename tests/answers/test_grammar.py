"""The grammar of answers: exactly what the format writes, and what it has is read back without a problem."""

from __future__ import annotations

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from dcap.answers.codec import parse, write_parts
from dcap.answers.codec import to_answer as answer_of
from dcap.answers.formats import ANSWER_FORMATS, OWN_FORMATS, AnswerObject, PartKind, TextPart
from dcap.answers.grammar import AnswerBounds, AnswerGrammar, Numbers
from dcap.answers.profile import AnswerProfile
from dcap.answers.reader import Notes
from dcap.core.errors import ConfigError
from dcap.geometry.canvas import Canvas
from dcap.geometry.shapes import ShapeArray
from support.answer_cases import profiles, scenes
from support.grammar_cases import accepts, texts_of

SMALL = AnswerBounds(objects=4, points=5, caption=6)
COUNTS = "{num_objects} of {num_boxes}, {num_lines}, {num_objects}, {num_polygons}:\n"


def parts_of(scene: tuple[ShapeArray, list[str], Canvas], profile: AnswerProfile) -> list[TextPart]:
    shapes, captions, canvas = scene
    return write_parts(answer_of(shapes, [caption or "-" for caption in captions], canvas, profile), profile)


@given(scenes(), profiles)
def test_what_is_written_is_in_the_grammar(scene: tuple[ShapeArray, list[str], Canvas], profile: AnswerProfile) -> None:
    text = "".join([part for part, _ in parts_of(scene, profile)])
    assert accepts(AnswerGrammar(profile, scene[2]), text)
    if max(scene[2].height, scene[2].width) <= 1000 or profile.emit_norm != "none":
        assert accepts(AnswerGrammar(profile), text), "about any canvas"


@given(st.data(), scenes(), profiles)
def test_no_sign_of_a_text_may_be_another(
    data: st.DataObject, scene: tuple[ShapeArray, list[str], Canvas], profile: AnswerProfile
) -> None:
    parts = parts_of(scene, profile)
    which = data.draw(
        st.sampled_from([k for k, (part, kind) in enumerate(parts) if kind is not PartKind.CAPTION and part])
    )
    place = data.draw(st.integers(0, len(parts[which][0]) - 1)) + sum(len(part) for part, _ in parts[:which])
    text = "".join([part for part, _ in parts])
    sign = data.draw(st.sampled_from(sorted(set(' x"{}[],:_\n') - {text[place]})))
    how = data.draw(st.sampled_from(["other", "more", "less"]))
    changed = text[:place] + {"other": sign, "more": sign + text[place], "less": ""}[how] + text[place + 1 :]
    # A number may lose a digit, and a quote may join a caption.
    assume(not (text[place].isdigit() and how == "less"))
    with_quote = '"' in (text[place], sign) or how == "more"
    assume(not (with_quote and place and text[place - 1 : place + 2].count('"')))
    assert not accepts(AnswerGrammar(profile, scene[2]), changed)


@pytest.mark.parametrize("empty", [None, "No objects."])
@pytest.mark.parametrize("prefix", [None, COUNTS])
@pytest.mark.parametrize("name", OWN_FORMATS)
@pytest.mark.parametrize("canvas", [Canvas(64, 32), Canvas(1, 1)])
@settings(max_examples=25)
@given(st.data())
def test_what_is_in_the_grammar_is_read_without_a_problem(
    name: str, prefix: str | None, empty: str | None, canvas: Canvas, data: st.DataObject
) -> None:
    profile = AnswerProfile(format=name, prefix=prefix, empty=empty, emit_norm="none")
    grammar = AnswerGrammar(profile, canvas, SMALL)
    text = data.draw(texts_of(grammar))
    read = parse(text, profile)
    assert len(read.captions) <= SMALL.objects
    assert (read.shapes.xy <= [canvas.width, canvas.height]).all()
    assert accepts(grammar, text)


@pytest.mark.parametrize(
    ("profile", "text"),
    [
        (AnswerProfile(), ""),
        (AnswerProfile(empty="No objects."), "{}"),
        (AnswerProfile(), "{} "),
        (AnswerProfile(), '{"object_2": {"bbox_2d": [1, 2, 3, 4], "desc": "a"}}'),
        (AnswerProfile(), '{"object_1": {"bbox_2d": [1, 2, 3, 4], "desc": ""}}'),
        (AnswerProfile(), '{"object_1": {"bbox_2d": [1, 2, 3, 4], "desc": "a\\u0061"}}'),
        (AnswerProfile(), '{"object_1": {"bbox_2d": [1, 2, 3, 04], "desc": "a"}}'),
        (AnswerProfile(), '{"object_1": {"bbox_2d": [1, 2, 1, 4], "desc": "a"}}'),
        (AnswerProfile(), '{"object_1": {"bbox_2d": [1, 2, 3, 1001], "desc": "a"}}'),
        (AnswerProfile(), '{"object_1": {"line_points": 2, "line": [[1, 2], [1, 2]], "desc": "a"}}'),
        (AnswerProfile(), '{"object_1": {"line_points": 3, "line": [[1, 2], [1, 3]], "desc": "a"}}'),
        (AnswerProfile(), '{"object_1": {"poly_points": 4, "poly": [[1, 2], [1, 3], [1, 2], [1, 3]], "desc": "a"}}'),
        (AnswerProfile(), '{"object_1": {"poly_points": 4, "poly": [[1, 2], [1, 3], [1, 4], [1, 2]], "desc": "a"}}'),
        (AnswerProfile(format="desc_first"), '{"object_1": {"desc": "a", "poly": [[1, 2], [1, 3], [1, 2]]}}'),
        (AnswerProfile(format="rows"), '[[1,2,1,4,"a"]]'),
        (AnswerProfile(format="rows"), '[[1,2,3,4,1,2,"a"]]'),
        (AnswerProfile(format="rows", prefix="{num_boxes} boxes:"), '2 boxes:[[1,2,3,4,"a"]]'),
        (AnswerProfile(format="rows", prefix="{num_boxes} boxes:"), '1 boxes:[[1,2,3,4,"a"],[1,2,3,4,"a"]]'),
        (AnswerProfile(format="rows", prefix="{num_objects} of {num_lines},"), "1 of 2,[]"),
    ],
)
def test_what_is_no_answer(profile: AnswerProfile, text: str) -> None:
    assert not accepts(AnswerGrammar(profile), text)


def test_bounds_hold() -> None:
    grammar = AnswerGrammar(AnswerProfile(format="rows"), bounds=AnswerBounds(objects=2, points=3, caption=2))
    row, polygon = '[1,2,3,4,"ab"]', '[1,2,3,4,5,1,"a"]'
    assert accepts(grammar, f"[{row},{polygon}]")
    for text in (f"[{row},{row},{row}]", '[[1,2,3,4,"abc"]]', '[[1,2,3,4,5,1,6,7,"a"]]'):
        assert not accepts(grammar, text)


@settings(max_examples=40)
@given(st.integers(0, 40), st.integers(0, 120), st.lists(st.integers(0, 120), max_size=3))
def test_numbers_and_their_digits(low: int, high: int, without: list[int]) -> None:
    numbers = Numbers(low, high, tuple(set(without)))
    wanted = {value for value in range(low, high + 1) if value not in without}
    assert {value for value in range(130) if value in numbers} == wanted
    for value in range(130):
        assert numbers.begin_with(str(value)) == any(str(each).startswith(str(value)) for each in wanted)


@pytest.mark.parametrize("name", ["objects", "points", "caption"])
def test_bounds_that_allow_nothing(name: str) -> None:
    with pytest.raises(ConfigError, match=f"^{name} of a grammar must be at least [13], not 0$"):
        AnswerBounds(**{name: 0})


def test_a_format_of_a_plugin_has_no_grammar(monkeypatch: pytest.MonkeyPatch) -> None:
    class Own:
        def write(self, objects: list[AnswerObject]) -> list[TextPart]:
            return []

        def parse_objects(self, text: str, notes: Notes) -> list[AnswerObject]:
            return []

    monkeypatch.setattr(ANSWER_FORMATS, "_items", {**ANSWER_FORMATS._items, "own": Own()})
    with pytest.raises(ConfigError, match="answer format must be one of dcap itself for a grammar, not 'own'"):
        AnswerGrammar(AnswerProfile(format="own"))
