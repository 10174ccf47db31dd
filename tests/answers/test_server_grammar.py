"""Grammars for servers, judged by the engine that servers use."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from dcap.answers.formats import OWN_FORMATS, AnswerObject
from dcap.answers.grammar import AnswerBounds, AnswerGrammar
from dcap.answers.profile import AnswerProfile
from dcap.answers.server_grammar import _range, to_ebnf, to_json_schema
from dcap.core.errors import ConfigError
from dcap.geometry.shapes import GeometryKind

BOUNDS = AnswerBounds(objects=3, points=4, caption=9)
SHAPES = {
    "box": [[417, 494], [491, 702]],
    "polygon": [[10, 0], [30, 600], [20, 1000], [7, 8]],
    "line": [[0, 32], [125, 102]],
}
CAPTIONS = {"box": "cup", "polygon": 'ro"of\\\n', "line": "猫 …"}


def text_of(name: str, kinds: list[str]) -> str:
    objects = [AnswerObject(GeometryKind[kind.upper()], SHAPES[kind], CAPTIONS[kind]) for kind in kinds]
    return "".join([text for text, _ in OWN_FORMATS[name].write(objects)])


TEXTS = [[], ["box"], ["polygon", "box"], ["line", "line", "line"], ["polygon", "line"]]


@pytest.mark.parametrize("name", OWN_FORMATS)
class TestEngine:
    @pytest.fixture(scope="class")
    @staticmethod
    def tokenizer() -> Any:
        llguidance = pytest.importorskip("llguidance")
        return llguidance.LLTokenizer("byte")

    def accepts(self, tokenizer: Any, grammar: str, text: str) -> bool:
        from llguidance import LLMatcher

        matcher = LLMatcher(tokenizer, grammar)
        assert not matcher.is_error(), matcher.get_error()
        data = list(text.encode())
        return matcher.try_consume_tokens(data) == len(data) and matcher.is_accepting()

    def test_ebnf(self, tokenizer: Any, name: str) -> None:
        from llguidance import grammar_from

        for prefix in (None, "{num_objects} {{of\n"):
            grammar = grammar_from(
                "grammar", to_ebnf(AnswerGrammar(AnswerProfile(format=name, prefix=prefix), bounds=BOUNDS))
            )
            for kinds in TEXTS:
                text = ("" if prefix is None else f"{len(kinds)} {{of\n") + text_of(name, kinds)
                assert self.accepts(tokenizer, grammar, text)
            for place, char in enumerate(text):
                if char in ",:[]{}_":
                    assert not self.accepts(tokenizer, grammar, text[:place] + "x" + text[place + 1 :])
                    assert not self.accepts(tokenizer, grammar, f"{text[:place]} {text[place:]}")

    def test_ebnf_bounds(self, tokenizer: Any, name: str) -> None:
        from llguidance import grammar_from

        grammar = grammar_from("grammar", to_ebnf(AnswerGrammar(AnswerProfile(format=name), bounds=BOUNDS)))
        text = text_of(name, ["box"])
        assert self.accepts(tokenizer, grammar, text.replace("417", "1000"))
        for old, new in (("417", "1001"), ("417", "0417"), ("cup", ""), ("cup", "c" * 10)):
            assert not self.accepts(tokenizer, grammar, text.replace(old, new))
        assert not self.accepts(tokenizer, grammar, text_of(name, ["box"] * 4))
        if name not in ("desc_first", "rows"):
            assert not self.accepts(
                tokenizer, grammar, re.sub('poly_points": ?4', 'poly_points": 3', text_of(name, ["polygon"]))
            )

    def test_json_schema(self, tokenizer: Any, name: str) -> None:
        from llguidance import LLMatcher

        schema = to_json_schema(AnswerGrammar(AnswerProfile(format=name), bounds=BOUNDS))
        grammar = LLMatcher.grammar_from_json_schema(json.dumps(schema))
        for kinds in TEXTS:
            assert self.accepts(tokenizer, grammar, text_of(name, kinds))
        text = text_of(name, ["box"])
        for old, new in (("417", "1001"), ("cup", ""), ("cup", "c" * 10), ("417", "1.5")):
            assert not self.accepts(tokenizer, grammar, text.replace(old, new))
        assert not self.accepts(tokenizer, grammar, text_of(name, ["box"] * 4))


def test_ebnf_of_rows() -> None:
    text = to_ebnf(AnswerGrammar(AnswerProfile(format="rows", emit_norm="norm100"), bounds=BOUNDS))
    assert text.splitlines() == [
        r'root ::= ("[]" | ("[[" box caption | "[[" polygon caption | "[[\"l\"," line caption) rest)',
        r'rest ::= (("\"],[" box caption | "\"],[" polygon caption | "\"],[\"l\"," line caption)){0,2} "\"]]"',
        r'box ::= box_point ("," box_point){1,1} ",\""',
        'box_point ::= x "," y',
        r'polygon ::= polygon_point ("," polygon_point){2,3} ",\""',
        'polygon_point ::= x "," y',
        r'line ::= line_point ("," line_point){1,3} ",\""',
        'line_point ::= x "," y',
        'x ::= "0" | [1-9] | [1-9] [0-9]{1} | "100"',
        'y ::= "0" | [1-9] | [1-9] [0-9]{1} | "100"',
        "caption ::= char{1,9}",
        r'char ::= [^"\\\x00-\x1f] | "\\" (["\\bfnrt] | "u00" ("0" [0-7bef] | "1" [0-9a-f]))',
    ]


@pytest.mark.parametrize("name", OWN_FORMATS)
def test_ebnf_of_one_object_names_only_rules_that_are_there(name: str) -> None:
    text = to_ebnf(AnswerGrammar(AnswerProfile(format=name), bounds=AnswerBounds(objects=1, points=3, caption=1)))
    rules = [line.partition(" ::= ")[0] for line in text.splitlines()]
    used = set(re.findall(r"\b[a-z_]+\b", re.sub(r'"(\\.|[^"\\])*"|\[(\\.|[^\]\\])*\]', "", text)))
    assert len(rules) == len(set(rules))
    assert used == set(rules)


@pytest.mark.parametrize("most", [0, 9, 10, 64, 100, 230, 1000, 2049, 32768])
def test_numbers_of_a_range(most: int) -> None:
    pattern = re.compile(_range(most).replace('"', "").replace(" | ", "|").replace(" ", ""))
    near = {value for k in (1, 10, 100, 1000, 10000, most or 1) for value in range(max(k - 12, 0), k + 13)}
    for value in near | {2 * most, 10 * most}:
        assert bool(pattern.fullmatch(str(value))) == (value <= most)
    assert not pattern.fullmatch("00")
    assert not pattern.fullmatch("01")


def test_schema_of_boxes() -> None:
    schema = to_json_schema(AnswerGrammar(AnswerProfile(), bounds=BOUNDS))
    assert list(schema["properties"]) == ["object_1", "object_2", "object_3"]
    assert schema["additionalProperties"] is False
    assert schema["$defs"]["object"]["anyOf"][0] == {
        "type": "object",
        "properties": {
            "bbox_2d": {
                "type": "array",
                "prefixItems": [{"$ref": f"#/$defs/{axis}"} for axis in "xyxy"],
                "items": False,
                "minItems": 4,
                "maxItems": 4,
            },
            "desc": {"$ref": "#/$defs/caption"},
        },
        "required": ["bbox_2d", "desc"],
        "additionalProperties": False,
    }


def test_a_text_for_no_objects_is_in_the_grammar_and_is_no_json() -> None:
    grammar = AnswerGrammar(AnswerProfile(empty="No objects."))
    assert to_ebnf(grammar).startswith('root ::= ("No objects." | ')
    with pytest.raises(
        ConfigError, match=r"^answer\.empty must be null for a JSON Schema, not 'No objects\.': this text"
    ):
        to_json_schema(grammar)


def test_a_prefix_is_no_json() -> None:
    with pytest.raises(ConfigError, match=r"^answer\.prefix must be null for a JSON Schema, not '3: '"):
        to_json_schema(AnswerGrammar(AnswerProfile(prefix="3: ")))
