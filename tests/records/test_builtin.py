"""Bundled data by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from dcap.core.errors import ConfigError
from dcap.records.builtin import resolve_data
from dcap.records.files.jsonl import JsonlFile
from dcap.records.images import decode_image
from dcap.records.record import image_path


@pytest.mark.parametrize("name", ["train", "val", "photos"])
def test_bundled_photos_are_good(name: str) -> None:
    file = JsonlFile(resolve_data(f"builtin:photos/{name}.jsonl"))
    assert len(file) > 0
    for record in file:
        image = decode_image(image_path(record, file.path.parent), record.canvas)
        assert image.shape == (record.canvas.height, record.canvas.width, 3)
        assert len(record.shapes) > 0
        assert record.summary


def test_other_paths_stay() -> None:
    assert resolve_data("data/train.jsonl") == Path("data/train.jsonl")


@pytest.mark.parametrize("name", ["photos/trian.jsonl", "photos/../../core/errors.py", "", "photos/images/coffee.png"])
def test_what_is_not_bundled_is_an_error(name: str) -> None:
    with pytest.raises(ConfigError, match=f"'builtin:{name}' must name bundled data"):
        resolve_data(f"builtin:{name}")


def test_the_nearest_name_is_offered() -> None:
    with pytest.raises(ConfigError, match=r"did you mean photos/train.jsonl\?"):
        resolve_data("builtin:photos/trian.jsonl")
