from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dcap.audit.preview import answer_objects
from dcap.audit.replay import Replay, find_sample
from dcap.core.errors import ConfigError, ImageError
from dcap.data.dataset import DenseCaptionDataset
from dcap.data.sample import SampleKey
from support.dataset_cases import make_dataset, photo, records


@pytest.fixture(scope="module")
def dataset(micro_folder: Path) -> DenseCaptionDataset:
    return make_dataset(micro_folder)


def test_a_file_gives_back_the_very_pixels(dataset: DenseCaptionDataset, tmp_path: Path) -> None:
    for epoch, index in ((0, 0), (1, 1), (5, 2)):
        sample = dataset[(epoch, index)]
        Replay.of_sample(dataset, SampleKey(epoch, index)).write(tmp_path)
        again = Replay.read(tmp_path / "plan.json")
        seen = answer_objects(dataset.plan(epoch, index), dataset.profile.answer)
        assert again.shapes == seen.shapes
        assert (again.captions, again.numbers, again.answer) == (seen.captions, seen.numbers, sample.answer)
        assert again.name == f"{dataset.records[index].origin} {dataset.records[index].image}, epoch {epoch}"
        assert np.array_equal(again.pixels(), sample.scene.image)
        with Image.open(tmp_path / "image.png") as image:
            assert np.array_equal(np.asarray(image), sample.scene.image)
        with Image.open(tmp_path / "overlay.png") as overlay:
            assert overlay.size == image.size
        assert (tmp_path / "answer.txt").read_text("utf-8") == sample.answer + "\n"


def test_what_is_no_replay(dataset: DenseCaptionDataset, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    with pytest.raises(ConfigError, match="plan must exist"):
        Replay.read(path)
    Replay.of_sample(dataset, SampleKey(0, 0)).write(tmp_path)
    good = json.loads(path.read_text())
    for name, value, message in (
        ("objects", [{"number": 1, "desc": "", "shape": {"poly": [1, 2]}}], "poly"),
        ("objects", [{"number": 1, "desc": "", "shape": {"bbox_2d": [0, 0, 1, 1e300]}}], "at most 1e"),
        ("answer", "\ud800", "surrogates"),
        ("answer", 3, "answer must be a string"),
        ("plan", {}, "must be given"),
    ):
        path.write_text(json.dumps({**good, name: value}))
        with pytest.raises(ConfigError, match=message):
            Replay.read(path)
    path.write_text("{")
    with pytest.raises(ConfigError, match=r"must be a plan\.json"):
        Replay.read(path)
    path.write_text(json.dumps({**good, "image": "none.jpg"}))
    with pytest.raises(ImageError, match=r"none\.jpg"):
        Replay.read(path).pixels()


def test_a_sixteen_bit_image_is_replayed_as_it_was_trained_on(micro_folder: Path, tmp_path: Path) -> None:
    item = photo(tmp_path)
    Image.fromarray(np.linspace(0, 4095, 120 * 80).reshape(80, 120).astype(np.uint16)).save(tmp_path / "a.png")
    made = Replay.of_sample(
        make_dataset(micro_folder, train=records(tmp_path, item), sixteen_bit="minmax"), SampleKey(0, 0)
    )
    assert made.pixels().max() > 200
    made.write(tmp_path / "out")
    assert np.array_equal(Replay.read(tmp_path / "out" / "plan.json").pixels(), made.pixels())


def test_a_conversation_has_nothing_to_replay(micro_folder: Path, tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "a?"}, {"role": "assistant", "content": "b"}]
    (tmp_path / "talk.jsonl").write_text(json.dumps({"messages": turns}) + "\n")
    mixture = [{"name": "talk", "train": str(tmp_path / "talk.jsonl"), "text": True}]
    dataset = make_dataset(micro_folder, train=(), val=(), mixture=mixture)
    with pytest.raises(ConfigError, match="that of a record with an image, and record 0 is a conversation"):
        find_sample(dataset, 0, 0)


def test_a_sample_is_found_by_epoch_record_and_draw(micro_folder: Path) -> None:
    photos = "builtin:photos/train.jsonl"
    mixture = [{"name": "twice", "train": photos, "weight": 2}, {"name": "half", "train": photos, "weight": 0.5}]
    dataset = make_dataset(micro_folder, train=(), val=(), mixture=mixture)
    count = len(dataset)
    assert find_sample(dataset, 3, 0, 1) == SampleKey(3, 0, draw=1)
    left_out = min(set(range(count)) - set(dataset.samples(0).index.tolist()))
    for epoch, index, draw, message in (
        (-1, 0, 0, "epoch must be at least 0, not -1"),
        (0, count, 0, f"index must be within 0..{count - 1}, the records of train, not {count}"),
        (0, 0, 2, "draw must be below 2, the number of samples that epoch 0 takes of record 0, not 2"),
        (0, left_out, 0, f"index must be that of a record that epoch 0 takes, not {left_out}"),
    ):
        with pytest.raises(ConfigError, match=message):
            find_sample(dataset, epoch, index, draw)
