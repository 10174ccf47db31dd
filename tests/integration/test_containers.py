"""One data set in every kind of file: the same samples, whatever holds the records and the pictures."""

from __future__ import annotations

import gzip
import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zstandard
from PIL import Image

from dcap.audit.preview import load_preview
from dcap.audit.replay import Replay
from dcap.cli.__main__ import main
from dcap.data.dataset import DenseCaptionDataset
from dcap.data.lengths import sample_sizes
from dcap.data.sample import SampleKey
from dcap.records.files.opening import resolve_data
from support.container_cases import write_parquet, write_tar
from support.dataset_cases import make_dataset
from support.epoch_cases import loader_of

PHOTOS = resolve_data("builtin:photos/train.jsonl")
ROWS = [json.loads(line) for line in PHOTOS.read_text("utf-8").splitlines()]
PACK = {".gz": gzip.compress, ".zst": zstandard.compress}


def compressed(folder: Path, ending: str) -> Path:
    shutil.copytree(PHOTOS.parent / "images", folder / "images")
    path = folder / f"photos.jsonl{ending}"
    path.write_bytes(PACK[ending](PHOTOS.read_bytes()))
    return path


def contained(row: dict[str, Any]) -> tuple[str, bytes, dict[str, Any]]:
    name = row["images"][0]
    return name, (PHOTOS.parent / name).read_bytes(), {key: value for key, value in row.items() if key != "images"}


def parquet(folder: Path) -> Path:
    rows = [{**row, "image": {"bytes": data, "path": name}} for name, data, row in map(contained, ROWS)]
    return write_parquet(folder / "photos.parquet", rows, row_group_size=2)


def tar(folder: Path) -> Path:
    parts = [(Path(name), data, json.dumps(row).encode()) for name, data, row in map(contained, ROWS)]
    pairs = (((str(name), data), (str(name.with_suffix(".json")), text)) for name, data, text in parts)
    return write_tar(folder / "photos.tar", (member for pair in pairs for member in pair))


WRITERS = {
    "gz": lambda folder: compressed(folder, ".gz"),
    "zst": lambda folder: compressed(folder, ".zst"),
    "parquet": parquet,
    "tar": tar,
}


@pytest.fixture(params=WRITERS)
def dataset(request: pytest.FixtureRequest, tmp_path: Path, micro_folder: Path) -> DenseCaptionDataset:
    path = WRITERS[request.param](tmp_path)
    return make_dataset(micro_folder, train=str(path), root=str(tmp_path))


@pytest.fixture(scope="module")
def plain(micro_folder: Path) -> DenseCaptionDataset:
    return make_dataset(micro_folder)


def test_samples_and_pictures_are_those_of_the_plain_file(
    dataset: DenseCaptionDataset, plain: DenseCaptionDataset, tmp_path: Path
) -> None:
    assert np.array_equal(sample_sizes(dataset, 1).tokens, sample_sizes(plain, 1).tokens)
    for i in range(len(plain)):
        one, other = dataset[SampleKey(1, i)], plain[SampleKey(1, i)]
        assert np.array_equal(one.input_ids, other.input_ids)
        assert np.array_equal(one.pixel_values, other.pixel_values)
        assert one.dataset == "photos"
    assert np.array_equal(load_preview(dataset, 0, 1).image, load_preview(plain, 0, 1).image)
    Replay.of_sample(dataset, SampleKey(1, 2)).write(tmp_path / "replay")
    again = Replay.read(tmp_path / "replay" / "plan.json")
    assert np.array_equal(again.pixels(), plain[SampleKey(1, 2)].scene.image)


def test_workers_read_shards(tmp_path: Path, micro_folder: Path) -> None:
    (tmp_path / "shards").mkdir()
    tar(tmp_path / "shards")
    parquet(tmp_path / "shards")
    made = make_dataset(micro_folder, train=str(tmp_path / "shards"), num_workers=2)
    batches = list(loader_of(made))
    info = [sample for batch in batches for sample in batch["samples"]]
    assert len({sample.sample_id for sample in info}) == 2 * len(ROWS)


def test_a_bad_picture_in_a_shard_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = io.BytesIO()
    Image.new("RGB", (9, 9)).save(out, "PNG")
    small = json.dumps({**ROWS[0], "width": 8, "height": 8, "objects": []}).encode()
    path = write_tar(tmp_path / "a.tar", [("0.png", out.getvalue()), ("0.json", small)])
    assert main(["validate", str(path)]) == 1
    said = capsys.readouterr().out
    assert "a.tar:1" in said
    assert "must be the size of 0.png in a.tar as displayed, 9 x 9, not 8 x 8" in said
