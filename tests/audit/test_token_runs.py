from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcap.audit.token_runs import token_runs, visible
from dcap.data.encode import IGNORE_INDEX, load_tokenizer
from dcap.data.sample import Sample
from dcap.data.tokens import TokenKind
from support.dataset_cases import make_dataset, photo, records

CAPTION = 'a <b>cup</b> 猫𠮷🙂\u200b · ⟦x⟧ "q" \\ <|im_end|>'


def exact(shown: str) -> str:
    """Read the text back from what is shown, by the rules that the module states."""

    def unwrapped(inside: str) -> str:
        if inside.startswith("U+"):
            return chr(int(inside[2:], 16))
        text, _, note = inside.partition(" ")
        if text == "0x":
            return bytes.fromhex(note.replace("|", "")).decode()
        return unmarked(text) * (int(note[2:]) if note.startswith("x ") else 1)

    def unmarked(text: str) -> str:
        return text.replace("↵\n", "\n").replace("·", " ").replace("→", "\t")

    parts = re.split(r"(⟦[^⟧]*⟧)", shown)
    return "".join(unwrapped(part[1:-1]) if part.startswith("⟦") else unmarked(part) for part in parts)


@pytest.fixture
def sample(tiny_folder: Path, tmp_path: Path) -> Sample:
    objects = [{"desc": CAPTION, "bbox_2d": [10, 10, 60, 60]}, {"desc": "wire", "line": [0, 0, 90, 70]}]
    return make_dataset(tiny_folder, {}, train=records(tmp_path, photo(tmp_path, objects=objects)))[0]


def test_what_is_shown_is_the_exact_text(sample: Sample, tiny_folder: Path) -> None:
    tokenizer = load_tokenizer(str(tiny_folder))
    runs = token_runs(sample, tokenizer)
    assert [i for run in runs for i in run.ids] == sample.input_ids.tolist()
    whole: Any = tokenizer
    text = whole.decode(sample.input_ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
    assert b"".join(run.raw for run in runs).decode() == text
    assert exact("".join(run.shown for run in runs)) == text
    assert json.dumps(CAPTION, ensure_ascii=False) in text


def test_nothing_is_shown_that_cannot_be_printed(sample: Sample, tiny_folder: Path) -> None:
    shown = "".join(run.shown for run in token_runs(sample, load_tokenizer(str(tiny_folder))))
    assert "\ufffd" not in shown
    assert "⟦U+200B⟧" in shown
    assert all(char.isprintable() or char == "\n" for char in shown)


def test_tokens_keep_kind_and_supervision(sample: Sample, tiny_folder: Path) -> None:
    runs = token_runs(sample, load_tokenizer(str(tiny_folder)))
    first = np.cumsum([0, *(len(run.ids) for run in runs)])[:-1]
    assert [run.kind for run in runs] == sample.token_kinds[first].tolist()
    assert [run.supervised for run in runs] == (sample.labels[first] != IGNORE_INDEX).tolist()
    images = [run for run in runs if run.kind is TokenKind.IMAGE]
    assert [len(run.ids) for run in images] == [int(sample.mm_token_type_ids.sum())]
    assert images[0].shown == f"⟦<|image_pad|> x {len(images[0].ids)}⟧"


def test_a_character_over_several_tokens_is_joined_with_the_bytes_of_each(sample: Sample, tiny_folder: Path) -> None:
    joined = [r for r in token_runs(sample, load_tokenizer(str(tiny_folder))) if r.kind != 1 and len(r.ids) > 1]
    assert joined, "the caption holds a character that the vocabulary does not"
    for run in joined:
        text, _, note = run.shown.strip("⟦⟧").partition(" ")
        assert bytes.fromhex(note.replace("|", "")) == run.raw
        assert len(note.split("|")) == len(run.ids)
        assert text == "0x" or text.replace("·", " ") == run.raw.decode()


@given(st.text())
def test_any_text_can_be_read_back(text: str) -> None:
    assert exact(visible(text)) == text
    assert all(char.isprintable() or char == "\n" for char in visible(text))
