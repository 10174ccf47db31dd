from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from accelerate import Accelerator
from hypothesis import given
from hypothesis import strategies as st

from dcap.core.errors import OutputError
from dcap.data.collate import Batch, PackingCollator, PaddingCollator
from dcap.data.encode import IGNORE_INDEX
from dcap.data.sample import ObjectTokens, Sample, SampleKey
from dcap.data.sample_losses import (
    ObjectLoss,
    SampleLoss,
    TokenLoss,
    epoch_file,
    epoch_files,
    read_losses,
    validation_file,
)
from dcap.data.tokens import TokenKind
from dcap.geometry.shapes import KEY_OF_KIND
from dcap.train import loss_log
from dcap.train.loss import LossOutput, model_inputs
from dcap.train.loss_log import STEPS_BUFFERED, LossLog, sample_losses
from dcap.train.state import RunState
from dcap.train.step import Learner, optimizer_step
from support.batches import PAD, fake_sample, packed, padded
from support.dataset_cases import make_dataset
from support.training_runs import files_of_at_most

KINDS = (TokenKind.CAPTION, TokenKind.COORDINATE, TokenKind.STRUCTURE)
# Samples with objects: bounds among their supervised tokens, and numbers in the record. Of one no data set is known.
OBJECTS = (
    (fake_sample(40, answer=7), (0, 3, 6), (2, 1)),
    (fake_sample(41, images=(), answer=8), (8,), ()),
    (fake_sample(42, images=((4, 8),), answer=9, weight=0.5), (2, 5, 5, 8), (1, 1, 4)),
    (fake_sample(43, images=((8, 4),), answer=2), (1, 1), (9,)),
    (fake_sample(44, images=(), answer=4, weight=0.0), (0, 3), (1,)),
)


def batch_of(which: Sequence[int], layout: Callable[..., Batch] = packed) -> Batch:
    batch = layout([OBJECTS[k][0] for k in which])
    batch["samples"] = [
        replace(
            info,
            key=SampleKey(0, 10 * k, draw=k % 2),
            objects=ObjectTokens(np.array(OBJECTS[k][1]), np.array(OBJECTS[k][2], np.int64), kinds_of(k)),
        )
        for k, info in zip(which, batch["samples"], strict=True)
    ]
    return batch


def kinds_of(k: int) -> npt.NDArray[np.uint8]:
    return np.array([number % 3 for number in OBJECTS[k][2]], np.uint8)


def made_up_output(batch: Batch) -> LossOutput:
    """A loss that is a function of the token, whatever the layout."""
    labels = batch["labels"][:, 1:]
    targets = labels[labels != IGNORE_INDEX]
    nothing = torch.zeros(())
    return LossOutput(nothing, nothing, targets > 0, (targets * 31 % 97).float() / 16, nothing, nothing)


def token_by_token(k: int, step: int) -> SampleLoss:
    sample, bounds, numbers = OBJECTS[k]
    labels = sample.labels[sample.labels != IGNORE_INDEX]
    tokens = [(TokenKind(TokenKind.CAPTION + label % 3), label * 31 % 97 / 16) for label in labels.tolist()]

    def part(kind: TokenKind, some: slice = slice(None)) -> TokenLoss:
        losses = [loss for of, loss in tokens[some] if of is kind]
        return TokenLoss(len(losses), sum(losses))

    spans = [slice(*pair) for pair in pairwise(bounds)]
    objects = tuple(
        ObjectLoss(number, KEY_OF_KIND[number % 3], *(part(kind, span) for kind in KINDS[:2]))
        for number, span in zip(numbers, spans, strict=True)
    )
    return SampleLoss(step, 10 * k, k % 2, sample.name, *(part(kind) for kind in KINDS), objects)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=6), st.booleans())
def test_sums_are_those_of_each_token(which: list[int], packs: bool) -> None:
    batch = batch_of(which, packed if packs else padded)
    wanted = [token_by_token(k, 3) for k in which if OBJECTS[k][0].weight]
    assert sample_losses(batch, made_up_output(batch), 3) == wanted


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_only_the_parts_that_are_not_finite_are_null(value: float, tmp_path: Path) -> None:
    batch = batch_of([0, 1])
    output = made_up_output(batch)
    output.token_loss[-1] = value
    first, second = sample_losses(batch, output, 3)
    (tmp_path / "one.jsonl").write_bytes(first.to_line() + second.to_line())
    assert list(read_losses(tmp_path / "one.jsonl")) == [first, second]
    assert [part.loss is None for part in (first.caption, first.coordinate, first.structure)] == [False] * 3
    assert [part.loss is None for part in (second.caption, second.coordinate, second.structure)].count(True) == 1


