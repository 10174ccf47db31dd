"""The ablation: same scenes in all arms, sides by an oracle, and a command that goes on where it was."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import ablation
from ablation_report import Result, markdown
from dcap.answers.prediction import Prediction
from dcap.demo.relations import relation_captions
from dcap.demo.scenes import SceneRecords
from dcap.geometry.shapes import ShapeArray
from dcap.records.record import Record

SETTINGS = ablation.Settings(
    model="builtin:micro", train_scenes=12, test_scenes=2, steps=2, batch=4, learning_rate=1e-3, max_new_tokens=3
)
ARMS = tuple(ablation.PIPELINES)


@pytest.fixture(scope="module")
def scenes() -> list[Record]:
    return [scene for kind in (ablation.ONE, ablation.TWO) for scene in SceneRecords(replace(kind, num=20))]


def answer(record: Record, **changes: object) -> Prediction:
    """The truth of a scene as an answer."""
    return replace(Prediction(record.image, record.canvas, record.shapes, record.captions), **changes)  # type: ignore[arg-type]


def test_all_arms_take_the_same_scenes_in_the_same_order() -> None:
    keys = {}
    for arm in ARMS:
        settings = replace(SETTINGS, steps=4)
        rows = list(ablation.rows(settings.dataset(1, arm), settings, 1))
        keys[arm] = [[(sample.key.epoch, sample.key.index) for sample in row["samples"]] for row in rows]
        assert sorted(index for row in keys[arm][:3] for _, index in row) == list(range(12))
    assert all(found == keys["none"] for found in keys.values())
    assert keys["none"][3] != keys["none"][0]


@pytest.mark.parametrize(
    ("arm", "least", "most"), [("exact, true words", 0.0, 0.0), ("exact", 0.15, 0.35), ("none", 0, 0)]
)
def test_only_true_words_stay_true(arm: str, least: float, most: float) -> None:
    """Share of the samples in which a side is false."""
    dataset = replace(SETTINGS, train_scenes=100).dataset(1, arm)
    planned = [dataset.plan(0, index).result.scene for index in range(100)]
    wrong = [relation_captions(scene.shapes, scene.captions) != scene.captions for scene in planned]
    assert least <= np.mean(wrong) <= most


def test_a_side_is_judged_by_the_scene(scenes: list[Record]) -> None:
    record = scenes[-1]
    truth = record.captions[0]
    mirrored = truth.replace("left of", "RIGHT of").replace("right of", "left of").replace("RIGHT", "right")
    assert ablation.side_is_right(record, 0, truth) is True
    assert ablation.side_is_right(record, 0, mirrored) is False
    assert ablation.side_is_right(record, 0, "black hole left of the white dwarf") is None
    assert ablation.side_is_right(record, 0, truth.partition(" left")[0].partition(" right")[0]) is None


def test_true_answers_have_full_scores(scenes: list[Record]) -> None:
    found = ablation.result_of("none", 1, scenes, [answer(record) for record in scenes], 0.0)
    wanted = {"f1": 1.0, "mean_f1": 1.0, "false_positives": 0.0, "sides_right": 1.0, "sides_said": 40}
    assert vars(found) | wanted | {"names_right": 1.0, "parse_rate": 1.0} == vars(found)


def test_each_fault_of_answers_is_seen(scenes: list[Record]) -> None:
    """One box more on each scene; mirrored words; and captions of something else."""
    more = ShapeArray.from_objects([{"bbox_2d": [0, 0, 2, 2]}])
    answers = [
        answer(r, shapes=ShapeArray.concatenate([r.shapes, more]), captions=(*r.captions, "dot")) for r in scenes
    ]
    assert ablation.result_of("none", 1, scenes, answers, 0.0).false_positives == 1.0
    right_sides = np.mean([" right of " in caption for record in scenes[20:] for caption in record.captions])
    sides = [answer(r, captions=tuple(c.replace(" left ", " right ") for c in r.captions)) for r in scenes]
    assert ablation.result_of("none", 1, scenes, sides, 0.0).sides_right == right_sides
    others = ablation.result_of("none", 1, scenes, [answer(r, captions=("cup",) * len(r.shapes)) for r in scenes], 0.0)
    assert (others.names_right, others.sides_said) == (0.0, 0)


def command(folder: Path, **changes: object) -> list[str]:
    given = {**asdict(SETTINGS), **changes}
    return [
        str(folder),
        "--seeds",
        "1",
        *(word for k, v in given.items() for word in (f"--{k.replace('_', '-')}", str(v))),
    ]


def test_a_killed_command_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained, begun, arms = ablation.trained, [], ("none", "labels by hand", "exact, true words")
    monkeypatch.setattr(ablation, "PIPELINES", {arm: ablation.PIPELINES[arm] for arm in arms})

    def counted(settings: ablation.Settings, seed: int, arm: str) -> object:
        begun.append(arm)
        if len(begun) == 2:
            raise KeyboardInterrupt
        return trained(settings, seed, arm)

    monkeypatch.setattr(ablation, "trained", counted)
    with pytest.raises(KeyboardInterrupt):
        ablation.main(command(tmp_path))
    assert not (tmp_path / "table.md").exists()
    ablation.main(command(tmp_path))
    assert begun == [*arms[:2], *arms[1:]]
    results = [Result(**json.loads(path.read_text())) for path in tmp_path.glob("*/result.json")]
    assert {result.arm for result in results} == set(arms)
    assert (tmp_path / "table.md").read_text() == markdown(results, arms)
    with Image.open(tmp_path / "plot.png") as plot:
        assert plot.width == 900
    with pytest.raises(SystemExit, match=r"must hold runs of these settings.* Name another folder"):
        ablation.main(command(tmp_path, steps=3))


def test_a_row_has_mean_and_spread() -> None:
    values = {"mean_f1": 0.5, "false_positives": 0.0, "sides_right": 1.0, "sides_said": 9, "names_right": 1.0}
    results = [Result("exact", seed, f1, parse_rate=1.0, seconds=1.0, **values) for seed, f1 in ((1, 0.5), (2, 0.9))]
    assert "| exact | 0.70 (0.50 to 0.90) | 0.50 (0.50 to 0.50) | 0.00 " in markdown(results, ["exact"])
