"""The small model that ships with dcap: it describes scenes that are new to it."""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import load_file

from dcap.answers.profile import load_profile
from dcap.core.config import to_tree
from dcap.data.config import resolve_profile
from dcap.demo.models import BUILTIN_SCENES_MICRO, TRAINED_FOLDER, resolve_model
from dcap.evaluate.breakdown import by_kind
from dcap.evaluate.evaluation import evaluate
from dcap.infer.run import PredictOptions, predict
from dcap.train.config import load_run_config

ROOT = Path(__file__).parents[2]


def test_it_describes_scenes_that_are_new_to_it(tmp_path: Path) -> None:
    truth = "builtin:scenes?level=single&num=60&seed=77"
    pred = tmp_path / "pred.jsonl"
    predict(PredictOptions(model=BUILTIN_SCENES_MICRO, data=(truth,), out=pred))
    evaluation = evaluate([truth], str(pred))
    f1 = {group.name: group.at(0.5).f1 for group in by_kind(evaluation.counts)}
    assert f1["box"] >= 0.95
    assert min(f1["polygon"], f1["line"]) >= 0.7
    assert evaluation.total.equal_captions / evaluation.total.pairs >= 0.95


def test_its_files_are_small_and_not_pickled() -> None:
    assert sorted(path.name for path in TRAINED_FOLDER.iterdir()) == ["answer_profile.json", "model.safetensors"]
    assert (TRAINED_FOLDER / "model.safetensors").stat().st_size < 4 << 20
    shipped, random = (
        {name: tuple(value.shape) for name, value in load_file(folder / "model.safetensors").items()}
        for folder in (TRAINED_FOLDER, Path(resolve_model("builtin:micro")))
    )
    assert shipped == random


def test_the_quick_start_asks_as_the_model_was_trained() -> None:
    answer = load_profile(Path(resolve_model(BUILTIN_SCENES_MICRO))).answer
    config = load_run_config(ROOT / "configs" / "scenes.yaml", [])
    assert to_tree(resolve_profile(config.data).answer) == to_tree(answer)
