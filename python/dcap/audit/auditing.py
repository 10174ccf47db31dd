"""The audit of a data set: every check of the contract over all samples of an epoch, for ``dcap audit``.

Owns the loop over all samples. `dcap.audit.sample_checks` has the checks of one sample, `dcap.audit.split_checks` those
of whole splits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from dcap.audit.duplicates import Fingerprints
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


def audit(
    data: DataConfig,
    tokenizer: Tokenizer | str,
    options: AuditOptions | None = None,
    on_checked: Callable[[str, int, int], None] | None = None,
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
    options, told = options or AuditOptions(), on_checked or (lambda *_: None)
    data = data.with_images()
    results, splits = [], []
    for name in ("train", "val"):
        if data.has(name):
            limit = None if name == "train" else eval_limit
            split = _open(data, name, options, partial(_dataset, tokenizer, augmentation, seed, limit))
            results += _sample_results(split, options, told)
            splits.append(split)
    for check in WHOLE_CHECKS:
        results += check(splits)
    return results


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


def _sample_results(
    split: AuditedSplit, options: AuditOptions, told: Callable[[str, int, int], None]
) -> list[CheckResult]:
    results = _fresh(split.name)
    if split.dataset is None:
        results[0].add(split.name, [Found(str(split.error))])
        return results
    samples = _samples(split.dataset, options.epoch)
    total, done, prints = len(samples), 0, []
    runs = [range(i, min(i + _SAMPLES_OF_A_RUN, total)) for i in range(0, total, _SAMPLES_OF_A_RUN)]
    look = partial(_look, split, options, samples, _drawn(split.dataset, options, total))
    for run, (part, fingerprints) in zip(runs, map_in_order(look, runs, options.num_workers), strict=True):
        for mine, its in zip(results, part, strict=True):
            mine.update(its)
        prints.append(fingerprints)
        done += len(run)
        told(split.name, done, total)
    split.prints = Fingerprints.concatenate(prints)
    return results


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
    split: AuditedSplit, options: AuditOptions, samples: EpochSamples, drawn: frozenset[int], run: range
) -> tuple[list[CheckResult], Fingerprints]:
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
    return results, Fingerprints.of(rows, with_images=True)