def test_what_no_data_set_made_has_no_line() -> None:
    batch = packed([fake_sample(1)])
    assert sample_losses(batch, made_up_output(batch), 1) == []


@pytest.fixture(scope="module")
def samples(micro_folder: Path) -> list[Sample]:
    """Three samples of photos: two as lists of objects, one as a summary."""
    answer = {"min_pixels": 4096, "max_pixels": 8192}
    dense = make_dataset(micro_folder, {"ops": [{"name": "hflip", "prob": 0.5}]}, answer=answer)
    summary = make_dataset(micro_folder, answer=answer, mode="summary")
    return [dense[0], summary[1], dense[1]]


@pytest.mark.parametrize("collator", [PackingCollator(), PaddingCollator(pad_id=PAD)])
def test_samples_in_a_row_have_the_losses_that_each_has_alone(
    make_learner: Callable[..., Learner],
    samples: list[Sample],
    collator: Callable[..., Batch],
) -> None:
    module = make_learner().bare_module.eval()

    def losses(some: Sequence[Sample]) -> list[SampleLoss]:
        batch = collator(some)
        with torch.no_grad():
            return sample_losses(batch, module(**model_inputs(batch, torch.device("cpu"))), 1)

    together, apart = losses(samples), [loss for sample in samples for loss in losses([sample])]
    assert [loss.sample for loss in together] == [sample.sample_id for sample in samples]
    for one, other, sample in zip(together, apart, samples, strict=True):
        for part, wanted in zip(_parts(one), _parts(other), strict=True):
            assert part.tokens == wanted.tokens
            assert part.loss == pytest.approx(wanted.loss, rel=1e-4, abs=2e-4)
        assert [each.number for each in one.objects] == sample.objects.numbers.tolist()
        if one.objects:  # every token of these kinds is one of an object
            assert sum(each.caption.tokens for each in one.objects) == one.caption.tokens
            assert sum(each.coordinate.loss for each in one.objects) == pytest.approx(one.coordinate.loss, abs=1e-2)


def _parts(loss: SampleLoss) -> list[TokenLoss]:
    parts = [part for each in loss.objects for part in (each.caption, each.coordinate)]
    return [loss.caption, loss.coordinate, loss.structure, *parts]


def test_weighted_sums_of_samples_are_the_loss_of_the_step(make_learner: Callable[..., Learner]) -> None:
    batches = [batch_of([0, 1, 2]), batch_of([3, 4])]
    result = optimizer_step(make_learner(), batches, step=1, lr_factor=1.0)
    total = 0.0
    for batch, output in zip(batches, result.outputs, strict=True):
        weights = [info.weight for info in batch["samples"] if info.weight]
        for weight, loss in zip(weights, sample_losses(batch, output, 1), strict=True):
            total += weight * (loss.caption.loss + loss.coordinate.loss + loss.structure.loss)
    assert total / result.totals.weight == pytest.approx(result.loss, rel=1e-5)


def test_objects_of_a_sample_are_where_its_text_has_them(samples: list[Sample], micro_folder: Path) -> None:
    decode = make_dataset(micro_folder).planners[0].encoder.tokenizer.backend_tokenizer.decode
    sample = samples[0]
    answer = sample.labels[sample.labels != IGNORE_INDEX]
    bounds = sample.objects.bounds.tolist()
    assert len(bounds) == len(sample.scene.captions) + 1 > 2
    assert answer[bounds[-1]] == answer[-1], "the last object ends at <|im_end|>"
    texts = [decode(answer[begin:end].tolist()) for begin, end in pairwise(bounds)]
    written = dict(zip(sample.objects.numbers.tolist(), texts, strict=True))
    captions = dict(zip((sample.augmented.source_index + 1).tolist(), sample.scene.captions, strict=True))
    assert all(f'"desc": "{captions[number]}"' in text for number, text in written.items())
    assert all(text[0].isdigit() for text in texts)
    assert not len(samples[1].objects.numbers), "a summary has none"


def log_of(run: Path, **changes: bool) -> LossLog:
    Accelerator(cpu=True)  # knows the ranks
    return LossLog(run, **{"writes": True, "active": True, **changes})


