"""Tokens per object in each format: by hand from the texts, and their order on what costs most."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from dcap.answers.codec import write
from dcap.answers.formats import OWN_FORMATS
from dcap.answers.profile import AnswerProfile
from dcap.audit.format_costs import FormatCost, format_costs
from dcap.data.dataset import DenseCaptionDataset
from dcap.data.sample import SampleKey
from dcap.data.tokens import TokenKind
from dcap.geometry.shapes import GeometryKind
from support.dataset_cases import make_dataset, photo, records

RING = [42, 31, 61, 30, 78, 34, 91, 42, 96, 51, 89, 60, 75, 66, 57, 68, 39, 65, 26, 58, 22, 48, 29, 38]


def costs(dataset: DenseCaptionDataset, indices: Sequence[int] = (0,)) -> dict[str, FormatCost]:
    return {cost.name: cost for cost in format_costs(dataset, [SampleKey(0, i) for i in indices])}


@pytest.mark.parametrize("prefix", [None, "{num_objects} objects:\n"])
def test_they_are_the_tokens_of_the_texts(tiny_folder: Path, prefix: str | None) -> None:
    dataset = make_dataset(tiny_folder, {}, answer={"max_pixels": 90_000, "prefix": prefix})
    samples = [dataset.plan(0, i) for i in range(4)]
    encoder = dataset.planners[0].encoder
    num_objects = sum(len(sample.result.scene.shapes) for sample in samples)
    found = costs(dataset, range(4))
    assert list(found) == list(OWN_FORMATS)
    for name, cost in found.items():
        profile = AnswerProfile(format=name, prefix=prefix)
        scenes = [sample.result.scene for sample in samples]
        texts = [write(scene.shapes, scene.captions, scene.canvas, profile) for scene in scenes]
        assert cost.num_objects == num_objects
        assert cost.tokens == pytest.approx(sum(len(encoder.answer_ids(text)) for text in texts) / num_objects)
        digits = sum(char.isdigit() for text in texts for char in text)
        assert cost.by_token[TokenKind.COORDINATE] * num_objects <= digits
        assert cost.is_used == (name == "object_map")
    assert len({round(cost.by_token[TokenKind.COORDINATE], 9) for cost in found.values()}) == 1


def test_a_box_and_a_polygon_of_twelve_corners(tiny_folder: Path, tmp_path: Path) -> None:
    objects = [{"desc": "cup", "bbox_2d": [20, 11, 70, 61]}] * 10 + [{"desc": "cup", "poly": RING}] * 10
    found = costs(make_dataset(tiny_folder, {}, train=records(tmp_path, {**photo(tmp_path), "objects": objects})))
    by_shape = {name: {kind: round(value, 1) for kind, value in cost.by_shape.items()} for name, cost in found.items()}
    assert by_shape == {
        "object_map": {GeometryKind.BOX: 37.2, GeometryKind.POLYGON: 142.2},
        "desc_first": {GeometryKind.BOX: 37.3, GeometryKind.POLYGON: 135.2},
        "qwen": {GeometryKind.BOX: 32.3, GeometryKind.POLYGON: 137.3},
        "qwen_compact": {GeometryKind.BOX: 25.4, GeometryKind.POLYGON: 110.4},
        "rows": {GeometryKind.BOX: 19.1, GeometryKind.POLYGON: 99.1},
    }


def test_samples_without_objects_tell_nothing(tiny_folder: Path, tmp_path: Path) -> None:
    empty = {**photo(tmp_path), "objects": [], "summary": "nothing"}
    assert costs(make_dataset(tiny_folder, {}, train=records(tmp_path, empty))) == {}
    assert (
        costs(make_dataset(tiny_folder, {}, mode="summary", train=records(tmp_path, photo(tmp_path, summary="x"))))
        == {}
    )


def test_the_formats_of_a_mixture_are_marked(tiny_folder: Path, tmp_path: Path) -> None:
    path = records(tmp_path, photo(tmp_path))
    sets = [{"name": name, "train": path, "answer": {"format": name}} for name in ("rows", "qwen")]
    dataset = make_dataset(tiny_folder, {}, train=(), val=(), mixture=sets)
    assert [name for name, cost in costs(dataset, range(2)).items() if cost.is_used] == ["qwen", "rows"]
