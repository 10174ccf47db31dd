"""Fixtures that several layers share."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def tiny_folder() -> Path:
    """Folder of ``builtin:tiny``; built at most once per machine, in the user's cache."""
    from dcap.model.tiny import resolve_model

    return Path(resolve_model("builtin:tiny"))


@pytest.fixture(autouse=True)
def restored_log() -> Iterator[None]:
    """Undo what a command or a rank under test makes of dcap's logger, which would silence later tests."""
    log = logging.getLogger("dcap")
    handlers, level, propagate = list(log.handlers), log.level, log.propagate
    yield
    log.handlers[:], log.propagate = handlers, propagate
    log.setLevel(level)
    # The import linter configures logging for itself, which disables every logger that exists.
    for name, child in logging.root.manager.loggerDict.items():
        if isinstance(child, logging.Logger) and name.split(".")[0] == "dcap":
            child.disabled = False
