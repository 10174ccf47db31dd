"""Checks of whole splits of a data set, or of both: leakage, look-alikes, duplicates, prompts, names.

To add a check, write a function from the splits to its results, and name it in `WHOLE_CHECKS`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import product
from typing import Any

from dcap.audit.duplicates import Fingerprints, RecordLooks, alike_images, repeats, same_images
from dcap.audit.sample_checks import Found, Tally, control_ids
from dcap.core.errors import DcapError
from dcap.data.config import Split
from dcap.data.dataset import DenseCaptionDataset
from dcap.data.encode import END, IMAGE_PAD, PAD
from dcap.records.files.source import RecordSource

EXAMPLES_KEPT = 5


@dataclass
class CheckResult:
    """The result of one check."""

    split: str
    """``train``, ``val``, or ``all`` for a check of both."""
    name: str
    about: str
    """The rule, in words."""
    checked: int = 0
    """Number of samples, or other things, that were checked."""
    failed: int = 0
    """Number of failures. One sample may have several."""
    noted: int = 0
    """Number of notes: things that are worth a look but no failure."""
    examples: list[str] = field(default_factory=list)
    """The first failures and notes, each with its place."""
    counts: dict[str, int] = field(default_factory=dict)
    """What the check counted, by name; the most frequent first."""

    @property
    def status(self) -> str:
        """``fail``, ``note``, ``pass``, or ``-`` where there was nothing to check."""
        return "fail" if self.failed else "note" if self.noted else "pass" if self.checked else "-"

    def add(self, where: str, met: Iterable[Found | Tally], count: int = 1) -> None:
        """Count `count` checked things and their findings."""
        found = []
        for item in met:
            if isinstance(item, Tally):
                self._count(item.counts)
            else:
                found.append(item)
        self.checked += count
        self.failed += sum(item.fails for item in found)
        self.noted += sum(not item.fails for item in found)
        room = EXAMPLES_KEPT - len(self.examples)
        # Errors of dcap name their record themselves.
        texts = [item.text.removeprefix(f"{where}: ") for item in found[:room]]
        self.examples += [f"{where}: {text}" for text in texts]

    def update(self, later: CheckResult) -> None:
        """Add later findings of the same check."""
        self.checked, self.failed = self.checked + later.checked, self.failed + later.failed
        self.noted += later.noted
        self._count(later.counts)
        self.examples = (self.examples + later.examples)[:EXAMPLES_KEPT]

    def _count(self, more: Mapping[str, int]) -> None:
        self.counts = dict((Counter(self.counts) + Counter(more)).most_common())

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain JSON data."""
        return {"status": self.status, **asdict(self)}


@dataclass
class AuditedSplit:
    """One split with the fingerprints of its records."""

    name: Split
    files: tuple[RecordSource, ...]
    on_bad_record: str
    dataset: DenseCaptionDataset | None
    """`None`: the preprocessors could not run."""
    error: DcapError | None = None
    """Why there is no data set."""
    prints: Fingerprints = field(default_factory=lambda: Fingerprints.concatenate([]))
    """Of all good records, in their order."""
    num_workers: int = 0
    decode: bool = True
    """Whether images are decoded."""
    looks: RecordLooks | None = None
    """How the images of `prints` look. `None`: they are decoded for it when a check asks."""


def about(check: Callable[..., Any]) -> str:
    """Return what must hold for a check: the first line of its docstring."""
    return (check.__doc__ or "").strip().splitlines()[0].rstrip(".").replace("``", "")


def records(splits: Sequence[AuditedSplit]) -> Iterator[CheckResult]:
    """Every line is a record that keeps the contract, and there is at least one."""
    for split in splits:
        result = CheckResult(split.name, "records", about(records))
        yield result
        if split.dataset is None:
            continue
        fails = split.on_bad_record == "error"
        result.add("", [], sum(map(len, split.files)))
        for bad in split.dataset.records.bad:
            result.add(str(bad.origin), [Found(str(problem), fails) for problem in bad.problems], 0)
        if not len(split.dataset):
            result.add(split.name, [Found("must hold at least one record that is used, not none")])


def leakage(splits: Sequence[AuditedSplit]) -> Iterator[CheckResult]:
    """No image of val, by path or by its bytes, is one of train."""
    if len(splits) < 2:
        return
    result = CheckResult("all", "leakage", about(leakage))
    files, prints, num_train = _joined(splits)
    result.add("", [], len(prints) - num_train)
    by_path = {i: first for i, first in repeats(prints.path) if first < num_train <= i}
    by_bytes = {i: first for i, first in same_images(prints, files, splits[0].num_workers) if first < num_train <= i}
    for i, first in sorted({**by_bytes, **by_path}.items()):
        here, there = (files[f].origin(row) for f, row in prints.place[[i, first]].tolist())
        what = "is the image of" if i in by_path else "has the bytes of the image of"
        result.add(str(here), [Found(f"images[0] {what} {there}, a record of train")], 0)
    yield result


