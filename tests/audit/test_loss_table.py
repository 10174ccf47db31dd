from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcap.audit import loss_table
from dcap.audit.loss_table import Losses, read_loss_table
from dcap.data.sample_losses import ObjectLoss, SampleLoss, TokenLoss

NOTHING = TokenLoss(0, 0.0)


def a_loss(index: int, step: int = 1, draw: int = 0, objects: tuple[ObjectLoss, ...] = ()) -> SampleLoss:
    parts = TokenLoss(4, 2.0), NOTHING, TokenLoss(10, 1.0)
    return SampleLoss(step, index, draw, f"r.jsonl:{index + 1}", *parts, objects)


def written(path: Path, *losses: SampleLoss) -> Path:
    path.write_bytes(b"".join(loss.to_line() for loss in losses))
    return path


def test_the_newest_losses_of_each_sample_count(tmp_path: Path) -> None:
    box = ObjectLoss(3, "bbox_2d", TokenLoss(2, 1.0), TokenLoss(8, 4.0))
    line = ObjectLoss(1, "line", NOTHING, TokenLoss(4, 1.0))
    old = written(tmp_path / "old", a_loss(0, objects=(box,)), a_loss(1, objects=(line,)), a_loss(1, draw=1))
    new = written(tmp_path / "new", a_loss(2, step=8), a_loss(0, step=9, objects=(line, box)))
    table = read_loss_table([(0, old), (1, new)])
    assert table.index.tolist() == [1, 1, 2, 0]
    assert table.draw.tolist() == [0, 1, 0, 0]
    assert table.epoch.tolist() == [0, 0, 1, 1]
    assert table.step.tolist() == [1, 1, 8, 9]
    assert table.names == ("r.jsonl:2", "r.jsonl:2", "r.jsonl:3", "r.jsonl:1")
    assert table.means[0] == pytest.approx([0.5, np.nan, 0.1], nan_ok=True)
    assert list(zip(table.owner.tolist(), table.number.tolist(), table.shape.tolist(), strict=True)) == [
        (0, 1, 2),
        (3, 1, 2),
        (3, 3, 0),
    ]
    assert table.object_means[2].tolist() == [0.5, 0.5]
    assert np.isnan(table.object_means[0, 0])


def test_no_loss_is_an_empty_table(tmp_path: Path) -> None:
    table = read_loss_table([(0, written(tmp_path / "empty"))])
    assert len(table.index) == len(table.number) == 0
    assert table.objects(np.empty(0, np.int64)).order().tolist() == []


@given(st.lists(st.tuples(st.integers(0, 2), st.floats(0, 9) | st.just(np.nan)), max_size=40))
def test_a_rank_is_the_share_of_those_alike_that_are_lower(things: list[tuple[int, float]]) -> None:
    groups, values = np.array([g for g, _ in things], np.int64), np.array([v for _, v in things])
    ranks = Losses.ranked(values[:, None], [groups]).ranks[:, 0]
    for rank, (group, value) in zip(ranks.tolist(), things, strict=True):
        alike = [v for g, v in things if g == group and not np.isnan(v)]
        lower = sum(v < value for v in alike) + sum(v == value for v in alike) / 2
        assert rank == pytest.approx(lower / len(alike) if not np.isnan(value) else np.nan, nan_ok=True)


def test_what_was_trained_on_early_is_compared_with_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loss_table, "COMPARED", 10)
    noise = np.linspace(0, 0.1, 10)
    means = np.concatenate([5 - noise, 1 + noise])  # a model that got better
    means[14] = 2.0  # a wrong label, learnt late
    losses = Losses.ranked(means[:, None], [np.zeros(20, np.int64)])
    assert losses.ranks.max() == losses.ranks[14, 0]
    assert losses.order()[:2].tolist() == [0, 14]


def test_the_worst_kind_decides_and_missing_kinds_do_not() -> None:
    means = np.array([[1.0, 9.0], [3.0, np.nan], [2.0, 1.0], [np.nan, np.nan]])
    losses = Losses.ranked(means, [np.zeros(4, np.int64)] * 2)
    assert losses.worst_kind.tolist()[:3] == [1, 0, 0]
    assert losses.order().tolist() == [1, 0, 2, 3]


def test_losses_that_are_not_finite_come_first(tmp_path: Path) -> None:
    broken = msgspec.structs.replace(a_loss(3), structure=TokenLoss(10, None))
    others = [msgspec.structs.replace(a_loss(i), caption=TokenLoss(1, i)) for i in range(2 * loss_table.COMPARED)]
    table = read_loss_table([(0, written(tmp_path / "one", *others, msgspec.structs.replace(broken, index=5000)))])
    assert np.isinf(table.means[-1, 2])
    samples = table.samples(np.zeros(len(table.index), np.int64))
    assert samples.order()[0] == len(others)
    assert samples.ranks[-1, 2] == 1.0


def test_coordinates_are_compared_within_a_kind_of_shape(tmp_path: Path) -> None:
    objects = tuple(
        ObjectLoss(i + 1, shape, TokenLoss(1, 0.1 * i), TokenLoss(1, loss))
        for i, (shape, loss) in enumerate([("poly", 5.0), ("poly", 6.0), ("bbox_2d", 1.0), ("bbox_2d", 2.0)])
    )
    table = read_loss_table([(0, written(tmp_path / "one", a_loss(0, objects=objects)))])
    ranks = table.objects(np.zeros(1, np.int64)).ranks
    assert ranks[:, 1].tolist() == [0.25, 0.75, 0.25, 0.75]
    assert ranks[:, 0].tolist() == [0.125, 0.375, 0.625, 0.875]