def add(log: LossLog, epoch: int, step: int, *which: int) -> None:
    batch = batch_of(which)
    log.add(epoch, step, [batch], [made_up_output(batch)])


def lines(path: Path) -> list[tuple[int, int]]:
    return [(loss.step, loss.index) for loss in read_losses(path)]


def test_lines_are_in_order_whoever_trained_on_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log, other = log_of(tmp_path / "one"), log_of(tmp_path / "two")
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    for step, which in ((1, (2, 0)), (2, (3, 1))):
        add(log, 0, step, *which)
        add(other, 0, step, which[0])
    elsewhere = [loss_log._Line(loss.step, loss.index, loss.draw, loss.to_line())
                 for loss in (token_by_token(0, 1), token_by_token(1, 2))]  # fmt: skip
    log.flush()
    monkeypatch.setattr(loss_log, "gather_object", lambda mine: mine + elsewhere)
    other.flush()
    assert lines(epoch_file(tmp_path / "one", 0)) == [(1, 0), (1, 20), (2, 10), (2, 30)]
    assert epoch_file(tmp_path / "one", 0).read_bytes() == epoch_file(tmp_path / "two", 0).read_bytes()


def test_steps_are_written_together_and_at_the_end_of_an_epoch(tmp_path: Path) -> None:
    log = log_of(tmp_path)
    for step in range(1, STEPS_BUFFERED + 1):
        add(log, 0, step, 0)
    assert not epoch_files(tmp_path)
    add(log, 0, STEPS_BUFFERED + 1, 0)
    assert len(lines(epoch_file(tmp_path, 0))) == STEPS_BUFFERED
    for epoch in (1, 2):
        add(log, epoch, 100 + epoch, 1)
    log.flush()
    assert list(epoch_files(tmp_path)) == [1, 2], "the two newest epochs are kept"


def test_a_step_without_training_has_no_line(tmp_path: Path) -> None:
    log = log_of(tmp_path)
    log.add(0, 1, [batch_of([4])], [])
    log.flush()
    assert epoch_file(tmp_path, 0).read_bytes() == b""


@pytest.mark.parametrize(
    ("state", "wanted"),
    [
        (RunState(step=3, epoch=1, step_in_epoch=1), {0: [(1, 0), (2, 10)], 1: [(3, 0)]}),
        (RunState(step=2, epoch=1), {0: [(1, 0), (2, 10)]}),
        (RunState(step=4, epoch=1), {0: [(1, 0), (2, 10)]}),  # which begins anew, with other records
        (RunState(step=1, epoch=0, step_in_epoch=1), {0: [(1, 0)]}),
        (RunState(), {}),
    ],
)
def test_what_is_beyond_the_state_is_cut(
    tmp_path: Path, state: RunState, wanted: dict[int, list[tuple[int, int]]]
) -> None:
    log = log_of(tmp_path)
    for epoch, step, which in ((0, 1, 0), (0, 2, 1), (1, 3, 0), (1, 4, 2)):
        add(log, epoch, step, which)
    log.flush()
    with epoch_file(tmp_path, 1).open("ab") as file:
        file.write(b'{"step":5,"ind')
    log_of(tmp_path, active=False).start(state)
    assert {epoch: lines(path) for epoch, path in epoch_files(tmp_path).items()} == wanted


def test_a_validation_replaces_the_one_before(tmp_path: Path) -> None:
    log = log_of(tmp_path)
    for step, which in ((2, (3, 0)), (5, (1,))):
        for k in which:
            batch = batch_of([k])
            log.add_validated(batch, made_up_output(batch), step)
        log.write_validated()
        assert lines(validation_file(tmp_path)) == [(step, 10 * k) for k in sorted(which)]
    log.start(RunState(step=4, epoch=1))
    assert not validation_file(tmp_path).exists()


def test_nothing_is_written_where_it_is_not_wanted_or_by_another_rank(tmp_path: Path) -> None:
    for changes in ({"active": False}, {"writes": False}):
        log = log_of(tmp_path, **changes)
        add(log, 0, 1, 0)
        log.add_validated(batch_of([0]), made_up_output(batch_of([0])), 1)
        log.flush()
        log.write_validated()
        log.start(RunState())
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_named(tmp_path: Path) -> None:
    log = log_of(tmp_path)
    add(log, 0, 1, 0)
    with files_of_at_most(10), pytest.raises(OutputError, match=r"epoch-000000\.jsonl: file must be writable"):
        log.flush()
