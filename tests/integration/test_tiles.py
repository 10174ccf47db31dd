"""``data.tiles``: each image is its tiles in all that plans, trains, checks and shows samples."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dcap.audit.auditing import audit
from dcap.audit.inspection import inspect_epoch
from dcap.audit.replay import Replay, find_sample
from dcap.augment.fit import fit_canvas
from dcap.augment.rendering import resize_for_model
from dcap.cli.__main__ import main
from dcap.convert.static_mixture import write_epoch
from dcap.core.config import build
from dcap.core.errors import ConfigError, RecordError
from dcap.data.config import DataConfig
from dcap.data.dataset import DenseCaptionDataset
from dcap.data.encode import load_tokenizer
from dcap.data.epoch import EpochRules, plan_epoch
from dcap.data.lengths import sample_sizes
from dcap.data.mixture import read_mixture
from dcap.data.sample import SampleKey
from dcap.geometry import ShapeArray, Tiling, polygon_iou
from support.dataset_cases import AUGMENTATION, data_config, make_dataset

TILES = {"size": 128, "overlap": 0.25, "min_coverage": 0.2}
OBJECTS = [
    {"desc": "field", "bbox_2d": [5, 5, 295, 195]},
    {"desc": "house", "bbox_2d": [20, 20, 50, 44]},
    {"desc": "pond", "poly": [100, 60, 160, 60, 150, 110, 110, 100]},
    {"desc": "path", "line": [0, 150, 299, 160]},
    {"desc": "tree", "bbox_2d": [121, 150, 131, 160]},
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A large image of six tiles, and a small one that is its own tile."""
    folder = tmp_path_factory.mktemp("tiles")
    rng = np.random.default_rng(0)
    lines = []
    for name, (width, height), objects in (("large", (300, 200), OBJECTS), ("small", (90, 70), OBJECTS[1:2])):
        Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8)).save(folder / f"{name}.png")
        lines.append({"images": [f"{name}.png"], "width": width, "height": height, "objects": objects})
    (folder / "r.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def dataset_of(micro_folder: Path, folder: Path, augmentation: Any = None, **fields: Any) -> DenseCaptionDataset:
    files = {"train": str(folder / "r.jsonl"), "val": (), "tiles": TILES, **fields}
    return make_dataset(micro_folder, augmentation or {}, **files)


def test_each_tile_is_a_sample_with_its_objects(micro_folder: Path, folder: Path) -> None:
    dataset = dataset_of(micro_folder, folder)
    assert len(dataset) == 7
    assert dataset.profile.tiles == Tiling(128, 0.25)  # prediction asks about the same
    assert dataset.records.summary() == "2 records in 7 tiles"
    names = [dataset[k].sample_id for k in range(7)]
    assert names[:2] == ["r.jsonl:1 128x128 at (0, 0)", "r.jsonl:1 128x128 at (86, 0)"]
    assert names[6] == "r.jsonl:2"  # an image that is no larger is not cut
    captions = [set(dataset.plan(0, k).result.scene.captions) for k in range(7)]
    # All of a tile is field. The second tile shows less than a fifth of no object; of the tree, 7 columns are in the
    # tile below the first one.
    assert captions[:4] == [{"field", "house", "pond"}, {"field", "pond"}, {"field"}, {"field", "pond", "path", "tree"}]
    assert dataset.plan(0, 0).result.telemetry.num_objects == 3
    assert dataset.plan(0, 0).result.telemetry.dropped == {}


def test_a_tile_shows_what_prediction_shows_of_it(micro_folder: Path, folder: Path) -> None:
    dataset, answer = dataset_of(micro_folder, folder), data_config().answer
    record = dataset.records[4]
    assert record.window is not None
    x, y, window = record.window.x, record.window.y, record.window.canvas
    tile = dataset.image(record)[y : y + window.height, x : x + window.width]
    seen = fit_canvas(window, answer.min_pixels, answer.max_pixels)
    assert np.array_equal(dataset[4].scene.image, resize_for_model(np.ascontiguousarray(tile), seen))
    house = ShapeArray.from_objects([{"bbox_2d": [20, 20, 50, 44]}])
    first = dataset[0].scene
    on_image = ShapeArray.trusted(first.shapes.xy * 128 / first.canvas.width, *_layout(first.shapes))
    assert polygon_iou(house, on_image).max() == pytest.approx(1.0)


def _layout(shapes: ShapeArray) -> tuple[Any, Any]:
    return np.array(shapes.offsets), np.array(shapes.kinds)


@pytest.mark.parametrize("augmentation", [{}, AUGMENTATION])
def test_lengths_are_known_without_pixels(micro_folder: Path, folder: Path, augmentation: dict[str, Any]) -> None:
    dataset = dataset_of(micro_folder, folder, augmentation)
    sizes = sample_sizes(dataset, 1)
    samples = [dataset[1, k] for k in range(len(dataset))]
    assert sizes.tokens.tolist() == [len(sample.input_ids) for sample in samples]
    plan = plan_epoch(dataset, 1, EpochRules())
    assert sorted(key.index for step in plan.steps for row in step.rows for key in row) == list(range(7))


def test_a_sample_is_a_pure_function_of_its_key(micro_folder: Path, folder: Path) -> None:
    one, other = (dataset_of(micro_folder, folder, AUGMENTATION)[3, 2] for _ in range(2))
    assert np.array_equal(one.input_ids, other.input_ids)
    assert np.array_equal(one.scene.image, other.scene.image)


def test_a_replay_names_its_window_and_gives_the_pixels(micro_folder: Path, folder: Path, tmp_path: Path) -> None:
    dataset = dataset_of(micro_folder, folder, AUGMENTATION)
    Replay.of_sample(dataset, find_sample(dataset, 2, 3)).write(tmp_path)
    again = Replay.read(tmp_path / "plan.json")
    assert again.name == "r.jsonl:1 128x128 at (0, 72) large.png, epoch 2"
    assert np.array_equal(again.pixels(), dataset[2, 3].scene.image)
    assert again.answer == dataset[2, 3].answer
    with pytest.raises(ConfigError, match=r"index must be within 0\.\.6, the tiles of train, not 7"):
        find_sample(dataset, 0, 7)


def test_the_audit_passes_and_looks_at_each_record_once(micro_folder: Path, folder: Path) -> None:
    data = data_config(train=str(folder / "r.jsonl"), val=(), tiles=TILES)
    results = {result.name: result for result in audit(data, load_tokenizer(str(micro_folder)))}
    assert {result.status for result in results.values()} <= {"pass", "-"}, results
    assert (results["images"].checked, results["tokens"].checked) == (2, 7)


def test_preview_and_inspection_name_the_tiles(micro_folder: Path, folder: Path, tmp_path: Path) -> None:
    tiles = "data.tiles={size: 128, overlap: 0.25}"
    assert main(["preview", str(folder / "r.jsonl"), tiles, "--num-samples", "2", "--out", str(tmp_path)]) == 0
    page = (tmp_path / "index.html").read_text("utf-8")
    assert "2 of 7 tiles of train" in page
    assert "line 1 128x128 at (0, 0)" in page
    report = inspect_epoch(dataset_of(micro_folder, folder), 0, EpochRules(), num_samples=7)
    assert sum("128x128 at" in sample.title for sample in report.samples) == 6


def test_tiles_of_a_mixture_count_as_records(folder: Path) -> None:
    file = str(folder / "r.jsonl")
    entries = [{"name": "a", "train": file}, {"name": "b", "train": file, "ratio": 0.5}]
    records, mixture = read_mixture(build(DataConfig, {"mixture": entries, "tiles": TILES}), "train")
    assert [len(part) for part in mixture.parts] == [7, 7]
    assert [records.tile_of(k) for k in range(8)] == [0, 1, 2, 3, 4, 5, 0, 0]
    assert len(mixture.samples(0, 0)) == 7 + 4
    with pytest.raises(ConfigError, match="tiles must be null where an epoch is written as records"):
        write_epoch(records, mixture, 0, 0, folder / "out.jsonl")


def test_without_tiles_a_sample_is_as_it_was(micro_folder: Path, folder: Path) -> None:
    whole = dataset_of(micro_folder, folder, tiles=None)
    alone = dataset_of(micro_folder, folder, tiles={"size": 300})
    assert len(whole) == len(alone) == 2
    assert alone.records[0] == whole.records[0]
    assert Replay.of_sample(alone, SampleKey(0, 0)).to_json() == Replay.of_sample(whole, SampleKey(0, 0)).to_json()


def test_too_many_tiles_are_a_bad_record(micro_folder: Path, folder: Path) -> None:
    line = {"images": ["large.png"], "width": 4160, "height": 4096, "objects": []}
    (folder / "huge.jsonl").write_text(json.dumps(line) + "\n" + (folder / "r.jsonl").read_text())
    fields = {"train": str(folder / "huge.jsonl"), "check_images": False, "tiles": {"size": 64, "overlap": 0.0}}
    with pytest.raises(RecordError, match=r"huge\.jsonl:1: width, height must need at most 4096 tiles, not 4160"):
        dataset_of(micro_folder, folder, **fields)
    assert len(dataset_of(micro_folder, folder, on_bad_record="skip", **fields).records.bad) == 1


@pytest.mark.parametrize(
    ("tree", "text"),
    [
        ({"tiles": {"size": 32}}, r"data\.tiles\.size must be a whole number of at least 64 pixels"),
        ({"tiles": {"overlap": 1.0}}, r"data\.tiles\.overlap must be a share within 0\.\.0\.9"),
        ({"tiles": {"min_coverage": 2.0}}, r"data\.tiles\.min_coverage must be within 0\.\.1"),
        ({"tiles": {}, "mode": "mixed"}, "mode must be dense where tiles are given, not mixed"),
        ({"tiles": {"sizes": 64}}, "sizes is not a field"),
    ],
)
def test_what_tiles_cannot_be(tree: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        build(DataConfig, {"train": "a.jsonl", **tree}, "data")
