"""Loaders whose data file changes, or is opened by many at once: the same rows as ever, or an error that names it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
import torch

from dcap.core.errors import RecordError
from dcap.data.collate import Batch
from dcap.data.loader import EpochLoader
from dcap.records.files import saved_index
from support.dataset_cases import make_dataset, photo, records
from support.epoch_cases import loader_of

NUM_RECORDS = 8


@pytest.fixture
def file(tmp_path: Path) -> Path:
    # Large enough for its index to be saved.
    item = photo(tmp_path, metadata={"notes": "x" * (saved_index.LEAST_BYTES // NUM_RECORDS)})
    return Path(records(tmp_path, *({**item, "objects": item["objects"][: 2 + i]} for i in range(NUM_RECORDS))))


def loader(file: Path, micro_folder: Path, num_workers: int = 0) -> EpochLoader:
    fields = {"train": str(file), "val": (), "num_workers": num_workers, "packing": False, "patch_dtype": "uint8"}
    return loader_of(make_dataset(micro_folder, **fields))


def digest(batches: Iterator[list[Batch]]) -> str:
    """Of all tensors and names, in order."""
    seen = hashlib.sha256()
    for batch in (batch for step in batches for batch in step):
        for name, value in sorted(batch.items()):
            seen.update(name.encode())
            seen.update(value.numpy().tobytes() if isinstance(value, torch.Tensor) else repr(value).encode())
    return seen.hexdigest()


MEETING: dict[str, Any] = {}


def epoch_at_once(file: Path, micro_folder: Path) -> str:
    MEETING["barrier"].wait(240)
    torch.set_num_threads(1)
    return digest(loader(file, micro_folder).steps())


def test_trainers_that_open_a_file_at_once_see_the_same(file: Path, micro_folder: Path) -> None:
    alone = digest(loader(file, micro_folder).steps())
    index = file.with_name(file.name + saved_index.SUFFIX)
    index.unlink()
    context = get_context("fork")
    with ProcessPoolExecutor(2, context, MEETING.__setitem__, ("barrier", context.Barrier(2))) as pool:
        jobs = [pool.submit(epoch_at_once, file, micro_folder) for _ in range(2)]
        assert [job.result(timeout=240) for job in jobs] == [alone, alone]
    assert sorted(os.listdir(file.parent)) == sorted(["a.png", file.name, index.name])


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_file_that_is_written_anew_during_an_epoch_is_named(file: Path, micro_folder: Path, num_workers: int) -> None:
    made = loader(file, micro_folder, num_workers)
    steps = made.steps()
    next(steps)
    # At once, so that a worker that is ahead meets it too.
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(lines[::-1]) + b"\n")
    with pytest.raises(RecordError, match=rf"^{file}: file must not change while it is in use\. Start again\.$"):
        list(steps)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_file_that_is_replaced_during_an_epoch_is_read_to_its_end(
    file: Path, micro_folder: Path, num_workers: int
) -> None:
    undisturbed = digest(loader(file, micro_folder).steps())
    made = loader(file, micro_folder, num_workers)
    whole = made.steps()
    first = next(whole)
    new = file.with_name("new.jsonl")
    new.write_bytes(b"")
    new.replace(file)
    assert digest(iter([first, *whole])) == undisturbed
