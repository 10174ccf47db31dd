"""The data files of a run, so that a resumed run notices that they are others."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dcap.core.errors import CheckpointError, RecordError
from dcap.records.files.generated import is_generated

WHOLE_BYTES = 1 << 30
"""So many bytes of all files of a split together are read; of larger ones, blocks at even distances."""
_BLOCK = 1 << 16

INIT_ADAPTER = "init_adapter"
"""Stands beside the names of the splits, for the weights of the adapter that training begins with."""

Files = list[dict[str, Any]]
"""For each file of a split: ``file``, as the user named it, ``size`` in bytes and ``sha256`` of what was read."""


def data_files(paths: Sequence[Path], whole_bytes: int = WHOLE_BYTES) -> Files:
    """Return what tells the files of a split, or of the adapter that training begins with, from others.

    Times do not count: a copy has another one. Records that are made are told apart by their name with its options.

    Args:
        paths: The files.
        whole_bytes: See `WHOLE_BYTES`.

    Raises:
        RecordError: A file has vanished since it was opened.
    """
    share, found = max(2 * _BLOCK, whole_bytes // max(1, len(paths))), []
    for path in paths:
        if is_generated(path):
            name = str(path)
            found.append({"file": name, "size": 0, "sha256": hashlib.sha256(name.encode()).hexdigest()})
            continue
        try:
            found.append({"file": str(path), "size": path.stat().st_size, "sha256": _digest(path, share)})
        except OSError as error:
            raise RecordError(f"{path}: file must be readable, not {error.strerror}") from None
    return found


def _digest(path: Path, share: int) -> str:
    """Return the SHA-256 of a file, or of its beginning, its end and blocks between them: `share` bytes in all."""
    size = path.stat().st_size
    with path.open("rb") as file:
        if size <= share:
            return hashlib.file_digest(file, "sha256").hexdigest()
        digest, last, num_blocks = hashlib.sha256(), size - _BLOCK, share // _BLOCK
        for i in range(num_blocks):
            file.seek(last * i // (num_blocks - 1))
            digest.update(file.read(_BLOCK))
    return digest.hexdigest()


def changed_files(saved: Files, current: Files) -> str | None:
    """Return what is different, in words. `None`: nothing. Names do not count, as the config holds them."""
    if len(saved) != len(current):
        return f"there were {len(saved)} files and are {len(current)}"
    pairs = list(zip(saved, current, strict=True))
    changed = [(a, b) for a, b in pairs if (a["size"], a["sha256"]) != (b["size"], b["sha256"])]
    if not changed:
        return None
    old, new = changed[0]
    more = f" ({len(changed)} files changed)" if len(changed) > 1 else ""
    if is_generated(old["file"]) or is_generated(new["file"]):
        return f"{new['file']} stands where {old['file']} stood{more}"
    size = f"had {old['size']} bytes and has {new['size']}" if old["size"] != new["size"] else "has other bytes"
    return f"{new['file']} {size}{more}"


def check_data(saved: Mapping[str, Files], current: Mapping[str, Files], *, restarts: bool = False) -> None:
    """Refuse to go on with another adapter, or with other training records, than those that a run began with.

    Args:
        saved: Files of each split, and of the adapter, as a checkpoint has them.
        current: Those of now.
        restarts: Whether the epoch begins anew where the records are others.

    Raises:
        CheckpointError: They differ.
    """
    began = changed_files(saved.get(INIT_ADAPTER, []), current.get(INIT_ADAPTER, []))
    if began is not None:
        raise CheckpointError(
            f"a run must be resumed with the model.init_adapter it began with, but {began}. Restore the file, or start "
            "anew with training.resume=none"
        )
    if restarts:
        return
    change = changed_files(saved.get("train", []), current.get("train", []))
    if change is not None:
        raise CheckpointError(
            f"a run must be resumed with the data it began with, but {change}. Other records make another order: some "
            "would be seen twice, others not at all. Restore the file, begin the current epoch anew with "
            "training.on_changed_data=restart_epoch, or start anew with training.resume=none"
        )
