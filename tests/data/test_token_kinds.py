from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcap.answers.codec import Answer, to_answer, write_answer, write_parts
from dcap.answers.formats import PartKind, TextPart
from dcap.answers.profile import AnswerProfile
from dcap.data.encode import IGNORE_INDEX, Encoder, _without_added_tokens, load_tokenizer
from dcap.data.tokens import TokenKind, byte_kinds
from dcap.geometry.shapes import KEY_OF_KIND, GeometryKind
from support.answer_cases import CAPTIONS, profiles, scenes
from support.dataset_cases import make_dataset

STRUCTURE = TokenKind.STRUCTURE


@pytest.fixture(scope="module")
def encoder(tiny_folder: Path) -> Encoder:
    return Encoder(load_tokenizer(str(tiny_folder)))


@pytest.fixture(scope="module", params=["tiny_folder", "micro_folder"])
def any_encoder(request: pytest.FixtureRequest) -> Encoder:
    """With the vocabulary of Qwen3-VL, and with the one of bytes."""
    return Encoder(load_tokenizer(str(request.getfixturevalue(request.param))))


def pieces(answer: Answer, profile: AnswerProfile) -> list[tuple[str, TokenKind]]:
    """The text of an answer as it is put together, each piece with its kind."""
    if not len(answer.shapes) and profile.empty is not None:
        return [(header(answer, profile), STRUCTURE), (profile.empty, STRUCTURE)]
    numbered, rows = profile.format in ("object_map", "desc_first"), profile.format == "rows"
    signs = (",", ":") if profile.format in ("qwen_compact", "rows") else (", ", ": ")
    items: list[list[tuple[str, TokenKind]]] = []
    for i, (kind, points) in enumerate(answer.shapes):
        key, values = KEY_OF_KIND[kind], points.astype(int).tolist()
        flat = [value for point in values for value in point]
        numbers = digits_apart(json.dumps(flat if kind is GeometryKind.BOX or rows else values, separators=signs))
        caption = [('"', STRUCTURE), (dumped(answer.captions[i]), TokenKind.CAPTION), ('"', STRUCTURE)]
        if rows:
            letter = '"l",' if kind is GeometryKind.LINE else ""
            items.append([("[" + letter, STRUCTURE), *numbers[1:-1], (",", STRUCTURE), *caption, ("]", STRUCTURE)])
            continue
        has_count = kind is GeometryKind.LINE or (kind is GeometryKind.POLYGON and profile.format != "desc_first")
        count = [(json.dumps(f"{key}_points") + signs[1] + str(len(points)), STRUCTURE)] if has_count else []
        members = [*([count] if count else []), [(json.dumps(key) + signs[1], STRUCTURE), *numbers]]
        text = [(json.dumps("desc" if numbered else "label") + signs[1], STRUCTURE), *caption]
        members.insert(0 if profile.format == "desc_first" else len(members), text)
        name = json.dumps(f"object_{i + 1}") + signs[1] if numbered else ""
        items.append([(name + "{", STRUCTURE), *joined(members, signs[0]), ("}", STRUCTURE)])
    opening, closing = "{}" if numbered else "[]"
    return [(header(answer, profile), STRUCTURE), (opening, STRUCTURE), *joined(items, signs[0]), (closing, STRUCTURE)]


def header(answer: Answer, profile: AnswerProfile) -> str:
    kinds = answer.shapes.kinds.tolist()
    counts = {"boxes": kinds.count(0), "polygons": kinds.count(1), "lines": kinds.count(2), "objects": len(kinds)}
    return (profile.prefix or "").format(**{f"num_{name}": count for name, count in counts.items()})


def dumped(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)[1:-1]


def joined(items: list[list[tuple[str, TokenKind]]], comma: str) -> list[tuple[str, TokenKind]]:
    return [piece for i, item in enumerate(items) for piece in ([(comma, STRUCTURE)] if i else []) + item]


def digits_apart(text: str) -> list[tuple[str, TokenKind]]:
    return [(char, TokenKind.COORDINATE if char.isdigit() else STRUCTURE) for char in text]


@given(scenes(), st.lists(CAPTIONS, min_size=5, max_size=5), profiles)
def test_kinds_are_those_of_the_writer_at_the_tokenizer_s_offsets(
    any_encoder: Encoder, scene: Any, captions: list[str], profile: AnswerProfile
) -> None:
    shapes, drawn, canvas = scene
    answer = to_answer(shapes, [a + b for a, b in zip(captions, drawn, strict=False)], canvas, profile)
    known = pieces(answer, profile)
    parts, text = write_parts(answer, profile), write_answer(answer, profile)
    assert "".join(part for part, _ in known) == "".join(part for part, _ in parts) == text
    of_chars = [kind for part, kind in known for _ in part]
    offsets = _without_added_tokens(any_encoder.tokenizer).encode(text).offsets
    ids = any_encoder.answer_ids(text)
    wanted = [*(of_chars[start] for start, _ in offsets), TokenKind.STRUCTURE]
    assert any_encoder.answer_kinds(parts, ids).tolist() == wanted


@given(st.text() | CAPTIONS)
def test_a_summary_is_one_caption(any_encoder: Encoder, text: str) -> None:
    ids = any_encoder.answer_ids(text)
    kinds = any_encoder.answer_kinds([(text, PartKind.CAPTION)], ids)
    assert kinds.dtype == np.uint8
    assert kinds.tolist() == [*[TokenKind.CAPTION] * (len(ids) - 1), TokenKind.STRUCTURE]


@pytest.mark.parametrize(
    ("parts", "want"),
    [
        ([], ""),
        ([("[1, -2.5]", PartKind.NUMBERS), (" 3 ", PartKind.STRUCTURE), ("7 é", PartKind.CAPTION)], "snssnnnnsssscccc"),
        ([("", PartKind.CAPTION), ("12", PartKind.NUMBERS), ("", PartKind.STRUCTURE)], "nn"),
    ],
)
def test_bytes_by_hand(parts: list[TextPart], want: str) -> None:
    letters = {TokenKind.STRUCTURE: "s", TokenKind.CAPTION: "c", TokenKind.COORDINATE: "n"}
    assert "".join(letters[TokenKind(kind)] for kind in byte_kinds(parts).tolist()) == want


@pytest.mark.parametrize("mode", ["dense", "summary"])
def test_every_token_of_a_sample_has_its_kind(tiny_folder: Path, mode: str) -> None:
    dataset = make_dataset(tiny_folder, mode=mode)
    for sample in [dataset[(0, 0)], dataset[(1, 1)], dataset.filler()]:
        kinds = sample.token_kinds
        assert kinds.dtype == np.uint8
        assert np.array_equal(kinds == TokenKind.IMAGE, sample.mm_token_type_ids == 1)
        assert np.array_equal(kinds >= TokenKind.CAPTION, sample.labels != IGNORE_INDEX)
        assert kinds[-1] == TokenKind.STRUCTURE
        if sample.grid_thw is not None:
            wanted = {TokenKind.CAPTION, TokenKind.STRUCTURE} | ({TokenKind.COORDINATE} if mode == "dense" else set())
            assert set(kinds[kinds >= TokenKind.CAPTION].tolist()) == wanted
            assert mode == "dense" or (kinds[sample.labels != IGNORE_INDEX][:-1] == TokenKind.CAPTION).all()
