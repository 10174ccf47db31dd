"""The marker of a folder: a JSON file with the size and the digest of every other file, so that damage is noticed.

::

    {"step": 100, "files": {"rng.safetensors": {"size": 5128, "sha256": "9f.."}, ...}, "sha256": "41.."}

The last entry is the digest of the others.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any

from dcap.core.errors import CheckpointError
from dcap.core.files import write_whole

STATE_MARKER = "trainer_state.json"
"""Marker of a checkpoint."""
FINAL_MARKER = "final.json"
"""Marker of the final weights."""
EXPORT_MARKER = "export.json"
"""Marker of an export."""
SHARD_MARKER = "shard.json"
"""Marker of a shard, see `dcap.core.shard`."""

_WHOLE_BYTES = 1 << 28
_END_BYTES = 1 << 20


def seal(folder: Path, marker: str) -> None:
    """Add to a marker what makes damage noticed.

    Args:
        folder: Holds all its files.
        marker: JSON file in it, an object.

    Raises:
        OSError: A file cannot be read or written.
    """
    meta = json.loads((folder / marker).read_text("utf-8"))
    write_marker(folder, marker, meta, [name for name in _sizes(folder) if name != marker])


def write_marker(folder: Path, marker: str, meta: Mapping[str, Any], names: Iterable[str]) -> None:
    """Write the marker of a folder whole, with the sizes and digests of its files.

    Args:
        folder: Holds all its files.
        marker: Name of the marker.
        meta: What it says, as plain data.
        names: The files that belong to it.

    Raises:
        OSError: A file cannot be read.
        OutputError: The marker cannot be written.
    """
    names = list(names)
    digests = _digests(folder, names)
    files = {name: {"size": (folder / name).stat().st_size, "sha256": digests[name]} for name in names}
    tree = {**meta, "files": files}
    write_whole(folder / marker, json.dumps(tree | {"sha256": _own_digest(tree)}, indent=2) + "\n")


def read_marker(folder: Path, marker: str, sizes: bool = True) -> dict[str, Any]:
    """Return the marker of a whole folder, without what `seal` added.

    The marker's own digest is compared; `check_digests` compares those of the files.

    Args:
        folder: With its marker.
        marker: Name of the marker.
        sizes: Whether the sizes of the files are compared too.

    Raises:
        CheckpointError: The marker is missing or damaged, or a file is missing or has another size.
    """
    meta = _read(folder, marker)
    files = meta.pop("files")
    if sizes:
        _compare_sizes(folder, marker, files)
    return meta


def unlisted(folder: Path, marker: str) -> list[str]:
    """Return the names of what is in a folder, at any depth, and not in its marker. Folders themselves do not count.

    Raises:
        CheckpointError: The marker is missing or damaged.
    """
    listed = {marker, *_read(folder, marker)["files"]}
    found = (path for path in sorted(folder.rglob("*")) if path.is_symlink() or not path.is_dir())
    return [name for path in found if (name := path.relative_to(folder).as_posix()) not in listed]


def check_digests(folder: Path, marker: str, below: str | tuple[str, ...] = "") -> dict[str, Any]:
    """Read every file of a folder, compare it with what was written, and return the marker as `read_marker` does.

    Args:
        folder: With its marker.
        marker: Name of the marker.
        below: Only files whose names begin like this, or like one of these.

    Raises:
        CheckpointError: The marker is missing or damaged, or a file is missing or damaged.
    """
    meta = _read(folder, marker)
    files = {name: file for name, file in meta.pop("files").items() if name.startswith(below)}
    _compare_sizes(folder, marker, files)  # which is quick
    try:
        digests = _digests(folder, files)
    except OSError as error:
        raise CheckpointError(
            f"{_kind(marker)} {folder} must be readable: {error.filename}: {error.strerror}"
        ) from None
    for name, file in files.items():
        if digests[name] != file["sha256"]:
            raise CheckpointError(
                f"{_kind(marker)} {folder} must be whole: the bytes of {name} must be those that were written, and "
                "differ. The file is damaged, or was changed"
            )
    return meta


def digest_file(path: Path) -> str:
    """Return the SHA-256 of a whole file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_input(path: Path) -> str:
    """Return a SHA-256 by which an input is known again: of the whole file or, of a large one, of its size and ends.

    Raises:
        OSError: It cannot be read.
    """
    size = path.stat().st_size
    if size <= _WHOLE_BYTES:
        return digest_file(path)
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        digest.update(file.read(_END_BYTES))
        file.seek(size - _END_BYTES)
        digest.update(file.read(_END_BYTES))
    return digest.hexdigest()


def _read(folder: Path, marker: str) -> dict[str, Any]:
    try:
        meta = json.loads((folder / marker).read_text("utf-8"))
        own = meta.pop("sha256")
        sizes = [(file["size"], file["sha256"]) for file in meta["files"].values()]
        is_own = own == _own_digest(meta)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{_kind(marker)} {folder} must hold a readable {marker}: {_words(error)}") from None
    if not is_own or not all(type(size) is int for size, _ in sizes):
        raise CheckpointError(
            f"{_kind(marker)} {folder} must be whole: {marker} must be as it was written, and differs. "
            "The file is damaged, or was changed"
        )
    for name in meta["files"]:
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise CheckpointError(f"{_kind(marker)} {folder} must be whole: {marker} must name files in it, not {name}")
    return dict(meta)


def _compare_sizes(folder: Path, marker: str, files: Mapping[str, Any]) -> None:
    sizes = _sizes(folder)
    for name, file in files.items():
        if sizes.get(name) != file["size"]:
            found = f"{sizes[name]} bytes" if name in sizes else "nothing"
            raise CheckpointError(
                f"{_kind(marker)} {folder} must be whole: {name} must be {file['size']} bytes, not {found}"
            )


def _kind(marker: str) -> str:
    """Return what a folder with this marker is called."""
    return "shard" if marker == SHARD_MARKER else "checkpoint"


def _words(error: Exception) -> str:
    if isinstance(error, OSError | ValueError):
        return str(error)
    return "it lacks what this version of dcap writes"


def _own_digest(meta: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(meta, sort_keys=True).encode()).hexdigest()


def _digests(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """Return the SHA-256 of files, several at a time."""
    names = list(names)
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        return dict(zip(names, pool.map(digest_file, [folder / name for name in names]), strict=True))


def _sizes(folder: Path) -> dict[str, int]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in files}
