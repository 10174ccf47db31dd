"""The audit of a data set: every check of the contract over all samples of an epoch, for ``dcap audit``.

Owns the loop over all samples. `dcap.audit.sample_checks` has the checks of one sample, `dcap.audit.split_checks` those
of whole splits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain

import numpy as np

from dcap.audit.duplicates import Fingerprints, RecordLooks
from dcap.audit.sample_checks import RECORD_CHECKS, SAMPLE_CHECKS, AuditedSample, Found
from dcap.audit.split_checks import WHOLE_CHECKS, AuditedSplit, CheckResult, about
from dcap.augment.config import AugmentConfig
from dcap.core.errors import DcapError, PluginError, RecordError
from dcap.core.log import get_logger
from dcap.core.parallel import map_in_order
from dcap.core.random import generator
from dcap.data.config import DataConfig, Split
from dcap.data.dataset import DenseCaptionDataset
from dcap.data.encode import Tokenizer
from dcap.data.mixture import EpochSamples
from dcap.records.files.opening import expand_sources, open_source

log = get_logger(__name__)

OnChecked = Callable[[str, int, int], None]
"""Called with the split, the number of samples checked and their total."""

SPLITS: tuple[Split, ...] = ("train", "val")
_SAMPLES_OF_A_RUN = 16
_DRAW_PURPOSE = 9


@dataclass(frozen=True, slots=True)
class AuditOptions:
    """Options of an audit."""

    encode: int | None = 256
    """Number of samples of each split to tokenise, drawn by the seed of the run. `None`: all."""
    decode: bool = True
    """Whether every image is decoded. False: only headers are read."""
    epoch: int = 0
    """Which epoch is planned."""
    num_workers: int = 0
    """Processes that share the work. The result does not depend on it."""


@dataclass(frozen=True, slots=True)
class AuditPiece:
    """What the checks of single samples have found in a run of them."""

    split: int
    """Which split."""
    results: list[CheckResult]
    prints: Fingerprints
    looks: RecordLooks | None
    """How the images look, where a shard keeps the piece: whoever merges it decodes none."""


@dataclass(frozen=True)
class Audit:
    """An audit of the splits of a data set: its runs of samples, which machines may share, and its results."""

    splits: tuple[AuditedSplit, ...]
    samples: tuple[EpochSamples | None, ...]
    """Those of each split. `None`: it cannot be read."""
    options: AuditOptions

    @classmethod
    def open(
        cls,
        data: DataConfig,
        tokenizer: Tokenizer | str,
        options: AuditOptions,
        *,
        augmentation: AugmentConfig | None = None,
        seed: int = 0,
        eval_limit: int | None = None,
    ) -> Audit:
        """Open the splits that a config names; arguments and errors are those of `audit`."""
        data, splits = data.with_images(), []
        for name in SPLITS:
            if data.has(name):
                limit = None if name == "train" else eval_limit
                splits.append(_open(data, name, options, partial(_dataset, tokenizer, augmentation, seed, limit)))
        samples = [None if each.dataset is None else _samples(each.dataset, options.epoch) for each in splits]
        return cls(tuple(splits), tuple(samples), options)

    @property
    def runs(self) -> list[tuple[int, range]]:
        """Split and samples of each run, in order."""
        return [
            (k, range(i, min(i + _SAMPLES_OF_A_RUN, len(samples))))
            for k, samples in enumerate(self.samples)
            if samples is not None
            for i in range(0, len(samples), _SAMPLES_OF_A_RUN)
        ]

    def pieces(
        self, runs: Sequence[tuple[int, range]], on_checked: OnChecked | None = None, *, keeps_looks: bool = False
    ) -> Iterator[AuditPiece]:
        """Yield what there is in each of some runs, in order.

        Args:
            runs: Some of `runs`, in their order.
            on_checked: As in `audit`.
            keeps_looks: Whether the looks of images are found now, for a check of all splits later.

        Raises:
            WorkerError: A worker process died.
        """
        keeps_looks = keeps_looks and self.options.decode and len(self.splits) == len(SPLITS)
        for k, (split, samples) in enumerate(zip(self.splits, self.samples, strict=True)):
            mine = [run for number, run in runs if number == k]
            if samples is None or split.dataset is None or not mine:
                continue
            done, total = 0, sum(map(len, mine))
            look = partial(_look, split, self.options, samples, _drawn(split.dataset, self.options, len(samples)))
            with closing(map_in_order(partial(look, keeps_looks), mine, self.options.num_workers)) as made:
                for run, (results, prints, looks) in zip(mine, made, strict=True):
                    done += len(run)
                    if on_checked is not None:
                        on_checked(split.name, done, total)
                    yield AuditPiece(k, results, prints, looks)

    def results(self, pieces: Iterable[AuditPiece]) -> list[CheckResult]:
        """Return the results of all checks.

        Args:
            pieces: Of all runs, in order.

        Raises:
            WorkerError: A worker process died.
        """
        of_samples = [_fresh(split.name) for split in self.splits]
        prints: list[list[Fingerprints]] = [[] for _ in self.splits]
        looks: list[list[RecordLooks]] = [[] for _ in self.splits]
        for piece in pieces:
            for mine, its in zip(of_samples[piece.split], piece.results, strict=True):
                mine.update(its)
            prints[piece.split].append(piece.prints)
            looks[piece.split] += [] if piece.looks is None else [piece.looks]
        for k, split in enumerate(self.splits):
            split.prints = Fingerprints.concatenate(prints[k])
            split.looks = RecordLooks.concatenate(looks[k]) if len(looks[k]) == len(prints[k]) and prints[k] else None
            if split.dataset is None:
                of_samples[k][0].add(split.name, [Found(str(split.error))])
        return [*chain.from_iterable(of_samples), *chain.from_iterable(check(self.splits) for check in WHOLE_CHECKS)]


def audit(
    data: DataConfig,
    tokenizer: Tokenizer | str,
    options: AuditOptions | None = None,
    on_checked: OnChecked | None = None,
    *,
    augmentation: AugmentConfig | None = None,
    seed: int = 0,
    eval_limit: int | None = None,
) -> list[CheckResult]:
    """Run every check over the splits that a config names. Conversations have no image, and are left out.

    Args:
        data: A run's ``data:`` section.
        tokenizer: The model's.
        options: Options of the audit.
        on_checked: Called with the split, the number of samples checked and their total.
        augmentation: A run's ``augmentation:`` section; `None`: no augmentation.
        seed: A run's seed.
        eval_limit: A run's ``training.eval_limit``; `None`: all validation records.

    Raises:
        RecordError: A file cannot be read at all.
        ConfigError: Something in the config does not fit.
        WorkerError: A worker process died.
    """
    options = options or AuditOptions()
    work = Audit.open(data, tokenizer, options, augmentation=augmentation, seed=seed, eval_limit=eval_limit)
    return work.results(work.pieces(work.runs, on_checked))


def _dataset(
    tokenizer: Tokenizer | str,
    augmentation: AugmentConfig | None,
    seed: int,
    limit: int | None,
    data: DataConfig,
    name: Split,
) -> DenseCaptionDataset:
    dataset = DenseCaptionDataset(data, name, tokenizer, augmentation=augmentation, seed=seed, limit=limit)
    log.info("%s: %s", name, dataset.records.summary())
    return dataset


def _open(
    data: DataConfig, name: Split, options: AuditOptions, made: Callable[[DataConfig, Split], DenseCaptionDataset]
) -> AuditedSplit:
    files = tuple(open_source(file) for entry in data.entries(name) for file in expand_sources(entry.files(name)))
    policy = data.on_bad_record
    changed = replace(data, on_bad_record="skip", check_images=False, num_workers=options.num_workers)
    try:
        dataset = made(changed, name)
    except (RecordError, PluginError) as error:
        # The files can be read and bad records are skipped: it was a preprocessor.
        return AuditedSplit(name, files, policy, None, error)
    return AuditedSplit(name, files, policy, dataset, num_workers=options.num_workers, decode=options.decode)


def _fresh(split: str) -> list[CheckResult]:
    return [CheckResult(split, check.__name__, about(check)) for check in SAMPLE_CHECKS]


def _samples(dataset: DenseCaptionDataset, epoch: int) -> EpochSamples:
    """Return one sample of every record, even if this epoch of a mixture leaves it out, and then the repeats."""
    every, taken = EpochSamples.of_all(len(dataset)), dataset.samples(epoch)
    again = taken.draw > 0
    return EpochSamples(np.append(every.index, taken.index[again]), np.append(every.draw, taken.draw[again]))


def _drawn(dataset: DenseCaptionDataset, options: AuditOptions, total: int) -> frozenset[int]:
    count = options.encode
    if count is None or count >= total:
        return frozenset(range(total))
    rng = generator(dataset.seed, options.epoch, _DRAW_PURPOSE)
    return frozenset(rng.choice(total, count, replace=False).tolist())


def _look(
    split: AuditedSplit,
    options: AuditOptions,
    samples: EpochSamples,
    drawn: frozenset[int],
    keeps_looks: bool,
    run: range,
) -> tuple[list[CheckResult], Fingerprints, RecordLooks | None]:
    """Run all checks of single samples over some of them."""
    dataset, results, rows = split.dataset, _fresh(split.name), []
    assert dataset is not None
    for place in run:
        index, draw = int(samples.index[place]), int(samples.draw[place])
        sample = AuditedSample(
            dataset, index, options.epoch, draw=draw,
            skips=split.on_bad_record == "skip", decode=options.decode, encode=place in drawn,
        )  # fmt: skip
        records = dataset.records
        file, row = int(records.file_index[index]), int(records.row_index[index])
        where = str(records.files[file].origin(row))
        again = draw > 0 or records.tile_of(index) > 0
        for check, result in zip(SAMPLE_CHECKS, results, strict=True):
            if again and check in RECORD_CHECKS:
                continue
            try:
                found = check(sample)
            except DcapError as error:
                found = [Found(str(error))]
            if found is not None:
                result.add(where, found)
        if not again:
            rows.append((file, row, records.files[file].line(row), records.files[file][row]))
    prints = Fingerprints.of(rows, with_images=True)
    looks = RecordLooks.of(prints, split.files, dataset.data.max_image_pixels) if keeps_looks else None
    return results, prints, looks
