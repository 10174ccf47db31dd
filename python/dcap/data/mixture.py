"""Mixtures: the records that an epoch takes from each data set, and how often.

::

    records    0 1 2 3 4 | 5 6 7 | 8 9      towers (target), streets (ratio 0.4), signs (weight 0.5)
    epoch 0    0 1 2 3 4 | 6 6   | 9        5 targets, 0.4 x 5 drawn anew, the first half of a shuffle
    epoch 1    0 1 2 3 4 | 5 7   | 8        the second half
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dcap.core.log import get_logger
from dcap.core.random import generator
from dcap.data.config import DataConfig, MixtureEntry, Split
from dcap.geometry.clipping import SplitPolicy
from dcap.records.checking import CheckedRecords, ImageRules, check_records
from dcap.records.files.opening import expand_sources
from dcap.records.preprocess import Chain
from dcap.records.subset import limited

log = get_logger(__name__)

_DRAW_PURPOSE = 5


@dataclass(frozen=True, slots=True)
class MixturePart:
    """The records of one data set among those of all.

    Args:
        entry: Its share.
        start: Index of its first record.
        stop: Index behind its last record.
    """

    entry: MixtureEntry
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start

    def indices(self, seed: int, epoch: int, num_targets: int) -> npt.NDArray[np.int64]:
        """Return the records that an epoch takes, int64 (n,), as often as it takes them.

        Args:
            seed: Run seed; with the name of the data set it seeds what is drawn.
            epoch: Epoch, from 0.
            num_targets: Records of all targets together.
        """
        if self.entry.ratio is not None:
            count = round(self.entry.ratio * num_targets) if len(self) else 0
            return self.start + self._rng(seed, epoch).integers(0, max(len(self), 1), count)
        if self.entry.weight is None:
            return np.arange(self.start, self.stop)
        first, last = (int(e * self.entry.weight * len(self)) for e in (epoch, epoch + 1))
        passes = [self._pass(seed, k) for k in range(first // max(len(self), 1), -(-last // max(len(self), 1)))]
        taken = np.concatenate([np.empty(0, np.int64), *passes])
        skipped = first % max(len(self), 1)
        return self.start + taken[skipped : skipped + last - first]

    def _pass(self, seed: int, number: int) -> npt.NDArray[np.int64]:
        """Return all records in the order of pass `number`; epochs take them one after the other."""
        return self._rng(seed, number).permutation(len(self))

    def _rng(self, seed: int, number: int) -> np.random.Generator:
        return generator(seed, number, zlib.crc32(self.entry.name.encode()), _DRAW_PURPOSE)


@dataclass(frozen=True, eq=False, slots=True)
class EpochSamples:
    """The samples of an epoch before they are ordered; a record may be taken several times.

    Args:
        index: int64 (N,): record of each sample.
        draw: int64 (N,): how many samples of the same record come before it, so that each is augmented in its own way.
    """

    index: npt.NDArray[np.int64]
    draw: npt.NDArray[np.int64]

    @classmethod
    def of_all(cls, num_records: int) -> EpochSamples:
        """Return each record once."""
        return cls(np.arange(num_records), np.zeros(num_records, np.int64))

    def __len__(self) -> int:
        return len(self.index)


@dataclass(frozen=True)
class Mixture:
    """The data sets of a split, one after the other.

    Args:
        parts: In the order of the config.
    """

    parts: tuple[MixturePart, ...]

    @classmethod
    def of_counts(cls, entries: Sequence[MixtureEntry], counts: Sequence[int]) -> Mixture:
        """Build from the number of good records of each data set."""
        ends = np.cumsum([0, *counts]).tolist()
        return cls(tuple(MixturePart(*part) for part in zip(entries, ends[:-1], ends[1:], strict=True)))

    def part_of(self, index: int) -> int:
        """Return the position of the data set that record `index` is of."""
        return next(k for k, part in enumerate(self.parts) if index < part.stop)

    @property
    def num_targets(self) -> int:
        """Records of all targets together."""
        return sum(len(part) for part in self.parts if part.entry.is_target)

    def samples(self, seed: int, epoch: int) -> EpochSamples:
        """Return the samples of a training epoch: a pure function of its arguments, data set by data set."""
        taken = [part.indices(seed, epoch, self.num_targets) for part in self.parts]
        index = np.sort(np.concatenate([np.empty(0, np.int64), *taken]))
        first = np.searchsorted(index, index)
        return EpochSamples(index, np.arange(len(index)) - first)


def read_mixture(
    data: DataConfig,
    split: Split,
    split_policy: SplitPolicy = "largest",
    *,
    limit: int | None = None,
    seed: int = 0,
) -> tuple[CheckedRecords, Mixture]:
    """Read the records of all data sets of a split, in order, and return them with the mixture.

    Args:
        data: The data sets.
        split: Which split.
        split_policy: What remains of a shape that the border of its image splits.
        limit: Most records of the split. `None`: all; of ``train``, as `data` says.
        seed: Run seed, which decides about the training records that a limit leaves. The validation records are the
            same for all seeds, so that runs can be compared.

    Raises:
        RecordError: A file cannot be read; or a record is bad and ``data.on_bad_record`` is ``error``.
        WorkerError: A worker process died.
        ConfigError: A name means no file, or a preprocessor does not exist.
    """
    entries = data.entries(split)
    files = [expand_sources(entry.files(split)) for entry in entries]
    rules = ImageRules(data.root, data.max_image_pixels) if data.check_images else None
    chain = Chain.from_config(data.preprocessors)
    num_files = [len(each) for each in files]
    of_file = [entry for entry, count in zip(entries, num_files, strict=True) for _ in range(count)]
    records = check_records(
        [file for each in files for file in each],
        data.on_bad_record,
        rules,
        chain,
        num_workers=data.num_workers,
        split_policy=split_policy,
        tiling=None if data.tiles is None else data.tiles.tiling(),
        text_files=frozenset(f for f, entry in enumerate(of_file) if entry.text),
    )
    counts = records.counts(num_files)
    limits: list[tuple[int, int, int | None]] = []
    if split == "train":
        limits = [(part.start, part.stop, part.entry.limit) for part in Mixture.of_counts(entries, counts).parts]
        limit = data.limit if limit is None else limit
    records = limited(records, [*limits, (0, len(records), limit)], seed if split == "train" else 0)
    mixture = Mixture.of_counts(entries, records.counts(num_files))
    for part in mixture.parts:
        if part.start == part.stop:
            log.warning("the data set %s of %s holds no record", part.entry.name, split)
    return records, mixture
