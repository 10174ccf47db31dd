"""Folders of a run that appear whole or not at all, with a marker that tells whether they are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from dcap.core.errors import CheckpointError
from dcap.core.files import folder_written_whole, give_mode
from dcap.core.manifest import seal


@contextmanager
def whole_folder(target: Path, marker: str) -> Iterator[Path]:
    """Yield a scratch folder that becomes `target` at the end, replacing an older one.

    Args:
        target: Final place of the folder.
        marker: JSON file that the caller writes into it, as an object; the sizes and digests of all other files are
            added, see `dcap.core.manifest`.

    Raises:
        CheckpointError: The disk is full, or something else keeps the folder from being written.
    """
    with failures_named(target), folder_written_whole(target) as scratch:
        yield scratch
        give_mode(scratch, (scratch / marker).stat().st_mode)
        seal(scratch, marker)


@contextmanager
def failures_named(target: Path) -> Iterator[None]:
    """Say which folder could not be written.

    Raises:
        CheckpointError: The disk is full, or something else keeps a file from being written.
    """
    try:
        yield
    except (OSError, SafetensorError) as error:
        # What safetensors meets on a disk comes as an error of its own.
        raise CheckpointError(
            f"{target} must be written whole, but that failed: {error}. Older checkpoints are as they were; "
            "the same command resumes from the newest one"
        ) from error
