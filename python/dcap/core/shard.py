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

import json
import re
import shlex
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from dcap import __version__
from dcap.core.config import differing
from dcap.core.errors import CheckpointError, ConfigError
from dcap.core.line_log import LineLog
from dcap.core.log import get_logger
from dcap.core.manifest import SHARD_MARKER, check_digests, read_marker, write_marker
from dcap.core.progress import progress_of
from dcap.core.words import counted, show

log = get_logger(__name__)

MOST_SHARDS = 100_000
_FLUSH_EVERY_S = 1.0
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

    def is_whole(self, made_with: Mapping[str, Any], overwrite: bool) -> bool:
        """Return whether nothing is left to do. With `overwrite`, a whole shard is one no more.

        Args:
            made_with: Plain data that the shard depends on, without the part of the work that it is.
            overwrite: Make it anew.

        Raises:
            CheckpointError: The shard is whole, and was made with something else; or it is damaged.
        """
        marker = self.path / SHARD_MARKER
        if overwrite:
            marker.unlink(missing_ok=True)
        if not marker.is_file():
            return False
        before = read_marker(self.path, SHARD_MARKER).get("made_with")
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

    def finish(self, made_with: Mapping[str, Any], span: range, total: int) -> None:
        """Write the marker: all pieces are there.

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
    if folder.is_whole(made_with, overwrite):
        return
    own = {**_versioned(made_with), "part": [span.start, span.stop, total]}
    with LineLog(folder.pieces, own, overwrite, folder.option) as pieces:
        if pieces.kept:
            log.info("shard %s is continued after %s", folder.shard, counted(pieces.kept, "piece"))
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

    @property
    def marker(self) -> Path:
        """The file that says all this."""
        return self.folder / SHARD_MARKER

    @property
    def pieces(self) -> Path:
        """The pieces of the work, one a line."""
        return self.folder / "pieces"

    def command_of(self, index: int) -> str:
        """Return the command that makes another shard of the same work."""
        words = list(self.command)
        wanted = f"{index}/{self.shard.count}"
        for k, word in enumerate(words):
            if word.startswith("--shard="):
                words[k] = f"--shard={wanted}"
            elif k and words[k - 1] == "--shard":
                words[k] = wanted
        return shlex.join(["dcap", *words])


def whole_shards(out: Path) -> list[WholeShard]:
    """Return all shards of an output in their order.

    Args:
        out: What they are merged into.

    Raises:
        ConfigError: One is missing, there are two of one, or two were made with different settings, versions or inputs.
        CheckpointError: One is damaged.
    """
    place = shards_of(out)
    if not place.is_dir():
        raise ConfigError(
            f"{out} must have shards beside it, in the folder {place}, and there is none. Name the --out, or --report, "
            "that the commands with --shard were given"
        )
    found = [_read(path) for path in sorted(place.iterdir()) if (path / SHARD_MARKER).is_file()]
    found.sort(key=lambda each: each.shard.index)
    if not found:
        raise ConfigError(f"{out} must have shards that are whole, and {place} has none. Start their commands again")
    for before, after in pairwise(found):
        _check_pair(before, after)
    _check_gaps(out, found)
    for each in found:
        check_digests(each.folder, SHARD_MARKER)
    return found


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
        raise ConfigError(f"{shards[0].marker} must have been made with the same {names} as there is now, but {texts}")


def pieces_of(shards: Sequence[WholeShard]) -> Iterator[Any]:
    """Yield the pieces of shards in order, as plain data, with a progress bar. One is in memory at a time.

    Raises:
        CheckpointError: A line is damaged.
    """
    lines = ((each, line) for each in shards for line in _lines(each.pieces))
    for shard, line in progress_of(lines, sum(each.num_pieces for each in shards), "merge"):
        try:
            yield json.loads(line)
        except ValueError:
            raise CheckpointError(
                f"a line of {shard.pieces} must be JSON, and one is damaged. Make the part anew:\n"
                f"  {shard.command_of(shard.shard.index)} --overwrite"
            ) from None


def lines_of(shards: Sequence[WholeShard]) -> Iterator[bytes]:
    """As `pieces_of`, but as they are written, with their line ends."""
    lines = (line for each in shards for line in _lines(each.pieces))
    return progress_of(lines, sum(each.num_pieces for each in shards), "merge")


def _lines(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        yield from file


def _read(folder: Path) -> WholeShard:
    meta = read_marker(folder, SHARD_MARKER)
    try:
        shard, command = Shard.parse(meta["shard"]), tuple(map(str, meta["command"]))
        start, stop, total, num_pieces = (int(meta[name]) for name in ("start", "stop", "total", "pieces"))
        return WholeShard(folder, shard, range(start, stop), total, num_pieces, command, dict(meta["made_with"]))
    except (KeyError, TypeError, ValueError):
        raise CheckpointError(f"{folder / SHARD_MARKER} must describe a shard, and is damaged. Make it anew") from None


def _check_pair(a: WholeShard, b: WholeShard) -> None:
    """Check that two neighbours are of one work, and not the same part of it."""
    both = f"{a.marker} and {b.marker} must"
    if a.shard.count != b.shard.count:
        raise ConfigError(f"{both} be of one division, not {a.shard} and {b.shard}. Delete those of the other division")
    changes = list(differing(a.made_with, b.made_with))
    if changes:
        names = ", ".join(name for name, *_ in changes)
        texts = "; ".join(f"{name} is {show(x)} in the first and {show(y)} in the second" for name, x, y in changes)
        raise ConfigError(f"{both} be made with the same {names}: {texts}. Make one of them anew, with --overwrite")
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
    for each in found:
        if each.span.start != stop:
            raise ConfigError(f"{each.marker} must begin at item {stop}, where the shard before ends, not at "
                              f"{each.span.start}. Make both anew, with --overwrite")  # fmt: skip
        stop = each.span.stop
    if stop != first.total:
        raise ConfigError(f"{found[-1].marker} must end at item {first.total}, the last, not at {stop}. Make it anew, "
                          "with --overwrite")  # fmt: skip


def _versioned(made_with: Mapping[str, Any]) -> dict[str, Any]:
    return {"dcap": __version__, **made_with}


def _plain(tree: Any) -> Any:
    """Return plain data as JSON gives it back."""
    return json.loads(json.dumps(tree))
