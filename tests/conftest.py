"""Fixtures that several layers share."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def tiny_folder() -> Path:
    """Folder of ``builtin:tiny``; built at most once per machine, in the user's cache."""
    from dcap.model.tiny import resolve_model

    return Path(resolve_model("builtin:tiny"))
