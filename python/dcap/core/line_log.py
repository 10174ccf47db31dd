"""A log of lines: safe on disk, with whole lines only, continued after an interruption.

Beside ``NAME`` is ``NAME.meta.json``. It holds all that the lines depend on; if any of it differs, the log is never
continued.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from dcap import __version__
from dcap.core.config import differences
from dcap.core.errors import CheckpointError
from dcap.core.files import write_whole, writing
from dcap.core.words import to_json

_KEY = "made_with"


class LineLog:
    """Appends lines to a file.

    Args:
        path: The file; folders on the way are made.
        made_with: Plain data that the lines depend on; a file made with other data is not continued.
        overwrite: Start anew, even if the file exists.
        option: Option that names another file, for messages.

    Attributes:
        kept: Number of lines that were kept.
        last_line: The last of them; empty where there is none.

    Raises:
        CheckpointError: The file was made with something else, nothing says with what, or another run writes it.
        OutputError: The folder or the disk does not allow it.
    """

    def __init__(
        self, path: Path, made_with: Mapping[str, Any], overwrite: bool = False, option: str = "--out"
    ) -> None:
        self.path = path
        self.kept, self.last_line = 0, b""
        self._made_with: Mapping[str, Any] | None = None  # of a file that is started anew, until it is
        self._way_out = f"Give another {option}, or --overwrite to start anew."
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file: BinaryIO = path.open("ab")
        with ExitStack() as undo:
            undo.callback(self._file.close)
            self._prepare(made_with, overwrite)
            undo.pop_all()

    def _prepare(self, made_with: Mapping[str, Any], overwrite: bool) -> None:
        path = self.path
        _lock(self._file, path)
        if not overwrite and path.stat().st_size:
            self._check_meta(made_with)
            self.kept, self.last_line = _cut_torn_line(path)
        else:
            self._made_with = made_with

    def _check_meta(self, made_with: Mapping[str, Any]) -> None:
        path, meta = self.path, meta_path(self.path)
        if not meta.is_file():
            raise CheckpointError(
                f"{path} must have {meta.name} beside it to be continued, but it is missing. {self._way_out}"
            )
        try:
            before = json.loads(meta.read_text("utf-8"))[_KEY]
        except (ValueError, KeyError, TypeError, RecursionError):
            raise CheckpointError(
                f"{meta} must say what {path.name} was made with, and is damaged. {self._way_out}"
            ) from None
        changes = list(differences(before, json.loads(json.dumps(made_with))))
        if changes:
            names, texts = zip(*changes, strict=True)
            raise CheckpointError(
                f"{path} must be continued with the same {', '.join(names)}, but {'; '.join(texts)}. {self._way_out}"
            )

    def begin(self) -> None:
        """Empty a file that is started anew; nothing for one that is continued. The first `write` does it too.

        Raises:
            OutputError: The disk does not allow it.
        """
        if self._made_with is None:
            return
        # The old lines go first: with the new meta beside them they would be taken for new ones.
        with writing(self.path):
            os.truncate(self.path, 0)
            write_meta(self.path, self._made_with)
        self._made_with = None

    def write(self, lines: bytes, durable: bool = True) -> None:
        """Append whole lines.

        Args:
            lines: Each with its line end.
            durable: Wait until they are on disk. Lines written otherwise are safe from the end of this process, and
                from a power cut after the next durable ones.

        Raises:
            OutputError: The disk does not allow it. The next start continues after the last whole line.
        """
        self.begin()
        with writing(self.path):
            self._file.write(lines)
            self._file.flush()
            if durable:
                os.fsync(self._file.fileno())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


@contextmanager
def unwritten(path: Path) -> Iterator[None]:
    """Keep every `LineLog` from a file while a whole new one takes its place. A missing file is made, empty.

    Raises:
        CheckpointError: A run writes the file.
        OutputError: The folder or the disk does not allow it.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("ab")
    with file:
        _lock(file, path)
        yield


def _lock(file: BinaryIO, path: Path) -> None:
    """Keep others from writing an open file until it is closed, or its process ends."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Another run may have put a new file in place since this one was opened.
        is_ours = os.path.samestat(os.fstat(file.fileno()), path.stat())
    except (BlockingIOError, FileNotFoundError):
        is_ours = False
    if not is_ours:
        raise CheckpointError(f"{path} must be used by one run at a time, and another one writes or merges it. Wait "
                              "for that to end, and start again")  # fmt: skip


def meta_path(path: Path) -> Path:
    """Return the path of the file that says what a log depends on."""
    return path.with_name(path.name + ".meta.json")


def write_meta(path: Path, made_with: Mapping[str, Any]) -> None:
    """Write beside a log what it depends on.

    Raises:
        OutputError: The disk does not allow it.
    """
    tree = {"dcap": __version__, _KEY: made_with}
    write_whole(meta_path(path), to_json(tree) + "\n")


def _cut_torn_line(path: Path) -> tuple[int, bytes]:
    """Cut an incomplete last line of a killed run. Return the number of whole lines and the last one."""
    count, end, last = 0, 0, b""
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                count, end, last = count + 1, end + len(line), line
    os.truncate(path, end)
    return count, last
