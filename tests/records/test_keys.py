"""Hints for keys that are not those of the contract."""

from __future__ import annotations

import pytest

from dcap.geometry.shapes import KEYS
from dcap.records.keys import FORMS, key_hint, misspelt

TOP = ("images",)


@pytest.mark.parametrize(
    ("key", "missing", "meant"),
    [
        ("bbox", KEYS, "bbox_2d"),
        ("box", KEYS, "bbox_2d"),
        ("bbox2d", KEYS, "bbox_2d"),
        ("BBox", KEYS, "bbox_2d"),
        ("polygon", KEYS, "poly"),
        ("segmentation", KEYS, "poly"),
        ("lines", KEYS, "line"),
        ("polyline", KEYS, "line"),
        ("label", ("desc",), "desc"),
        ("caption", ("desc",), "desc"),
        ("description", ("desc",), "desc"),
        ("image", TOP, "images"),
        ("file_name", TOP, "images"),
        ("annotations", ("objects",), "objects"),
        ("object", ("objects",), "objects"),
        ("w", ("width",), "width"),
        ("image_height", ("height",), "height"),
    ],
)
def test_the_intended_key_is_named(key: str, missing: tuple[str, ...], meant: str) -> None:
    hint = key_hint(["id", key, "score"], missing)
    assert hint.startswith(f'; "{key}" is given: did you mean {meant}')
    assert FORMS.get(meant, "") in hint
    assert hint.endswith("?")


@pytest.mark.parametrize("key", ["id", "score", "label", "iscrowd", "attributes", "tile"])
def test_another_key_is_no_hint(key: str) -> None:
    assert key_hint([key], KEYS) == ""


def test_every_shape_has_a_form() -> None:
    assert set(FORMS) == set(KEYS)


@pytest.mark.parametrize(
    ("key", "meant"),
    [("sumary", "summary"), ("Summary", "summary"), ("summray", "summary"), ("meta_data", "metadata"),
     ("summary_en", None), ("id", None), ("date", None), ("data", None)],
)  # fmt: skip
def test_a_letter_or_two_are_a_misspelling(key: str, meant: str | None) -> None:
    assert misspelt(key, ("summary", "metadata")) == meant
