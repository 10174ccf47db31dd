"""Folders of a run with a marker that tells whether they are whole."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from dcap.core.errors import CheckpointError
from dcap.core.files import folder_written_whole


@contextmanager
def whole_folder(target: Path, marker: str) -> Iterator[Path]:
    """Yield a scratch folder that becomes `target` at the end, replacing an older one.

    Args:
        target: Final place of the folder.
        marker: JSON file that the caller writes into it, as an object; the sizes of all other files are added under
            ``files``, so that `read_marker` finds a file that a crashed disk cut.

    Raises:
        CheckpointError: The disk is full, or something else keeps the folder from being written.
    """
    try:
        with folder_written_whole(target) as scratch:
            yield scratch
            meta = json.loads((scratch / marker).read_text("utf-8"))
            _give_mode(scratch, (scratch / marker).stat().st_mode)
            meta["files"] = {n: s for n, s in _sizes(scratch).items() if n != marker}
            (scratch / marker).write_text(json.dumps(meta, indent=2) + "\n", "utf-8")
    except (OSError, SafetensorError) as error:
        # What safetensors meets on a disk comes as an error of its own.
        raise CheckpointError(
            f"{target} must be written whole, but that failed: {error}. Older checkpoints are as they were; "
            "the same command resumes from the newest one"
        ) from error


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
