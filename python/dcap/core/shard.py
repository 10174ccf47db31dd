"""Shards: the parts into which machines divide one piece of work, and the folders that keep them.

Owns the bounds of shards, their places, and the check that they make a whole. A shard keeps the pieces of its work. The
code that makes one output of the pieces of a whole run does the same with those of all shards, so both give the same
bytes::

    pred.jsonl                        what a whole run writes, and what dcap merge writes
    pred.jsonl.shards/0-of-2/pieces   pieces.meta.json beside it says what they were made with
                             shard.json                         written last: the shard is whole
    pred.jsonl.shards/1-of-2/pieces
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shlex
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from dcap import __version__
from dcap.core.config import build, differing
from dcap.core.errors import CheckpointError, ConfigError
from dcap.core.line_log import LineLog
from dcap.core.lock import owned
from dcap.core.log import get_logger
from dcap.core.manifest import SHARD_MARKER, check_digests, read_marker, write_marker
from dcap.core.progress import progress_of
from dcap.core.words import counted, show

log = get_logger(__name__)

MOST_SHARDS = 100_000
_FLUSH_EVERY_S = 1.0
_MOST_ITEMS = 1 << 62
_SHOWN = 5
"""Missing shards whose commands a message gives."""


@dataclass(frozen=True, slots=True)
class Shard:
    """One of the contiguous parts of some work.

    ::

        7 items, 3 shards     0/3: items 0, 1     1/3: items 2, 3     2/3: items 4, 5, 6

    Raises:
        ConfigError: There is no such shard.
    """

    index: int
    """Which one, from 0."""
    count: int
    """Number of shards."""

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.count <= MOST_SHARDS:
            raise ConfigError(
                f"--shard must be I/N with I from 0 to N - 1, and N at most {MOST_SHARDS}, not {self}. The first of "
                "four shards is 0/4."
            )

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Return the shard that a text such as ``0/4`` names.

        Raises:
            ConfigError: It names none.
        """
        found = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text, re.ASCII)
        if found is None:
            raise ConfigError(f"--shard must be I/N, such as 0/4 for the first of four shards, not {show(text)}")
        return cls(int(found[1]), int(found[2]))

    def of(self, total: int, unit: int = 1) -> range:
        """Return the items of this shard. Those of all shards, in their order, are all items once.

        Args:
            total: Number of items.
            unit: Shards begin at multiples of this.
        """
        units = -(-total // unit)
        start, stop = (units * k // self.count * unit for k in (self.index, self.index + 1))
        return range(min(start, total), min(stop, total))

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"


@dataclass(frozen=True, slots=True)
class ShardFolder:
    """The place of one shard of an output, and how the shard comes to be there."""

    out: Path
    """What the shards are merged into."""
    shard: Shard
    command: tuple[str, ...]
    """The words that make the shard, after ``dcap``."""
    option: str = "--out"
    """Option that names `out`."""

    @property
    def path(self) -> Path:
        """The folder."""
        return shards_of(self.out) / f"{self.shard.index}-of-{self.shard.count}"

    @property
    def pieces(self) -> Path:
        """The pieces of the work, one a line."""
        return self.path / "pieces"

    def is_whole(self, made_with: Mapping[str, Any]) -> bool:
        """Return whether nothing is left to do.

        Args:
            made_with: Plain data that the shard depends on, without the part of the work that it is.

        Raises:
            CheckpointError: The shard is whole, and was made with something else; or it is damaged.
        """
        if not os.path.lexists(self.path / SHARD_MARKER):
            return False
        try:
            read_marker(self.path, SHARD_MARKER)
            before = _read(self.path).made_with
        except CheckpointError as error:
            raise CheckpointError(f"{_sentence(error)} Give --overwrite to make the shard anew.") from None
        changes = list(differing(before, _plain(_versioned(made_with))))
        if changes:
            names = ", ".join(name for name, *_ in changes)
            texts = "; ".join(f"{name} was {show(a)} and is {show(b)}" for name, a, b in changes)
            raise CheckpointError(
                f"{self.path} must be a shard made with the same {names}, but {texts}. Give another {self.option}, or "
                "--overwrite to make the shard anew."
            )
        log.info("shard %s of %s is whole", self.shard, self.out)
        return True

    def begin(self) -> None:
        """Take the marker away, so that nobody takes a shard that is being made for a whole one.

        The caller holds the lock on the pieces.

        Raises:
            CheckpointError: The marker is a folder.
        """
        marker = self.path / SHARD_MARKER
        if marker.is_dir() and not marker.is_symlink():
            raise CheckpointError(f"{marker} must be a file, not a folder. Delete it")
        marker.unlink(missing_ok=True)

    def finish(self, made_with: Mapping[str, Any], span: range, total: int) -> None:
        """Write the marker: all pieces are there. The caller holds the lock on them.

        Args:
            made_with: As in `is_whole`.
            span: Which part of the work the shard is.
            total: The whole work.

        Raises:
            OutputError: The disk does not allow it.
        """
        with self.pieces.open("rb") as file:
            num_pieces = sum(1 for _ in file)
        meta = {
            "shard": str(self.shard), "start": span.start, "stop": span.stop, "total": total, "pieces": num_pieces,
            "command": list(self.command), "made_with": _versioned(made_with),
        }  # fmt: skip
        beside = sorted(path.name for path in self.path.glob(f"{self.pieces.name}.*"))
        write_marker(self.path, SHARD_MARKER, meta, [self.pieces.name, *beside])
        log.info("shard %s of %s is whole. Next: dcap merge %s", self.shard, self.out, self.out)


def shards_of(out: Path) -> Path:
    """Return the folder of the shards of an output.

    Raises:
        ConfigError: It is no file.
    """
    if not out.name:
        raise ConfigError(f"the output of shards must be a file, not {out}")
    return out.with_name(f"{out.name}.shards")


def keep_pieces(
    folder: ShardFolder,
    made_with: Mapping[str, Any],
    span: range,
    total: int,
    make: Callable[[LineLog], Iterable[Any]],
    overwrite: bool,
) -> None:
    """Make the pieces of a shard. Those that an earlier run has made are kept.

    Args:
        folder: Where they are kept.
        made_with: As in `ShardFolder.is_whole`.
        span: Which part of the work the shard is.
        total: The whole work.
        make: Gets the pieces that are kept already, and yields the others in order, as plain data.
        overwrite: Make all of them.

    Raises:
        CheckpointError: The shard was made with something else, or another run makes it.
        OutputError: The disk does not allow it.
    """
    if not overwrite and folder.is_whole(made_with):
        return
    own = {**_versioned(made_with), "part": [span.start, span.stop, total]}
    with LineLog(folder.pieces, own, overwrite, folder.option) as pieces:
        if pieces.kept:
            log.info("shard %s is continued after %s", folder.shard, counted(pieces.kept, "piece"))
        folder.begin()
        pieces.begin()
        flushed = time.monotonic()
        for piece in make(pieces):
            is_due = time.monotonic() - flushed >= _FLUSH_EVERY_S
            pieces.write(json.dumps(piece).encode() + b"\n", durable=is_due)
            flushed = time.monotonic() if is_due else flushed
        pieces.write(b"")
        folder.finish(made_with, span, total)


@dataclass(frozen=True, slots=True)
class WholeShard:
    """A shard that is whole, as its marker describes it."""

    folder: Path
    shard: Shard
    span: range
    """Which part of the work it is."""
    total: int
    """The whole work."""
    num_pieces: int
    command: tuple[str, ...]
    """The words that made it, after ``dcap``."""
    made_with: Mapping[str, Any]
    """What it depends on."""
    stamp: tuple[int, ...]
    """By which its marker is known again."""

    @property
    def marker(self) -> Path:
        """The file that says all this."""
        return self.folder / SHARD_MARKER

    @property
    def pieces(self) -> Path:
        """The pieces of the work, one a line."""
        return self.folder / "pieces"

    def command_of(self, index: int, anew: bool = False) -> str:
        """Return the command that makes a shard of the same work; with `anew`, even if it is there already."""
        words = list(self.command)
        wanted = f"{index}/{self.shard.count}"
        for k, word in enumerate(words):
            if word.startswith("--shard="):
                words[k] = f"--shard={wanted}"
            elif k and words[k - 1] == "--shard":
                words[k] = wanted
        if anew and "--overwrite" not in words:
            words.append("--overwrite")
        return shlex.join(["dcap", *words])


@contextmanager
def merging(out: Path) -> Iterator[list[WholeShard]]:
    """Yield all shards of an output in their order, and own them until the block ends: one merge at a time.

    Args:
        out: What they are merged into.

    Raises:
        ConfigError: As `whole_shards`.
        CheckpointError: As `whole_shards`; or another merge is not done.
        OSError: The folder of the shards cannot be written to.
    """
    with owned(_place_of(out), "Wait for the other dcap merge to end, then start again if need be."):
        yield whole_shards(out)


def whole_shards(out: Path) -> list[WholeShard]:
    """Return all shards of an output in their order.

    Args:
        out: What they are merged into.

    Raises:
        ConfigError: One is missing, there are two of one, or two were made with different settings, versions or inputs.
        CheckpointError: One is damaged.
    """
    place = _place_of(out)
    found, damaged = list[WholeShard](), dict[Path, CheckpointError]()
    for path in sorted(place.iterdir()):
        if os.path.lexists(path / SHARD_MARKER):
            try:
                found.append(_read(path))
            except CheckpointError as error:
                damaged[path] = error
    for path, said in damaged.items():
        raise CheckpointError(f"{_sentence(said)} {_anew(path, found)}") from None
    found.sort(key=lambda each: each.shard.index)
    if not found:
        raise ConfigError(f"{out} must have shards that are whole, and {place} has none. Start their commands again")
    for before, after in pairwise(found):
        _check_pair(before, after)
    _check_gaps(out, found)
    for each in found:
        try:
            check_digests(each.folder, SHARD_MARKER)
        except CheckpointError as error:
            raise CheckpointError(f"{_sentence(error)} {_remade(each)}") from None
    return found


def _place_of(out: Path) -> Path:
    """Return the folder of the shards of an output, which must be there."""
    place = shards_of(out)
    if not place.is_dir():
        raise ConfigError(
            f"{out} must have shards beside it, in the folder {place}, and there is none. Name the --out, or --report, "
            "that the commands with --shard were given"
        )
    return place


def check_same(shards: Sequence[WholeShard], made_with: Mapping[str, Any]) -> None:
    """Check that what shards depend on is still as it was.

    Args:
        shards: Result of `whole_shards`.
        made_with: As in `ShardFolder.is_whole`.

    Raises:
        ConfigError: Something has changed.
    """
    changes = list(differing(shards[0].made_with, _plain(_versioned(made_with))))
    if changes:
        names = ", ".join(name for name, *_ in changes)
        texts = "; ".join(f"{name} was {show(a)} and is {show(b)}" for name, a, b in changes)
        command = shards[0].command_of(shards[0].shard.index, anew=True)
        raise ConfigError(
            f"{shards[0].marker} must have been made with the same {names} as there is now, but {texts}. Bring back "
            f"what has changed, or make each part anew, such as {command}"
        )


def pieces_of(shards: Sequence[WholeShard]) -> Iterator[Any]:
    """Yield the pieces of shards in order, as plain data, with a progress bar. One is in memory at a time.

    Raises:
        CheckpointError: A line is damaged, or a shard is being made anew.
    """
    lines = ((each, line) for each in shards for line in _lines(each))
    for shard, line in progress_of(lines, sum(each.num_pieces for each in shards), "merge"):
        try:
            yield json.loads(line)
        except (ValueError, RecursionError):
            raise CheckpointError(
                f"a line of {shard.pieces} must be JSON, and one is damaged. {_remade(shard)}"
            ) from None


def lines_of(shards: Sequence[WholeShard]) -> Iterator[bytes]:
    """As `pieces_of`, but as they are written, with their line ends."""
    lines = (line for each in shards for line in _lines(each))
    return progress_of(lines, sum(each.num_pieces for each in shards), "merge")


def _lines(shard: WholeShard) -> Iterator[bytes]:
    """Yield the lines of a shard, which nobody can make anew meanwhile."""
    with shard.pieces.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            is_same = _stamp(shard.marker) == shard.stamp
        except (BlockingIOError, FileNotFoundError):
            is_same = False
        if not is_same:
            raise CheckpointError(
                f"{shard.folder} must stay as it is while it is merged, and another run makes it anew. Wait for that "
                "to end, and start dcap merge again"
            )
        yield from file


@dataclass(frozen=True, slots=True)
class _Marker:
    """What a marker says, as it is in the file."""

    shard: str
    start: int
    stop: int
    total: int
    pieces: int
    command: tuple[str, ...]
    made_with: dict[str, Any]

    def __post_init__(self) -> None:
        Shard.parse(self.shard)
        if not 0 <= self.start <= self.stop <= self.total <= _MOST_ITEMS:
            raise ConfigError(f"start, stop and total must rise from 0 to at most {_MOST_ITEMS}, not "
                              f"{show([self.start, self.stop, self.total])}")  # fmt: skip
        if not 0 <= self.pieces <= _MOST_ITEMS:
            raise ConfigError(f"pieces must be from 0 to {_MOST_ITEMS}, not {show(self.pieces)}")


def _read(folder: Path) -> WholeShard:
    path = folder / SHARD_MARKER
    try:
        stamp = _stamp(path)
    except OSError as error:
        raise CheckpointError(f"{path} must be a readable file: {error.strerror}") from None
    # A damaged shard still tells the command that makes it, so its files are compared later.
    tree = read_marker(folder, SHARD_MARKER, sizes=False)
    try:
        meta = build(_Marker, tree)
    except (ConfigError, RecursionError) as error:
        said = "it is nested too deeply" if isinstance(error, RecursionError) else error
        raise CheckpointError(f"{path} must describe a shard: {said}") from None
    span = range(meta.start, meta.stop)
    shard = Shard.parse(meta.shard)
    return WholeShard(folder, shard, span, meta.total, meta.pieces, meta.command, meta.made_with, stamp)


def _stamp(path: Path) -> tuple[int, ...]:
    stat = path.stat()
    return stat.st_ino, stat.st_mtime_ns, stat.st_size


def _sentence(error: CheckpointError) -> str:
    return f"{str(error).rstrip('.')}."


def _remade(shard: WholeShard) -> str:
    """Return how a damaged shard is made anew."""
    return f"Make the part anew:\n  {shard.command_of(shard.shard.index, anew=True)}"


def _anew(folder: Path, others: Sequence[WholeShard]) -> str:
    """Return how a shard that does not tell its command is made anew: by that of another, but for the number."""
    named = re.fullmatch(r"(\d{1,9})-of-(\d{1,9})", folder.name, re.ASCII)
    if named is None:
        return "Delete the folder: no shard has this name"
    index, count = map(int, named.groups())
    for other in others:
        if other.shard.count == count and index < count:
            return f"Make the part anew:\n  {other.command_of(index, anew=True)}"
    return f"Make the part anew: start its command again, with --shard {index}/{count} --overwrite"


def _check_pair(a: WholeShard, b: WholeShard) -> None:
    """Check that two neighbours are of one work, and not the same part of it."""
    both = f"{a.marker} and {b.marker} must"
    if a.shard.count != b.shard.count:
        raise ConfigError(f"{both} be of one division, not {a.shard} and {b.shard}. Delete those of the other division")
    changes = list(differing(a.made_with, b.made_with))
    if changes:
        names = ", ".join(name for name, *_ in changes)
        texts = "; ".join(f"{name} is {show(x)} in the first and {show(y)} in the second" for name, x, y in changes)
        raise ConfigError(f"{both} be made with the same {names}: {texts}. Make one of them anew, such as "
                          f"{b.command_of(b.shard.index, anew=True)}")  # fmt: skip
    if a.shard == b.shard:
        raise ConfigError(f"{both} be different shards, and both are {a.shard}. Delete one of them")


def _check_gaps(out: Path, found: Sequence[WholeShard]) -> None:
    first = found[0]
    there = {each.shard.index for each in found}
    missing = [k for k in range(first.shard.count) if k not in there]
    if missing:
        shown = "".join(f"\n  {first.command_of(k)}" for k in missing[:_SHOWN])
        more = f"\n  and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
        names = ", ".join(f"{k}/{first.shard.count}" for k in missing[:_SHOWN])
        verb = "is" if len(missing) == 1 else "are"
        raise ConfigError(
            f"{out} must have {counted(first.shard.count, 'whole shard')}, and {len(missing)} {verb} missing: {names}. "
            f"Make {'it' if len(missing) == 1 else 'them'}:{shown}{more}"
        )
    stop = 0
    for k, each in enumerate(found):
        if each.span.start != stop:
            both = "".join(f"\n  {one.command_of(one.shard.index, anew=True)}" for one in found[max(0, k - 1) : k + 1])
            raise ConfigError(f"{each.marker} must begin at item {stop}, where the shard before ends, not at "
                              f"{each.span.start}. Make these anew:{both}")  # fmt: skip
        stop = each.span.stop
    if stop != first.total:
        raise ConfigError(f"{found[-1].marker} must end at item {first.total}, the last, not at {stop}. "
                          f"{_remade(found[-1])}")  # fmt: skip


def _versioned(made_with: Mapping[str, Any]) -> dict[str, Any]:
    return {"dcap": __version__, **made_with}


def _plain(tree: Any) -> Any:
    """Return plain data as JSON gives it back."""
    return json.loads(json.dumps(tree))
