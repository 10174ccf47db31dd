"""Ranks that read the same files agree; `test_ranks.py` has two that do not."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from dcap.core.errors import TrainingError
from dcap.data.loader import EpochLoader
from dcap.train import setup
from dcap.train.setup import check_ranks_agree, rows_digest
from support.dataset_cases import make_dataset, photo, records
from support.epoch_cases import loader_of


def loader(micro_folder: Path, folder: Path, *items: dict[str, Any], rank: int = 0) -> EpochLoader:
    dataset = make_dataset(micro_folder, {}, train=records(folder, *items))
    return loader_of(dataset, rank=rank, num_ranks=2)


def test_what_ranks_read_is_compared_and_not_who_they_are(micro_folder: Path, tmp_path: Path) -> None:
    few = photo(tmp_path)
    fewer = {**few, "objects": few["objects"][:9]}
    digest = rows_digest(loader(micro_folder, tmp_path, few, few))
    assert rows_digest(loader(micro_folder, tmp_path, few, few, rank=1)) == digest
    assert (
        len({digest, *(rows_digest(loader(micro_folder, tmp_path, *items)) for items in ((few,), (few, fewer)))}) == 3
    )


def test_ranks_that_differ_stop_with_the_numbers_of_their_records(
    micro_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = loader(micro_folder, tmp_path, photo(tmp_path))
    check_ranks_agree([mine])
    monkeypatch.setattr(setup, "gather_object", lambda found: [*found, (0, "of another rank")])
    with pytest.raises(TrainingError, match=re.escape("train: records and their lengths must be the same")) as caught:
        check_ranks_agree([mine])
    assert "by rank there are 1, 0 records" in str(caught.value)
