"""A mixture as one file: the records of an epoch, for other tools or to read as one data set."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dcap.convert.extracted_image import extract_image, images_beside
from dcap.core.errors import ConfigError, RecordError
from dcap.core.files import written_whole
from dcap.core.progress import progress
from dcap.core.random import generator
from dcap.data.mixture import Mixture
from dcap.records.checking import CheckedRecords
from dcap.records.record import Record, image_path, to_dict

_ORDER_PURPOSE = 6


@dataclass(frozen=True, slots=True)
class Share:
    """The records that an epoch takes from one data set."""

    name: str
    """Name of the data set."""
    rule: str
    """``target``, ``ratio 0.5`` or ``weight 2``."""
    records: int
    """Its good records."""
    samples: int
    """Samples that the epoch takes of them."""
    distinct: int
    """Number of different records among those samples."""


def shares(mixture: Mixture, seed: int, epoch: int) -> list[Share]:
    """Return what an epoch takes of each data set."""
    out = []
    for part in mixture.parts:
        taken = part.indices(seed, epoch, mixture.num_targets)
        out.append(Share(part.entry.name, part.entry.rule, len(part), len(taken), len(np.unique(taken))))
    return out


def write_epoch(
    records: CheckedRecords, mixture: Mixture, seed: int, epoch: int, out: Path, root: str | None = None
) -> int:
    """Write the records of an epoch as JSONL, shuffled, whole or not at all, and return how many there are.

    Each gets the name of its data set as ``metadata.dataset``. Image paths below the new file's folder are relative to
    it; others are absolute. Images inside a file of records are written beside the new file.

    Args:
        records: Good records of all data sets.
        mixture: The data set of each record.
        seed: Run seed.
        epoch: Epoch, from 0.
        out: The new file; one that is there is replaced.
        root: Folder that image paths must stay in.

    Raises:
        RecordError: A file has changed since it was read, or an image path leaves `root` or is no Unicode text.
        ImageError: An image inside a file of records is none.
        OutputError: The folder or the disk does not allow it.
        ConfigError: The images are cut into tiles, or a data set holds conversations.
    """
    if records.tiling is not None:
        raise ConfigError("data.tiles must be null where an epoch is written as records: a record is a whole image")
    if records.text_files:
        raise ConfigError("data.mixture must have no data set with text: true where an epoch is written as one file")
    samples = mixture.samples(seed, epoch)
    order = generator(seed, epoch, _ORDER_PURPOSE).permutation(samples.index).tolist()
    with written_whole(out) as file:
        for index in progress(order, "Writing records"):
            name = mixture.parts[mixture.part_of(index)].entry.name
            record = records[index]
            try:
                line = json.dumps(_moved(record, name, out, root), ensure_ascii=False).encode()
            except UnicodeEncodeError:  # a folder's name that is no UTF-8
                raise RecordError(f"{record.origin}: path of the image must be Unicode text to be written") from None
            file.write(line + b"\n")
    return len(order)


def _moved(record: Record, name: str, out: Path, root: str | None) -> dict[str, Any]:
    if record.embedded is None:
        image = image_path(record, root).resolve()
    else:
        image = extract_image(record.embedded, record.image, images_beside(out))
    below = out.parent.resolve()
    path = image.relative_to(below) if image.is_relative_to(below) else image
    tree = to_dict(record)
    return {**tree, "images": [path.as_posix()], "metadata": {**tree.get("metadata", {}), "dataset": name}}
