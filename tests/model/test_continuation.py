"""Rows that are continued: the logits are those of one plain pass, however the tokens come."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch

from dcap.data.encode import Encoder, grid_thw, patchify
from dcap.geometry.canvas import Canvas
from dcap.model import continuation
from dcap.model.continuation import Continuation
from dcap.model.generation import Prompt


@pytest.fixture(autouse=True)
def _inference() -> Iterator[None]:
    with torch.inference_mode():
        yield


def prompt(generator: Any, words: str, canvas: Canvas | None) -> Prompt:
    ids = Encoder(generator.tokenizer).prompt_ids(None, words, canvas)
    if canvas is None:
        return Prompt(ids)
    image = np.random.default_rng(len(words)).integers(0, 256, (canvas.height, canvas.width, 3), np.uint8)
    return Prompt(ids, patchify(image), grid_thw(canvas))


@pytest.fixture(scope="module")
def prompts(generator: Any) -> list[Prompt]:
    words = ("a?", "some more words?", "and a question without an image")
    return [prompt(generator, w, c) for w, c in zip(words, (Canvas(64, 96), Canvas(32, 64), None), strict=True)]


def tokens(row: int, count: int) -> list[int]:
    return np.random.default_rng(row).integers(0, 256, count).tolist()


def expected(generator: Any, one: Prompt, run: Sequence[int]) -> torch.Tensor:
    """Return the logits after the prompt and each token of a run, float32 (1 + n, V), from one pass without a cache."""
    whole = Prompt(np.concatenate([one.input_ids, np.array(run, np.int64)]), one.pixel_values, one.grid_thw)
    batch = generator.batch([whole])
    logits: torch.Tensor = generator.model(**batch, use_cache=False).logits
    return logits[0, len(one.input_ids) - 1 :]


def assert_close(found: torch.Tensor, wanted: torch.Tensor) -> None:
    torch.testing.assert_close(found, wanted, atol=2e-5, rtol=1e-5)


SPLITS = {
    "one by one": ((1, 1, 1, 1, 1, 1),) * 3,
    "at once": ((6,),) * 3,
    "several lengths": ((1, 4, 1), (3, 1, 2), (2, 2, 2)),
}


@pytest.mark.parametrize("few_holes", [0, 64])
@pytest.mark.parametrize("split", SPLITS)
def test_logits_do_not_depend_on_how_tokens_come(
    generator: Any, prompts: list[Prompt], split: str, few_holes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(continuation, "_FEW_HOLES", few_holes)
    runs = [tokens(row, 6) for row in range(3)]
    wanted = [expected(generator, one, run) for one, run in zip(prompts, runs, strict=True)]
    rows = Continuation(generator.model, generator.batch(prompts))
    for row in range(3):
        assert_close(rows.logits[row, -1], wanted[row][0])
    done = [0, 0, 0]
    for sizes in zip(*SPLITS[split], strict=True):
        rows.feed([run[d : d + n] for run, d, n in zip(runs, done, sizes, strict=True)], all_logits=True)
        for row, n in enumerate(sizes):
            assert_close(rows.logits[row, -n:], wanted[row][1 + done[row] :][:n])
            done[row] += n


def test_only_the_last_logits_are_computed_where_no_more_are_asked_for(generator: Any, prompts: list[Prompt]) -> None:
    rows = Continuation(generator.model, generator.batch(prompts))
    assert rows.logits.shape[:2] == (3, 1)
    rows.feed([tokens(0, 3), tokens(1, 1), tokens(2, 2)])
    assert rows.logits.shape[:2] == (3, 1)
    assert_close(rows.logits[0, -1], expected(generator, prompts[0], tokens(0, 3))[-1])


@pytest.mark.parametrize("few_holes", [0, 64])
def test_rows_leave_and_join(
    generator: Any, prompts: list[Prompt], few_holes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The longest row leaves, one is doubled, and two new ones come, one longer than the others and one shorter."""
    monkeypatch.setattr(continuation, "_FEW_HOLES", few_holes)
    rows = Continuation(generator.model, generator.batch(prompts))
    rows.feed([tokens(row, 2) for row in range(3)])
    rows.take([2, 1, 1])
    long = prompt(generator, "a question that is longer than all of the others are together" * 2, Canvas(64, 64))
    rows.join(Continuation(generator.model, generator.batch([long, prompts[0]])))
    assert len(rows) == 5
    assert rows.logits.shape[0] == 5
    more = [tokens(10 + row, 3) for row in range(5)]
    rows.feed([run[:1] for run in more])
    rows.feed([run[1:] for run in more])
    came_from = [
        (prompts[2], tokens(2, 2)),
        (prompts[1], tokens(1, 2)),
        (prompts[1], tokens(1, 2)),
        (long, []),
        (prompts[0], []),
    ]
    for row, (one, begun) in enumerate(came_from):
        assert_close(rows.logits[row, -1], expected(generator, one, [*begun, *more[row]])[-1])


def test_rows_without_holes_need_no_mask(
    generator: Any, prompts: list[Prompt], monkeypatch: pytest.MonkeyPatch
) -> None:
    masks: list[Any] = []
    forward = generator.model.forward

    def watching(*args: Any, **kwargs: Any) -> Any:
        masks.append(kwargs["attention_mask"])
        return forward(*args, **kwargs)

    monkeypatch.setattr(generator.model, "forward", watching)
    monkeypatch.setattr(continuation, "_FEW_HOLES", 0)
    rows = Continuation(generator.model, generator.batch(prompts))
    rows.feed([[1], [2], [3]])
    assert all(mask is not None for mask in masks)
    masks.clear()
    rows.take([2])
    rows.feed([[4]])
    rows.feed([[5, 6]])
    assert masks == [None, None], "the holes left with the longer rows"


def test_new_tokens_copy_nothing(generator: Any, prompts: list[Prompt]) -> None:
    rows = Continuation(generator.model, generator.batch(prompts))
    layer = rows._cache.layers[0]
    place = layer.keys.data_ptr()
    for _ in range(3):
        rows.feed([[1], [2], [3]])
    assert layer.keys.data_ptr() == place
    assert layer.keys.shape[-2] == layer.get_seq_length() == max(len(p.input_ids) for p in prompts) + 3
