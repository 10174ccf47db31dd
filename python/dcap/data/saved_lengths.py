"""Saved lengths: those that are the same in every epoch, kept on disk between runs of large files.

Owns what such lengths depend on. Their files are laid out as indices are (`dcap.records.files.saved_index`). A file
that is wrong in any way is made again, and nothing here fails a run.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from dcap import __version__
from dcap.answers.formats import own_layout
from dcap.core.config import to_tree
from dcap.data.mixture import Mixture
from dcap.data.packing import SampleSizes
from dcap.data.planning import Planner
from dcap.geometry.canvas import Canvas
from dcap.records.checking import CheckedRecords
from dcap.records.files import saved_index
from dcap.records.files.saved_index import ContentKey

SUFFIX = ".dcap-lengths"

_MAGIC = b"dcaplens"
_MAX_TOKENS = 1 << 40
_SMALLEST = Canvas(32, 32)


class SavedLengths:
    """Where the lengths of some samples are kept: beside their first file, or else in the user's cache.

    `None`: the file is small, or the lengths depend on the code of a plugin.

    Args:
        records: The records of the samples, each taken once and in order.
        mixture: The data set of each record.
        planners: One planner for each data set.
    """

    def __init__(self, records: CheckedRecords, mixture: Mixture, planners: Sequence[Planner]) -> None:
        self._key = _content_key(records, mixture, planners)
        self._count = len(records)
        self._places = [] if self._key is None else saved_index.places(records.files[0].path, SUFFIX)

    def load(self) -> SampleSizes | None:
        """Return what was saved, or None where there is nothing that fits."""
        for place in self._places:
            assert self._key is not None
            arrays = saved_index.load_arrays(place, _MAGIC, self._key)
            if arrays is not None and arrays.shape == (2, self._count) and _can_be(*arrays):
                return SampleSizes(*arrays.astype(np.int64))
        return None

    def save(self, sizes: SampleSizes) -> None:
        """Keep lengths for `load`, where that is possible."""
        arrays = [sizes.tokens, sizes.image_tokens]
        any(self._key and saved_index.save_arrays(place, _MAGIC, self._key, arrays) for place in self._places)


def _can_be(tokens: npt.NDArray[np.int64], image_tokens: npt.NDArray[np.int64]) -> bool:
    """Whether numbers may be lengths; a sample that is left out has none. Others are found when a sample is encoded."""
    is_length = (image_tokens >= 0) & (image_tokens < tokens) & (tokens < _MAX_TOKENS)
    return bool((is_length | ((tokens == 0) & (image_tokens == 0))).all())


def _content_key(records: CheckedRecords, mixture: Mixture, planners: Sequence[Planner]) -> ContentKey | None:
    """Return a key of everything that fixed lengths depend on. `None`: do not keep them."""
    try:
        files = [ContentKey.of_file(file.path) for file in records.files]
    except OSError:  # gone meanwhile; whoever reads the records says so
        return None
    size = sum(key.size for key in files)
    layouts = [own_layout(each.profile.answer.format) for each in planners]
    if records.chain.steps or None in layouts or size < saved_index.LEAST_BYTES:
        return None
    parts: dict[str, Any] = {
        "dcap": __version__,
        "files": [(key.size, key.mtime_ns, key.digest.hex()) for key in files],
        "split_policy": records.split_policy,
        "records": [_digest(index.tobytes()) for index in (records.file_index, records.row_index)],
        "sets": [(part.start, part.stop) for part in mixture.parts],
        "planners": [_tree_of(each) for each in planners],
        "layouts": [repr(layout) for layout in layouts],
    }
    return ContentKey(size, 0, hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).digest())


def _tree_of(planner: Planner) -> dict[str, Any]:
    data, prompts, encoder = planner.config, planner.profile.prompts, planner.encoder
    asked = (prompts.dense, prompts.summary)
    return {
        "tokenizer": encoder.tokenizer_digest(),
        # What a chat template does to lengths.
        "prompts": [encoder.num_prompt_tokens(prompts.system, text, _SMALLEST) for text in asked],
        "no answer": encoder.num_answer_tokens(""),
        "profile": to_tree(planner.profile),
        "augmentation": to_tree(planner.pipeline.config),
        "tiles": to_tree(data.tiles),
        "limits": [data.global_max_length, data.overlong, data.on_bad_record],
    }


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
