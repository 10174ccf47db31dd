"""The errors that dcap raises at its borders.

Every message reads ``{what} must be {contract}, not {actual}{where}. {way out}``, so that a user can act on it
without opening the code.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class DcapError(Exception):
    """Base of every error that dcap raises on purpose; the command line prints it without a traceback."""


class ConfigError(DcapError, ValueError):
    """A configuration that cannot work; the message carries the dotted path of the field."""


class RecordError(DcapError, ValueError):
    """A record that breaks the input contract; the message carries file, line and field."""


class ImageError(RecordError):
    """An image file that cannot become pixels: missing, truncated, not an image, or over the size bound."""


class GeometryError(DcapError, ValueError):
    """Shapes, an affine or a canvas that break the geometry contract."""


class PluginError(DcapError, RuntimeError):
    """Code from outside dcap that failed; the message names it and the place, the cause is chained."""


class AnswerError(DcapError, ValueError):
    """An answer text that the strict parser refuses; the message carries the character position."""


class TrainingError(DcapError, RuntimeError):
    """A run that must not go on: a non-finite loss, a row without labels, a tower that trains nothing."""


class WorkerError(DcapError, RuntimeError):
    """A worker process that died; the message says how it ended and what to try."""


class StoppedError(DcapError, RuntimeError):
    """A run that was asked to stop and has saved its state; started again, it goes on from there."""


class CheckpointError(DcapError, RuntimeError):
    """A checkpoint that is torn, missing, or belongs to another run."""


class ServerError(DcapError, RuntimeError):
    """A server that does not answer, or answers other than agreed; started again, a run goes on from where it was."""


class OutputError(DcapError, OSError):
    """A file that cannot be written: its folder is read-only, its disk full, or its name too long."""


class MissingPackageError(DcapError, ImportError):
    """A package of an extra that is not installed; the message names the install command."""


def nearest(name: str, known: Iterable[str], likeness: float = 0.5) -> str | None:
    """Return the known name nearest to `name`. `None`: no name is similar enough (0..1)."""
    near = difflib.get_close_matches(name, sorted(known), n=1, cutoff=likeness)
    return near[0] if near else None


def nearest_hint(name: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean x?"`` for the known name nearest to `name`, or the list of known names."""
    names = sorted(known)
    near = nearest(name, names)
    if near:
        return f"; did you mean {near}?"
    return f"; known are: {', '.join(names)}" if names else ""
