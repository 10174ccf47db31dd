"""An answer ends behind an object that it has written before, whatever the other rows of the batch do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from dcap.answers.codec import parse
from dcap.answers.formats import OWN_FORMATS, AnswerObject
from dcap.answers.grammar import AnswerGrammar
from dcap.answers.profile import AnswerProfile
from dcap.data.encode import Encoder, load_tokenizer
from dcap.geometry.shapes import GeometryKind
from dcap.model.constraint import TokenGrammar
from dcap.model.decoding import Decoding
from dcap.model.generation import Prompt
from dcap.model.repeat_stop import RepeatStop

BOX = AnswerObject(GeometryKind.BOX, [[1, 2], [3, 4]], "cup")
ROAD = AnswerObject(GeometryKind.LINE, [[1, 2], [3, 4]], "a } and ] in a text")


@pytest.fixture(scope="module")
def encoder(tiny_folder: Path) -> Encoder:
    return Encoder(load_tokenizer(str(tiny_folder)))


def written(name: str, objects: Sequence[AnswerObject]) -> str:
    return "".join([text for text, _ in OWN_FORMATS[name].write(objects)])


@pytest.mark.parametrize("with_grammar", [False, True])
@pytest.mark.parametrize("name", OWN_FORMATS)
def test_the_end_comes_behind_the_repeat(encoder: Encoder, name: str, with_grammar: bool) -> None:
    profile = AnswerProfile(format=name)
    inner = TokenGrammar(AnswerGrammar(profile), encoder).constraint(fast_forward=False) if with_grammar else None
    stop = RepeatStop(profile, 2, encoder, inner)
    tokens = encoder.answer_ids(written(name, [BOX, ROAD, BOX, ROAD, ROAD, BOX]))[:-1].tolist()
    count = 0
    while not stop.forced():
        stop.advance(tokens[count : count + 1])
        count += 1
    assert list(stop.forced()) == [encoder.tokenizer.convert_tokens_to_ids("<|im_end|>")]
    stop.advance(stop.forced())
    text = encoder.tokenizer.backend_tokenizer.decode(tokens[:count])
    read = parse(text, profile, strict=False)
    assert read.captions == ("cup", ROAD.caption, "cup", ROAD.caption, ROAD.caption)
    assert written(name, [BOX, ROAD, BOX, ROAD, ROAD, BOX]).startswith(text)


class Script:
    """Lets a model write one text, token by token."""

    def __init__(self, tokens: Sequence[int]) -> None:
        self.left = list(tokens)

    def forced(self) -> list[int]:
        return self.left[:1]

    def allowed(self) -> npt.NDArray[np.bool_] | None:
        return None

    def advance(self, tokens: Sequence[int]) -> None:
        assert self.left[: len(tokens)] == list(tokens)
        del self.left[: len(tokens)]


def test_only_the_row_that_repeats_ends(tiny_generator: Any, encoder: Encoder) -> None:
    profile = AnswerProfile()
    texts = [written("object_map", objects) for objects in ([BOX, BOX, BOX], [BOX, ROAD], [ROAD, ROAD, BOX])]
    scripts = [Script(encoder.answer_ids(text).tolist()) for text in texts]
    prompts = [Prompt(encoder.prompt_ids(None, "what?" * k, None)) for k in (1, 2, 3)]
    stops = [RepeatStop(profile, 1, encoder, script) for script in scripts]
    answers = tiny_generator.generate(prompts, Decoding(max_new_tokens=200), constraints=stops)
    assert [answer.text for answer in answers] == [
        '{"object_1": {"bbox_2d": [1, 2, 3, 4], "desc": "cup"}, "object_2": {"bbox_2d": [1, 2, 3, 4], "desc": "cup"},',
        texts[1],
        texts[2].partition(', "object_3"')[0] + ",",
    ]
    assert all(answer.finished for answer in answers)
