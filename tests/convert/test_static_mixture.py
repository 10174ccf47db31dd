from __future__ import annotations

import io
import json
import tarfile
from collections import Counter
from pathlib import Path

import pytest

from dcap.convert.static_mixture import Share, shares, write_epoch
from dcap.core.config import build
from dcap.core.errors import RecordError
from dcap.data.config import DataConfig
from dcap.data.mixture import read_mixture
from dcap.records.files.jsonl import JsonlFile
from dcap.records.files.opening import open_records
from support.dataset_cases import photo, records


@pytest.fixture
def data(tmp_path: Path) -> DataConfig:
    (tmp_path / "b").mkdir()
    a = records(tmp_path, *[photo(tmp_path, f"a{i}.png", metadata={"k": i}) for i in range(4)])
    b = records(tmp_path / "b", *[{**photo(tmp_path / "b", f"b{i}.png"), "own": "kept"} for i in range(3)])
    return build(DataConfig, {"mixture": [{"name": "walls", "train": a}, {"name": "floors", "train": b, "ratio": 1.5}]})


def test_shares_say_what_an_epoch_takes(data: DataConfig) -> None:
    mixture = read_mixture(data, "train")[1]
    walls, floors = shares(mixture, 0, 0)
    assert walls == Share("walls", "target", 4, 4, 4)
    assert (floors.name, floors.rule, floors.records, floors.samples) == ("floors", "ratio 1.5", 3, 6)
    assert floors.distinct == len({int(i) for i in mixture.samples(0, 0).index if i >= 4})


def test_the_written_file_holds_the_epoch(data: DataConfig, tmp_path: Path) -> None:
    checked, mixture = read_mixture(data, "train")
    out = tmp_path / "b" / "mixed.jsonl"
    assert write_epoch(checked, mixture, 0, 2, out) == 10
    written = list(JsonlFile(out))
    wanted = Counter(checked[int(i)].origin.file for i in mixture.samples(0, 2).index)
    names = Counter(record.metadata["dataset"] for record in written)
    assert [names["walls"], names["floors"]] == list(wanted.values())
    assert {record.metadata.get("k") for record in written} == {0, 1, 2, 3, None}
    for record in written:
        assert (out.parent / record.image).is_file()
        assert Path(record.image).is_absolute() == (record.metadata["dataset"] == "walls")
        assert record.extra == ({"own": "kept"} if record.metadata["dataset"] == "floors" else {})


def test_the_file_is_the_same_each_time_and_another_for_other_epochs(data: DataConfig, tmp_path: Path) -> None:
    checked, mixture = read_mixture(data, "train")
    texts = []
    for epoch in (1, 1, 2):
        write_epoch(checked, mixture, 0, epoch, tmp_path / "out" / "m.jsonl")
        texts.append((tmp_path / "out" / "m.jsonl").read_text("utf-8"))
    assert texts[0] == texts[1] != texts[2]
    order = [json.loads(line)["images"] for line in texts[0].splitlines()]
    assert order != sorted(order)


def test_a_failure_leaves_the_old_file_and_no_scratch(data: DataConfig, tmp_path: Path) -> None:
    checked, mixture = read_mixture(data, "train")
    out = tmp_path / "m.jsonl"
    out.write_text("old")
    with Path(data.mixture[0].train).open("a") as file:  # type: ignore[arg-type]
        file.write("\n")
    with pytest.raises(RecordError, match="must not change while it is in use"):
        write_epoch(checked, mixture, 0, 0, out)
    assert out.read_text() == "old"
    assert not list(tmp_path.glob(".m.jsonl*"))


def test_an_image_inside_a_shard_is_written_beside(tmp_path: Path) -> None:
    picture, text = photo(tmp_path), io.BytesIO()
    with tarfile.open(tmp_path / "s.tar", "w") as tar:
        tar.add(tmp_path / "a.png", "0.png")
        text.write(json.dumps({k: v for k, v in picture.items() if k != "images"}).encode())
        member = tarfile.TarInfo("0.json")
        member.size, _ = text.tell(), text.seek(0)
        tar.addfile(member, text)
    data = build(DataConfig, {"mixture": [{"name": "shards", "train": str(tmp_path / "s.tar")}]})
    checked, mixture = read_mixture(data, "train")
    assert write_epoch(checked, mixture, 0, 0, tmp_path / "m.jsonl") == 1
    (image,) = (tmp_path / "m-images").iterdir()
    assert image.read_bytes() == (tmp_path / "a.png").read_bytes()
    (record,) = open_records(tmp_path / "m.jsonl")
    assert record.image == f"m-images/{image.name}"
