"""What a user may write for annotation files, and which files that is.

Owns wildcards, ranges and folders. Which files can be read is in `dcap.records.files.opening`.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from dcap.core.errors import ConfigError
from dcap.core.words import counted
from dcap.records.builtin import PREFIX, resolve_data
from dcap.records.files.opening import ENDINGS, is_known

MAX_FILES = 100_000
"""Most files that one range may name."""

_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")


def expand_sources(names: Sequence[str | Path]) -> list[Path]:
    """Return the files that some names mean, in the order of the names, those of one name sorted.

    ::

        train.jsonl                     the file; whether it is there is seen when it is opened
        builtin:photos/train.jsonl      a bundled file
        data/*.jsonl.gz                 every file that matches; ** goes through folders
        shards/train-{0000..0127}.tar   every number of the range, each of which must be there
        shards                          every file of the folder whose ending is known, hidden ones left out

    Args:
        names: What the user wrote. A file that exists is taken by its name, whatever signs are in it.

    Raises:
        ConfigError: A name means no file, or a wildcard, range or folder means a file that another name means too.
    """
    out: list[Path] = []
    named_by: dict[Path, str] = {}
    several: set[str] = set()
    for name in map(str, names):
        paths = _expand(name)
        if paths != [resolve_data(name)]:
            several.add(name)
        for path in paths:
            # Whoever writes one name twice means it; that a wildcard takes in another name goes unseen.
            if {name, before := named_by.get(path, name)} & several and path in named_by:
                raise ConfigError(f"{name!r} must mean other files than {before!r}, not {path} again")
            named_by[path] = name
        out += paths
    return out


def _expand(text: str) -> list[Path]:
    path = Path(text)
    if text.startswith(PREFIX):
        return [resolve_data(text)]
    if path.is_file():
        return [path]
    if path.is_dir():
        return _known(text, [p for p in path.iterdir() if not p.name.startswith(".")], "hold")
    if _RANGE.search(text):
        return _ranged(text)
    if glob.has_magic(text):
        return _known(text, [Path(match) for match in glob.iglob(text, recursive=True)], "match")
    return [path]


def _known(text: str, paths: Sequence[Path], verb: str) -> list[Path]:
    files = sorted(path for path in paths if is_known(path.name) and path.is_file())
    if not files:
        actual = f"{counted(len(paths), 'other name')}, such as {min(paths).name}" if paths else "nothing"
        raise ConfigError(
            f"{text!r} must {verb} at least one file whose name ends in {', '.join(ENDINGS)}, not {actual}. "
            "Relative paths start at the current folder."
        )
    return files


def _ranged(text: str) -> list[Path]:
    paths = sorted(
        path for name in _numbered(text) for path in (_expand(name) if glob.has_magic(name) else [Path(name)])
    )
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise ConfigError(
            f"{text!r} must name files that exist, and {len(missing)} of {len(paths)} do not, such as {missing[0]}. "
            "Relative paths start at the current folder."
        )
    return paths


def _numbered(text: str) -> Iterator[str]:
    """Yield the text with each number of its ranges, zeros in front as its ends have them."""
    names = [text]
    while match := _RANGE.search(names[0]):
        first, last = match[1], match[2]
        width = max(len(first), len(last)) if "0" in (first[0], last[0]) else 0
        numbers = range(int(first), int(last) + 1)
        if not 1 <= len(numbers) * len(names) <= MAX_FILES:
            raise ConfigError(f"{text!r} must name 1 to {MAX_FILES} files, not {len(numbers) * len(names)}")
        names = [_RANGE.sub(f"{number:0{width}d}", name, count=1) for name in names for number in numbers]
    yield from names
