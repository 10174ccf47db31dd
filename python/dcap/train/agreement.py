"""Whether all ranks are about to train on the same rows: each one reads and plans by itself, so none must trust that.

A rank that reads fewer records, such as one whose machine lacks an image that ``data.on_bad_record: skip`` then leaves
out, would take other rows than those that are left to it, and wait for ever at the end of the epoch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from accelerate.utils import gather_object

from dcap.core.errors import TrainingError
from dcap.data.loader import RowLoader


def check_ranks_agree(loaders: Sequence[RowLoader]) -> None:
    """Compare the records and the first epoch's rows of all ranks, which must all call it.

    Args:
        loaders: Of each split.

    Raises:
        TrainingError: They differ; on every rank.
    """
    for loader in loaders:
        ranks = gather_object([(len(loader.dataset), rows_digest(loader))])
        if len(set(ranks)) > 1:
            split, counts = loader.dataset.split, ", ".join(str(count) for count, _ in ranks)
            raise TrainingError(
                f"{split}: records and their lengths must be the same on every rank, but differ; by rank there are "
                f"{counts} records. Look for files or images that only some machines have, and for other versions"
            )


def rows_digest(loader: RowLoader) -> str:
    """Return what tells the records of a loader and the costs of the first epoch's rows from any others."""
    records, digest = loader.dataset.records, hashlib.sha256()
    arrays: list[npt.NDArray[np.int32 | np.int64]] = [records.file_index, records.row_index]
    for array in (*arrays, *(step.costs for step in loader.steps(0))):
        digest.update(np.int64(len(array)).tobytes() + array.tobytes())
    return digest.hexdigest()
