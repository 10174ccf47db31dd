from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from dcap.audit.suspects import Suspects, find_suspects, suspect_entry, suspect_tile
from dcap.core.config import build
from dcap.core.errors import RecordError
from dcap.data.config import DataConfig
from dcap.data.dataset import DenseCaptionDataset
from dcap.data.sample_losses import ObjectLoss, SampleLoss, TokenLoss
from dcap.view.page import samples_page
from support.dataset_cases import photo, records

GOOD = TokenLoss(4, 0.4)


@pytest.fixture
def dataset(tmp_path: Path) -> DenseCaptionDataset:
    """Two data sets of a mixture: two photos of a file, and a built-in one."""
    file = records(tmp_path, photo(tmp_path), photo(tmp_path, "b.png"))
    tree = {"mixture": [{"name": "own", "train": file}, {"name": "photos", "train": "builtin:photos/train.jsonl"}]}
    return DenseCaptionDataset(build(DataConfig, tree), "train", None)


def a_loss(dataset: DenseCaptionDataset, index: int, wrong: dict[int, tuple[float, float]]) -> SampleLoss:
    """All objects of a record with a low loss, but for some."""
    objects = []
    for number in range(1, len(dataset.records[index].captions) + 1):
        caption, coordinate = wrong.get(number, (0.4 + number / 1000, 0.4 + number / 1000))
        objects.append(ObjectLoss(number, "bbox_2d", TokenLoss(4, caption), TokenLoss(4, coordinate)))
    return SampleLoss(3, index, 0, dataset.records[index].name, GOOD, GOOD, GOOD, tuple(objects))


@pytest.fixture
def suspects(dataset: DenseCaptionDataset, tmp_path: Path) -> Suspects:
    wrong: dict[int, dict[int, tuple[float, float]]] = {0: {7: (9.0, 0.2)}, 1: {2: (0.1, 8.0)}}
    path = tmp_path / "epoch"
    path.write_bytes(b"".join(a_loss(dataset, i, wrong.get(i, {})).to_line() for i in range(len(dataset))))
    return find_suspects(dataset, [(4, path)], 2, "run/config.yaml")


def test_the_wrong_ones_come_first_with_file_and_line(
    dataset: DenseCaptionDataset, suspects: Suspects, tmp_path: Path
) -> None:
    tree = suspects.to_dict()
    found = [(each["file"], each["line"], each["object"], each["desc"]) for each in tree["objects"]]
    assert found == [(str(tmp_path / "r.jsonl"), 1, 7, "thing 6"), (str(tmp_path / "r.jsonl"), 2, 2, "thing 1")]
    assert tree["objects"][0]["loss"]["caption"] == {"mean": 2.25, "rank": pytest.approx(1 - 0.5 / 40)}
    assert tree["objects"][0]["loss"]["coordinate"]["rank"] < 0.1
    assert (tree["epochs"], tree["num_samples"]) == ([4], len(dataset))
    assert json.loads(json.dumps(tree)) == tree
    assert {each["epoch"] for each in tree["samples"]} == {4}


def test_the_tables_name_place_object_and_losses(suspects: Suspects, tmp_path: Path) -> None:
    objects, samples = suspects.grids()
    assert objects.title.endswith("of epoch 4")
    assert objects.rows[0] == ("line 1", "7", "thing 6", "2.25 (98.8%)", "0.05 (1.2%)")
    assert samples.headings == ("where", "image", "caption loss", "coordinate loss", "structure loss")
    assert len(samples.rows) == 2
    assert samples.notes[-1] == f"all of {tmp_path / 'r.jsonl'}"


def test_of_several_files_each_row_names_its_own(dataset: DenseCaptionDataset, tmp_path: Path) -> None:
    losses = [a_loss(dataset, i, {1: (9.0, 9.0)}) for i in range(len(dataset))]
    (tmp_path / "epoch").write_bytes(b"".join(loss.to_line() for loss in losses))
    objects, _ = find_suspects(dataset, [(0, tmp_path / "epoch")], len(dataset), "run/config.yaml").grids()
    assert {row[0].split(":")[0] for row in objects.rows} == {"r.jsonl", "train.jsonl"}
    assert "r.jsonl is " in objects.notes[-1]