def look_alikes(splits: Sequence[AuditedSplit]) -> Iterator[CheckResult]:
    """No image of val looks like one of train; a note."""
    if len(splits) < 2 or splits[0].dataset is None or not splits[0].decode:
        return
    result = CheckResult("all", "look_alikes", about(look_alikes))
    files, prints, num_train = _joined(splits)
    result.add("", [], len(prints) - num_train)
    bound, workers = splits[0].dataset.data.max_image_pixels, splits[0].num_workers
    known = [split.looks for split in splits if split.looks is not None]
    of_all = len(known) == len(splits)
    looks = RecordLooks.concatenate(known) if of_all else RecordLooks.of(prints, files, bound, workers)
    for i, first in alike_images(prints, looks):
        if first < num_train <= i:
            here, there = (files[f].origin(row) for f, row in prints.place[[i, first]].tolist())
            result.add(str(here), [Found(f"images[0] looks like the image of {there}, a record of train", False)], 0)
    yield result


def _joined(splits: Sequence[AuditedSplit]) -> tuple[list[RecordSource], Fingerprints, int]:
    """Return the files and records of all splits as one, and how many of the records are the first split's."""
    files = [file for split in splits for file in split.files]
    num_train, num_files = len(splits[0].prints), len(splits[0].files)
    prints = Fingerprints.concatenate([split.prints for split in splits])
    prints.place[num_train:, 0] += num_files
    return files, prints, num_train


def duplicates(splits: Sequence[AuditedSplit]) -> Iterator[CheckResult]:
    """No two records are equal; a note."""
    for split in splits:
        result, prints = CheckResult(split.name, "duplicates", about(duplicates)), split.prints
        result.add("", [], len(prints))
        for i, first in repeats(prints.record):
            here, there = (split.files[f].origin(row) for f, row in prints.place[[i, first]].tolist())
            result.add(str(here), [Found(f"is the same line as {there}", fails=False)], 0)
        yield result


def sample_ids(splits: Sequence[AuditedSplit]) -> Iterator[CheckResult]:
    """Each file name is there once, so that a file name and a line are one sample; a note."""
    for split in splits:
        result = CheckResult(split.name, "sample_ids", about(sample_ids))
        result.add("", [], len(split.files))
        firsts: dict[str, RecordSource] = {}
        for file in split.files:
            first = firsts.setdefault(file.path.name, file)
            if first is not file:
                result.add(str(file.path), [Found(f"has the name of {first.path}", fails=False)], 0)
        yield result


def prompts(splits: Sequence[AuditedSplit]) -> Iterator[CheckResult]:
    """No prompt holds a control token of the tokenizer."""
    for split in _made(splits)[:1]:
        result = CheckResult("all", "prompts", about(prompts))
        tokenizer, control = split.planners[0].encoder.tokenizer, control_ids(split)
        for planner, name in product(split.planners, ("system", "dense", "summary")):
            text = getattr(planner.profile.prompts, name)
            ids = [] if text is None else tokenizer(text, add_special_tokens=False)["input_ids"]
            wrong = control.intersection(ids)
            token = f"prompt {name} must hold no control token, not {len(wrong)} of them"
            result.add(planner.entry.name, [Found(token)] if wrong else [])
        yield result


def token_ids(splits: Sequence[AuditedSplit]) -> Iterator[CheckResult]:
    """Each control token that samples need is one token, different from the others."""
    for split in _made(splits)[:1]:
        result = CheckResult("all", "token_ids", about(token_ids))
        names = (IMAGE_PAD, END, "<|im_start|>", "<|vision_start|>", "<|vision_end|>", PAD)
        tokenizer, seen = split.planners[0].encoder.tokenizer, dict[int, str]()
        for name in names:
            ids = tokenizer(name, add_special_tokens=False)["input_ids"]
            found = [] if len(ids) == 1 else [Found(f"{name} must be one token, not {len(ids)}")]
            if len(ids) == 1 and seen.setdefault(ids[0], name) != name:
                found = [Found(f"{name} must be a token of its own, not that of {seen[ids[0]]}")]
            result.add("tokenizer", found)
        yield result


WHOLE_CHECKS: tuple[Callable[[Sequence[AuditedSplit]], Iterator[CheckResult]], ...] = (
    records, leakage, look_alikes, duplicates, sample_ids, prompts, token_ids,
)  # fmt: skip
"""Checks over whole splits, after those of single samples."""


def _made(splits: Sequence[AuditedSplit]) -> list[DenseCaptionDataset]:
    return [split.dataset for split in splits if split.dataset is not None]
