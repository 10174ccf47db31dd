"""The run folder: one run owns it, its log is in it, and what the disk refuses is named."""

from __future__ import annotations

import errno
import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from dcap.core.errors import ConfigError, DcapError, TrainingError
from dcap.core.files import FULL
from dcap.core.lock import owned
from dcap.core.log import SafeFormatter, print_error

_REFUSED = (
    errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ENAMETOOLONG,
    errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ESTALE, errno.ENOENT,
)  # fmt: skip


@contextmanager
def run_folder(output: Path) -> Iterator[None]:
    """Make a run folder, own it until the block ends, and log into it.

    Args:
        output: ``training.output_dir``.

    Raises:
        ConfigError: There can be no such folder, or it cannot be written to.
        CheckpointError: Another run is in it.
    """
    way_out = "Wait until it has ended, stop it, or give another training.output_dir."
    with ExitStack() as stack:
        try:
            output.mkdir(parents=True, exist_ok=True)
            stack.enter_context(owned(output, way_out))
            stack.enter_context(log_to_file(output / "train.log"))
        except OSError as error:
            raise ConfigError(
                f"training.output_dir must be a folder that can be written to, not {output} ({error.strerror}). "
                "Give another one"
            ) from None
        yield


@contextmanager
def disk_errors_named(output: Path) -> Iterator[None]:
    """Turn what the system refuses in a run folder into an error with the place.

    Raises:
        TrainingError: A file of the folder cannot be written or read.
    """
    try:
        yield
    except DcapError:
        raise
    except OSError as error:
        place = Path(str(error.filename)) if error.filename is not None else None
        inside = place is not None and place.absolute().is_relative_to(output.absolute())
        if not (inside and error.errno in _REFUSED) and not (place is None and error.errno in FULL):
            raise
        raise TrainingError(
            f"{place or output} must be writable, not {error.strerror}. "
            "Mend that; the same command resumes from the newest checkpoint"
        ) from error


class _LogFile(logging.FileHandler):
    """A log file that says once that it cannot be written; the run goes on without it."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, encoding="utf-8")
        self._failed = False

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the name is logging's
        if not self._failed:
            self._failed = True
            print_error(f"{self.baseFilename} cannot be written to, so the log is on the terminal only")

    def close(self) -> None:
        """Close the file; what could not be written was said before."""
        with suppress(OSError):
            super().close()


@contextmanager
def log_to_file(path: Path) -> Iterator[None]:
    """Send dcap's log to a file as well."""
    handler = _LogFile(path)
    handler.setFormatter(SafeFormatter("%(asctime)s %(levelname)s %(message)s"))
    logger = logging.getLogger("dcap")
    logger.addHandler(handler)
    level = logger.level
    # A program that calls the trainer without `dcap.core.log.setup` gets a full log file all the same.
    logger.setLevel(level or logging.INFO)
    try:
        yield
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)
        handler.close()
