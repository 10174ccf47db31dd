"""The prefix of an answer: which templates are taken, and how it is written, read and told wrong."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dcap.answers.codec import parse, to_answer, write, write_parts
from dcap.answers.formats import ANSWER_FORMATS, PartKind
from dcap.answers.prefix import PREFIX_FIELDS, Prefix
from dcap.answers.profile import AnswerProfile
from dcap.core.errors import AnswerError, ConfigError
from dcap.geometry.canvas import Canvas
from dcap.geometry.shapes import ShapeArray
from support.answer_cases import scenes, shapes_of

CANVAS = Canvas(height=1000, width=1000)
SHAPES = shapes_of({"bbox_2d": [1, 2, 3, 4]}, {"line": [5, 6, 7, 8]}, {"bbox_2d": [9, 9, 12, 13]})
PROFILE = AnswerProfile(prefix="{num_objects} objects, {num_lines} of them {{lines}}\n", format="rows")
TEXT = '3 objects, 1 of them {lines}\n[[1,2,3,4,"a"],["l",5,6,7,8,"b"],[9,9,12,13,"c"]]'


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("", 'prefix must begin with a character that is not blank, not "". null: no prefix'),
        ("\nhello", "prefix must begin with a character that is not blank"),
        ("{num_objects", "prefix must be a text with fields in braces (expected '}' before end of string)"),
        ("a}", "prefix must be a text with fields in braces"),
        ("{num}:", 'prefix must have no fields but {num_objects}, {num_boxes}, {num_polygons}, {num_lines}, not "num"'),
        ("{num_objects:03}:", "prefix must have no fields but"),
        ("{num_objects!r}:", "prefix must have no fields but"),
        ("{}:", "prefix must have no fields but"),
        ("{num_objects}", "prefix must have a text that begins with no digit behind {num_objects}"),
        ("{num_objects}{num_boxes}.", "prefix must have a text that begins with no digit behind {num_objects}"),
        ("{num_objects}0", "prefix must have a text that begins with no digit"),
        ("a\tb", "prefix must not hold"),
        ("<|im_end|>", 'prefix must not hold "<|im_end|>"'),
        ("a</think>", 'prefix must not hold "</think>"'),
        ("e\u0301", "prefix must be in Unicode's form NFC"),
    ],
)
def test_wrong_templates_are_refused(template: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        AnswerProfile(prefix=template)
    assert message in str(caught.value)


def test_it_counts_the_objects_and_is_structure() -> None:
    assert write(SHAPES, list("abc"), CANVAS, PROFILE) == TEXT
    parts = write_parts(to_answer(SHAPES, list("abc"), CANVAS, PROFILE), PROFILE)
    assert parts[0] == ("3 objects, 1 of them {lines}\n", PartKind.STRUCTURE)
    assert parse(TEXT, PROFILE).captions == ("a", "b", "c")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("3 obj", "4 obj"), r'character 0: prefix must be "3 objects, 1 of them .*", not "4 objects'),
        (("3 obj", "03 obj"), "character 0: answer must begin with the prefix"),
        (("3 obj", "Sure! 3 obj"), "character 0: answer must begin with the prefix"),
        (("3 objects, 1 of them {lines}\n", ""), "character 0: answer must begin with the prefix"),
        (('"c"]', '"c"'), "character 77: answer must not end inside an object or list"),
    ],
)
def test_another_prefix_is_an_error_or_a_note(change: tuple[str, str], message: str) -> None:
    text = TEXT.replace(*change)
    with pytest.raises(AnswerError, match=f"answer at {message}"):
        parse(text, PROFILE)
    read = parse(text, PROFILE, strict=False)
    assert read.captions[:2] == ("a", "b")
    assert read.problems != ()


def test_a_model_may_reason_before_it() -> None:
    assert parse(f"<think>Three.</think>\n\n{TEXT}", PROFILE, strict=False).problems == ()


@settings(max_examples=60)
@given(
    scenes(),
    st.sampled_from(sorted(ANSWER_FORMATS)),
    st.lists(st.tuples(st.text("ab {}[],:5\n\"'é猫", max_size=4), st.sampled_from([*PREFIX_FIELDS, None])), max_size=4),
)
def test_any_template_round_trips(
    scene: tuple[ShapeArray, list[str], Canvas], name: str, pieces: list[tuple[str, str | None]]
) -> None:
    fields = ["" if field is None else f"{{{field}}}." for _, field in pieces]
    texts = [text.replace("{", "{{").replace("}", "}}") for text, _ in pieces]
    template = "".join([piece for pair in zip(texts, fields, strict=True) for piece in pair])
    try:
        prefix = Prefix(template)
    except ConfigError:
        assert not template or template[0].isspace()
        return
    profile = AnswerProfile(prefix=template, format=name)
    answer = to_answer(*scene, profile)
    text = write(*scene, profile)
    kinds = answer.shapes.kinds.tolist()
    counts = {field: len(kinds) if kind is None else kinds.count(kind) for field, kind in PREFIX_FIELDS.items()}
    assert prefix.write(kinds) == template.format(**counts)
    assert text.startswith(prefix.write(kinds))
    read = parse(text, profile)
    assert (read.shapes, read.captions) == (answer.shapes, answer.captions)
