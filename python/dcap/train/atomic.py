"""Folders that appear whole or not at all: written beside, flushed to disk, then renamed."""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from dcap.core.errors import CheckpointError


@contextmanager
def whole_folder(target: Path, marker: str) -> Iterator[Path]:
    """Yield a scratch folder that becomes `target` at the end, replacing an older one.

    Args:
        target: Where the folder shall appear.
        marker: JSON file that the caller writes into it, as an object; the sizes of all other files are added under
            ``files``, so that `read_marker` finds a file that a crashed disk cut.

    Raises:
        CheckpointError: The disk is full, or something else keeps the folder from being written.
    """
    scratch = target.with_name(f".writing-{target.name}")
    shutil.rmtree(scratch, ignore_errors=True)
    try:
        scratch.mkdir(parents=True)
        yield scratch
        meta = json.loads((scratch / marker).read_text("utf-8"))
        _give_mode(scratch, (scratch / marker).stat().st_mode)
        meta["files"] = {n: s for n, s in _sizes(scratch).items() if n != marker}
        (scratch / marker).write_text(json.dumps(meta, indent=2) + "\n", "utf-8")
        _flush(scratch)
        replace_folder(scratch, target)
    except (OSError, SafetensorError) as error:
        # What safetensors meets on a disk comes as an error of its own.
        raise CheckpointError(
            f"{target} must be written whole, but that failed: {error}. Older checkpoints are as they were; "
            "the same command resumes from the newest one"
        ) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def replace_folder(source: Path, target: Path) -> None:
    """Rename `source` to `target`; an older `target` is there until the moment of the exchange."""
    old = target.with_name(f".old-{target.name}")
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        target.rename(old)
    source.rename(target)
    _flush_folder(target.parent)
    shutil.rmtree(old, ignore_errors=True)


def read_marker(folder: Path, marker: str) -> dict[str, Any]:
    """Return the marker of a folder that `whole_folder` wrote.

    Raises:
        CheckpointError: The folder is torn: the marker or a file is missing or has another size.
    """
    try:
        meta: dict[str, Any] = json.loads((folder / marker).read_text("utf-8"))
        expected = dict(meta.pop("files"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"checkpoint {folder} must hold a readable {marker}: {error}") from None
    sizes = _sizes(folder)
    for name, size in expected.items():
        if sizes.get(name) != size:
            found = f"{sizes[name]} bytes" if name in sizes else "nothing"
            raise CheckpointError(f"checkpoint {folder} must be whole: {name} must be {size} bytes, not {found}")
    return meta


def _give_mode(folder: Path, mode: int) -> None:
    """Give all files the mode of one that was simply opened: safetensors writes its own for the owner's eyes only."""
    for path in folder.rglob("*"):
        if path.is_file():
            path.chmod(stat.S_IMODE(mode))


def _sizes(folder: Path) -> dict[str, int]:
    files = (p for p in sorted(folder.rglob("*")) if p.is_file())
    return {p.relative_to(folder).as_posix(): p.stat().st_size for p in files}


def _flush(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_dir():
            _flush_folder(path)
        else:
            with path.open("rb") as file:
                os.fsync(file.fileno())
    _flush_folder(folder)


def _flush_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