def test_a_loss_that_is_not_finite_comes_first_and_is_said(dataset: DenseCaptionDataset, tmp_path: Path) -> None:
    broken = ObjectLoss(2, "bbox_2d", TokenLoss(4, 0.1), TokenLoss(4, None))
    losses = [a_loss(dataset, i, {1: (9.0, 9.0)}) for i in range(len(dataset))]
    losses[1] = msgspec.structs.replace(losses[1], coordinate=TokenLoss(4, None), objects=(broken,))
    (tmp_path / "epoch").write_bytes(b"".join(loss.to_line() for loss in losses))
    found = find_suspects(dataset, [(4, tmp_path / "epoch")], 2, "run/config.yaml")
    objects, samples = found.grids()
    assert (objects.rows[0][1], objects.rows[0][-1]) == ("2", "not finite")
    assert (samples.rows[0][0], samples.rows[0][-2]) == ("line 2", "not finite")
    assert samples.notes[1].startswith("1 sample has a loss that is not finite, which comes first")
    tree = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert tree["num_not_finite"] == 1
    assert tree["objects"][0]["loss"]["coordinate"] == {"mean": None, "rank": 1.0}
    assert "coordinate not finite" in found.objects[0].describe()


def test_each_record_is_drawn_once_with_its_suspects(dataset: DenseCaptionDataset, suspects: Suspects) -> None:
    shown = suspects.pictures()
    assert [each[0].index for each in shown[:2]] == [0, 1]
    assert len({each[0].index for each in shown}) == len(shown)
    tile = suspect_tile(dataset, shown[0], suspects.sources, 240)
    assert tile.title == "line 1  a.png"
    assert "7 thing 6: caption 2.25 (98.8%), coordinate 0.05 (1.2%)" in tile.notes
    entry = suspect_entry(dataset, shown[0], suspects.sources, suspects.replay)
    assert entry.panels[0].captions == ["thing 6"]
    assert len(entry.panels[1].captions) == 20
    command = "dcap replay --config run/config.yaml --epoch 4 --index 0 --draw 0 --out replay"
    assert entry.panels[0].notes[-1] == f"as the model saw it: {command}"
    assert "thing 6" in samples_page("suspects", "", [entry])


def test_only_what_is_suspicious_is_drawn(dataset: DenseCaptionDataset, suspects: Suspects) -> None:
    from dcap.view.draw import draw_shapes, scaled_to

    record = dataset.records[0]
    image, shapes = scaled_to(dataset.image(record), record.shapes, 240)
    wanted = draw_shapes(image, shapes.take(np.array([6])), ["thing 6"], numbers=[7])
    assert np.array_equal(suspect_tile(dataset, suspects.pictures()[0], suspects.sources, 240).image, wanted)


def with_first_record(tmp_path: Path, change: Any) -> None:
    lines = [json.loads(line) for line in (tmp_path / "r.jsonl").read_text().splitlines()]
    (tmp_path / "r.jsonl").write_text("".join(json.dumps(line) + "\n" for line in change(lines)))


def test_a_mended_record_is_shown_as_it_is_now(tmp_path: Path, dataset: DenseCaptionDataset) -> None:
    loss = a_loss(dataset, 0, {20: (9.0, 0.2)})
    (tmp_path / "epoch").write_bytes(loss.to_line())
    with_first_record(tmp_path, lambda lines: [{**lines[0], "objects": lines[0]["objects"][:3]}, *lines[1:]])
    again = DenseCaptionDataset(dataset.data, "train", None)
    suspects = find_suspects(again, [(0, tmp_path / "epoch")], 1, "config.yaml")
    (found,) = suspects.objects
    assert found.desc == "(no longer in the record)"
    assert suspect_tile(again, [found], suspects.sources, 240).image.shape == (160, 240, 3)


def test_records_that_moved_are_refused(tmp_path: Path, dataset: DenseCaptionDataset) -> None:
    count = len(dataset)
    losses = [a_loss(dataset, i, {}) for i in range(count)]
    with_first_record(tmp_path, lambda lines: lines[1:])
    again = DenseCaptionDataset(dataset.data, "train", None)
    for loss, message in ((losses[1], "record 1 of train must be r.jsonl:2"), (losses[-1], "and is missing")):
        (tmp_path / "epoch").write_bytes(loss.to_line())
        with pytest.raises(RecordError, match=message):
            find_suspects(again, [(0, tmp_path / "epoch")], 1, "config.yaml")


def test_a_summary_has_no_object(tmp_path: Path, dataset: DenseCaptionDataset) -> None:
    loss = SampleLoss(1, 0, 0, "r.jsonl:1", GOOD, TokenLoss(0, 0.0), GOOD, ())
    (tmp_path / "epoch").write_bytes(loss.to_line())
    found = find_suspects(dataset, [(0, tmp_path / "epoch")], 5, "config.yaml")
    (grid,) = found.grids()
    assert grid.rows == (("line 1", "a.png", "0.10 (50.0%)", "-", "0.10 (50.0%)"),)
    assert len(suspect_entry(dataset, found.pictures()[0], found.sources, found.replay).panels[0].captions) == 20
