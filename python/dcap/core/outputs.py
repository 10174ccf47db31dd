"""Where a command may write: never over its input or another output, and never over a file that it does not own.

Owns this rule, its words, and the marks by which a report of dcap is known. A report (a page, a picture, a table as
JSON) replaces an older report, so that a command can be run again. Data (records, a COCO file) replace a file only
where the user asks for it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dcap.core.errors import ConfigError
from dcap.core.files import is_stream

GENERATOR = "dcap"
"""Name of the program in the pages and pictures that it writes."""
PAGE_MARK = f'<meta name="generator" content="{GENERATOR}">'.encode()
"""In the head of a page."""
PICTURE_MARK = f"Software\0{GENERATOR}".encode()
"""In the head of a PNG file: what a text chunk holds."""
_REPORT_KEY = "report"
JSON_MARK = f'"{_REPORT_KEY}": "dcap '.encode()
"""In the head of a report as JSON, see `marked`."""
_HEAD_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Output:
    """A file that a command writes."""

    option: str
    """Option that names it, such as ``--html``."""
    path: Path
    replaces: bytes | bool
    """What it may replace: an older file with these bytes in its head; any file; or none. An empty file is as good as
    none."""


def outputs_given(*options: tuple[str, Path | None, bytes | bool]) -> list[Output]:
    """Return the outputs of the options that were given, from the option, its value and what it may replace."""
    return [Output(option, path, replaces) for option, path, replaces in options if path is not None]


def marked(command: str, tree: Mapping[str, Any]) -> dict[str, Any]:
    """Return a report as plain data that begins with the name of its command, so that it is known as a report."""
    return {_REPORT_KEY: f"dcap {command}", **tree}


def check_outputs(outputs: Sequence[Output], inputs: Iterable[Path]) -> None:
    """Refuse to write where something would be lost; called before anything is read or written.

    Links are followed. A pipe or a device keeps nothing, so it may be named more than once.

    Args:
        outputs: All files that the command writes.
        inputs: All files that it reads; those that do not exist do not count.

    Raises:
        ConfigError: An output is an input, another output, a folder, or a file that it may not replace.
    """
    files = [output for output in outputs if not is_stream(output.path)]
    # Of a name that is too long, `Path.is_file` is an error.
    existing = {_identity(path): path for path in inputs if os.path.isfile(path)}
    before: dict[object, Output] = {}
    for output in files:
        option, path = output.option, output.path
        if os.path.isdir(path):
            raise ConfigError(f"{option} must be a file, not a folder: {path}")
        identity = _identity(path)
        if identity in existing:
            raise ConfigError(f"{option} must be another file than the input, {existing[identity]}")
        if identity in before:
            other = before[identity].option
            what = f"that of {other}" if other != option else "that of another output"
            raise ConfigError(f"{option} must be another file than {what}, {path}")
        before[identity] = output
    for output in files:
        _check_older(output)


def check_folder(option: str, folder: Path) -> None:
    """Refuse a file where a folder is to be written into.

    Raises:
        ConfigError: `folder`, or what it should be in, is a file.
    """
    for place in (folder, *folder.parents):
        if os.path.exists(place):
            if not os.path.isdir(place):
                raise ConfigError(f"{option} must be a folder to write into, and {place} is a file. Name another one.")
            return


def _identity(path: Path) -> object:
    """Return what is equal for two paths of one file, also by links; the file need not exist."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return os.path.realpath(path)
    return status.st_dev, status.st_ino


def _check_older(output: Output) -> None:
    path = output.path
    if output.replaces is True or not os.path.isfile(path) or not path.stat().st_size:
        return
    if output.replaces is False:
        raise ConfigError(f"{output.option} must be a new file, and {path} exists. Give --overwrite to replace it.")
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if output.replaces not in head:
        raise ConfigError(
            f"{output.option} must be a new file, or replace an older report of dcap, and {path} is another file. Give "
            "another name, or delete that file."
        )
