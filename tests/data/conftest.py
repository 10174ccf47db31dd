"""Fixtures of the data layer: JSONL files, pictures, and the real annotations where they are at hand."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from PIL import Image

settings.register_profile("no_clock", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("no_clock")

REAL45 = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "real45"

WriteJsonl = Callable[..., Path]


@pytest.fixture(scope="session")
def real45() -> Path:
    """Folder of 45 real photos with annotations; lies beside the repository, where it is at hand."""
    if not REAL45.is_dir():
        pytest.skip(f"needs the real annotations in {REAL45}")
    return REAL45


@pytest.fixture
def write_jsonl(tmp_path: Path) -> WriteJsonl:
    """Write records (dicts, or raw bytes for broken lines) to a JSONL file."""

    def write(records: Sequence[dict[str, Any] | bytes], name: str = "train.jsonl") -> Path:
        lines = [record if isinstance(record, bytes) else json.dumps(record).encode() for record in records]
        path = tmp_path / name
        path.write_bytes(b"".join(line + b"\n" for line in lines))
        return path

    return write


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A picture of 64 x 48 pixels, ``a.png``."""
    path = tmp_path / "a.png"
    Image.new("RGB", (64, 48), (10, 20, 30)).save(path)
    return path


def record(**changes: Any) -> dict[str, Any]:
    """Return a good record of a 64 x 48 image; a change to ``...`` removes the key."""
    data: dict[str, Any] = {
        "images": ["a.png"],
        "width": 64,
        "height": 48,
        "objects": [{"desc": "cup", "bbox_2d": [1, 2, 30, 40]}],
        **changes,
    }
    return {key: value for key, value in data.items() if value is not ...}


@pytest.fixture
def make_record() -> Callable[..., dict[str, Any]]:
    """Return `record`: a good record with changes."""
    return record
