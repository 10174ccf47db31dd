"""Opening annotation files: the names that a user may write, the files that they mean, and the reader of each file.

Owns bundled data (``builtin:``), wildcards, ranges, folders and the endings of names. The readers that need optional
packages are imported when such a file is opened. `dcap.records.files.generated` opens records that are made.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import overload

import numpy as np

from dcap.core.errors import ConfigError, RecordError, nearest_hint
from dcap.core.words import counted
from dcap.records.files.generated import PREFIX, RECORD_SOURCES, is_generated, open_generated
from dcap.records.files.jsonl import JsonlFile
from dcap.records.files.source import RecordSource, names_of, row_of
from dcap.records.files.tar_shard import TarShard
from dcap.records.record import COMPRESSIONS, Record

MAX_FILES = 100_000
"""Most files that one range may name."""
_TEXTS = (".jsonl", ".ndjson", ".json")
ENDINGS = (*_TEXTS, *(text + compression for text in _TEXTS for compression in COMPRESSIONS), ".parquet", ".tar")
"""Ends of the names of files that can be read."""

_ARCHIVES = (".zip", ".7z", ".rar", ".tgz", ".tar.gz", ".tar.xz", ".tar.zst", ".tar.bz2")
_RANGE = re.compile(r"\{(\d{1,18})\.\.(\d{1,18})\}")


class Records(Sequence[Record]):
    """The records of some files as one sequence. Each is read when it is asked for; none is kept.

    Args:
        files: The files, in order.
    """

    def __init__(self, files: Sequence[RecordSource]) -> None:
        self.files = tuple(files)
        self._starts = np.cumsum([0, *map(len, self.files)])

    def __len__(self) -> int:
        return int(self._starts[-1])

    @overload
    def __getitem__(self, i: int) -> Record: ...

    @overload
    def __getitem__(self, i: slice) -> list[Record]: ...

    def __getitem__(self, i: int | slice) -> Record | list[Record]:
        """Return record `i`, or a list of the records of a slice.

        Raises:
            RecordError: A record breaks the contract, or its file has changed since it was opened.
            IndexError: There is no such record.
        """
        if isinstance(i, slice):
            return [self[k] for k in range(len(self))[i]]
        i = row_of(i, len(self), names_of(self.files))
        file = int(np.searchsorted(self._starts, i, "right")) - 1
        return self.files[file][i - int(self._starts[file])]


def open_records(names: str | Path | Sequence[str | Path]) -> Records:
    """Open annotation files and return their records as one sequence.

    Args:
        names: One or more names, each a file, ``builtin:NAME``, a folder or a pattern; see `expand_sources`.

    Raises:
        ConfigError: As `expand_sources`.
        RecordError: As `open_source`.
        MissingPackageError: As `open_source`.
    """
    several = [names] if isinstance(names, str | Path) else names
    return Records([open_source(path) for path in expand_sources(several)])


def open_source(path: str | Path) -> RecordSource:
    """Open one annotation file by the ending of its name, or records that are made.

    ::

        .jsonl  .ndjson  .json    one record per line
        .jsonl.gz  .jsonl.zst     the same, compressed; decompressed once, to a file beside it
        .parquet                  one record per row
        .tar                      one record per sample, a WebDataset shard
        builtin:NAME?OPTIONS      made by code; see `dcap.records.files.generated`

    Raises:
        RecordError: The name has another ending, or the file cannot be read.
        ConfigError: As `open_generated`.
        PluginError: As `open_generated`.
        MissingPackageError: The file needs a package that is not installed.
    """
    if is_generated(path):
        return open_generated(str(path))
    path = Path(path)
    if not is_known(path.name):
        archive = path.name.lower().endswith(_ARCHIVES)
        way_out = "Unpack it, and name what is inside." if archive else "Rename the file by what it holds."
        way_out = _other_tool(path.suffix) or way_out
        raise RecordError(f"{path}: name must end in {', '.join(ENDINGS)}. {way_out}")
    if path.suffix in COMPRESSIONS:
        from dcap.records.files.compressed import open_compressed

        return open_compressed(path)
    if path.suffix == ".parquet":
        from dcap.records.files.parquet import ParquetRecords

        return ParquetRecords(path)
    if path.suffix == ".tar":
        return TarShard(path)
    return JsonlFile(path)


def _other_tool(ending: str) -> str:
    """Return what to do with a file of this ending, if another annotation tool writes such files."""
    name = {
        ".xml": ("Pascal VOC", "voc FOLDER"),
        ".txt": ("YOLO", "yolo data.yaml"),
        ".yaml": ("YOLO", "yolo data.yaml"),
    }
    tool, command = name.get(ending.lower(), ("", ""))
    return f"Files of {tool} are converted: dcap convert {command} -o NEW.jsonl" if tool else ""


def is_known(path: str | Path) -> bool:
    """Whether the name is that of a file that can be read, or of records that are made."""
    return str(path).endswith(ENDINGS) or is_generated(path)


def resolve_data(path: str) -> Path:
    """Return the file that a name means. The name of records that are made stays as it is.

    Args:
        path: ``builtin:NAME`` for bundled data, such as ``builtin:photos/train.jsonl``, or for records that are made,
            such as ``builtin:scenes?num=500``. Any other name is a path.

    Raises:
        ConfigError: No bundled file and no source of records has that name, or the source refuses its options.
        PluginError: A source of another package failed.
    """
    if not path.startswith(PREFIX):
        return Path(path)
    assets = Path(str(resources.files("dcap") / "assets"))
    known = {p.relative_to(assets).as_posix(): p for p in sorted(assets.rglob("*.jsonl"))}
    name = path.removeprefix(PREFIX)
    if name in known:
        return known[name]
    kind = name.partition("?")[0]
    if kind not in RECORD_SOURCES:
        raise ConfigError(f"{path!r} must name bundled data{nearest_hint(kind, [*known, *RECORD_SOURCES])}")
    open_generated(path)
    return Path(path)


def expand_sources(names: Sequence[str | Path]) -> list[Path]:
    """Return the files that some names mean, in the order of the names, those of one name sorted.

    ::

        train.jsonl                     the file; whether it exists is seen when it is opened
        builtin:photos/train.jsonl      a bundled file
        builtin:scenes?num=500          records that are made, by this name
        data/*.jsonl.gz                 every file that matches; ** goes through folders
        shards/train-{0000..0127}.tar   every number of the range; all of these files must exist
        shards                          every file of the folder with a known ending, except hidden ones

    Args:
        names: What the user wrote. A file that exists is taken by its name, whatever characters are in it.

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
            # A name that is written twice is meant twice. But a user may not see that a wildcard matches another name
            # too.
            if {name, before := named_by.get(path, name)} & several and path in named_by:
                names_it = f"{name!r} twice" if before == name else f"{before!r} and by {name!r}"
                raise ConfigError(f"{path}: file must be named once, not by {names_it}. Leave one of the names out.")
            named_by[path] = name
        out += paths
    return out


def _expand(text: str) -> list[Path]:
    path = Path(text)
    if text.startswith(PREFIX):
        return [resolve_data(text)]
    if os.path.isfile(path):  # of a name that is too long, `Path.is_file` is an error
        return [path]
    if os.path.isdir(path):
        return _known(text, [p for p in path.iterdir() if not p.name.startswith(".")], "hold")
    if _RANGE.search(text):
        return _ranged(text)
    if glob.has_magic(text):
        return _known(text, [Path(match) for match in glob.iglob(text, recursive=True)], "match")
    return [path]


def _known(text: str, paths: Sequence[Path], verb: str) -> list[Path]:
    files = sorted({path for path in paths if is_known(path.name) and path.is_file()})
    if not files:
        actual = f"{counted(len(paths), 'other name')}, such as {min(paths).name}" if paths else "nothing"
        other = next(filter(None, (_other_tool(path.suffix) for path in paths)), "")
        if any(path.name.lower().endswith(_ARCHIVES) for path in paths):
            way_out = "Unpack the archives."
        elif other or {"Annotations", "JPEGImages"} <= {path.name for path in paths}:
            way_out = other or _other_tool(".xml")
        else:
            way_out = "Relative paths start at the current folder." if verb == "match" else "Name another folder."
        raise ConfigError(
            f"{text!r} must {verb} at least one file whose name ends in {', '.join(ENDINGS)}, not {actual}. {way_out}"
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
        count = max(0, numbers.stop - numbers.start) * len(names)
        if not 1 <= count <= MAX_FILES:
            raise ConfigError(f"{text!r} must name 1 to {MAX_FILES} files, not {count}")
        names = [_RANGE.sub(f"{number:0{width}d}", name, count=1) for name in names for number in numbers]
    yield from names
