"""Lengths that are the same in every epoch: planned once per run, and for large files kept on disk between runs.

Owns when that is so and what such lengths depend on. Their files are laid out as indices are
(`dcap.records.files.saved_index`); whatever is wrong with one, it is made again, and nothing here fails a run.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dcap import __version__
from dcap.answers.formats import ANSWER_FORMATS, JsonFormat
from dcap.core.config import to_tree
from dcap.core.log import get_logger
from dcap.core.words import counted
from dcap.data.lengths import EpochLengths
from dcap.data.packing import SampleSizes
from dcap.geometry.canvas import Canvas
from dcap.records.files import saved_index
from dcap.records.files.saved_index import ContentKey

if TYPE_CHECKING:
    from dcap.data.dataset import DenseCaptionDataset
    from dcap.data.planning import Planner

logger = get_logger(__name__)

SUFFIX = ".dcap-lengths"

_MAGIC = b"dcaplens"
_SMALLEST = Canvas(32, 32)


def are_fixed(dataset: DenseCaptionDataset) -> bool:
    """Whether every epoch takes each record once, and nothing about the samples is drawn."""
    once = dataset.split == "val" or all(part.entry.is_target for part in dataset.mixture.parts)
    return once and not any(map(_draws, dataset.planners))


def _draws(planner: Planner) -> bool:
    augments = bool(planner.pipeline.stages or planner.pipeline.curriculum.phases)
    return augments or planner.config.mode == "mixed" or planner.entry.max_objects is not None


def fixed_sizes(dataset: DenseCaptionDataset) -> SampleSizes:
    """Return the sizes of a data set that has the same in every epoch, and log what was left out.

    They lie beside the first file or, where that folder cannot be written, in the user's cache. Not kept are those of
    small files, those that depend on code of a plugin, and those with more to warn of than that samples are too long;
    what simplification cost is told when they are planned.

    Raises:
        RecordError: As `EpochLengths.all`.
    """
    found, key = EpochLengths(dataset, 0), content_key(dataset)
    saved = None if key is None else _loaded(dataset, key)
    if saved is not None:
        left_out = int((saved.tokens == 0).sum())
        log = logger.warning if left_out else logger.info
        log("%s: lengths as planned before; %s left out, too long", found.name, counted(left_out, "sample"))
        return saved
    sizes = found.all()
    found.report()
    if key is not None and not found.findings.fitted and not found.findings.unplanned:
        arrays = [sizes.tokens, sizes.image_tokens]
        any(saved_index.save_arrays(place, _MAGIC, key, arrays) for place in _places(dataset))
    return sizes


def _loaded(dataset: DenseCaptionDataset, key: ContentKey) -> SampleSizes | None:
    for place in _places(dataset):
        arrays = saved_index.load_arrays(place, _MAGIC, key)
        if arrays is not None and arrays.shape == (2, len(dataset)):
            return SampleSizes(*arrays.astype(np.int64))
    return None


def _places(dataset: DenseCaptionDataset) -> list[Path]:
    return saved_index.places(dataset.records.files[0].path, SUFFIX)


def content_key(dataset: DenseCaptionDataset) -> ContentKey | None:
    """Return what tells apart all that fixed lengths depend on; None where they are not to be kept."""
    records = dataset.records
    try:
        files = [ContentKey.of_file(file.path) for file in records.files]
    except OSError:  # gone meanwhile; whoever reads the records says so
        return None
    size = sum(key.size for key in files)
    layouts = [ANSWER_FORMATS.get(each.profile.answer.format, "data.answer.format") for each in dataset.planners]
    own = all(type(layout) is JsonFormat for layout in layouts)
    if records.chain.steps or not own or size < saved_index.LEAST_BYTES:
        return None
    parts: dict[str, Any] = {
        "dcap": __version__,
        "files": [(key.size, key.mtime_ns, key.digest.hex()) for key in files],
        "records": [_digest(index.tobytes()) for index in (records.file_index, records.row_index)],
        "sets": [(part.start, part.stop) for part in dataset.mixture.parts],
        "planners": [_tree_of(each) for each in dataset.planners],
        "layouts": [dataclasses.asdict(layout) for layout in layouts if isinstance(layout, JsonFormat)],
    }
    return ContentKey(size, 0, hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).digest())


def _tree_of(planner: Planner) -> dict[str, Any]:
    data, prompts, encoder = planner.config, planner.profile.prompts, planner.encoder
    asked = (prompts.dense, prompts.summary)
    return {
        "tokenizer": encoder.tokenizer_digest(),
        # What a chat template does to lengths.
        "prompts": [encoder.num_prompt_tokens(prompts.system, text, _SMALLEST) for text in asked],
        "profile": to_tree(planner.profile),
        "augmentation": to_tree(planner.pipeline.config),
        "limits": [data.global_max_length, data.overlong, data.on_bad_record],
    }


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
