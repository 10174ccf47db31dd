"""Validation by answers: what is asked, how it is scored, and that training does not notice."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from dcap.answers.profile import AnswerProfile
from dcap.core.errors import ConfigError
from dcap.data.config import DataConfig, TilesConfig
from dcap.data.dataset import DenseCaptionDataset
from dcap.data.epoch import EpochRules, plan_epoch
from dcap.model.config import AdapterConfig
from dcap.model.generation import Generated, GenerationCounts, Prompt
from dcap.train import eval_generate, loop
from dcap.train.config import EvalGenerateConfig, RunConfig
from dcap.train.eval_generate import samples_to_answer, validate_by_answers
from dcap.train.loop import train
from dcap.train.step import validate
from support.batches import fake_sample, packed
from support.training_runs import assert_same_run, metrics, run_standard, standard

SMALL = EvalGenerateConfig(batch_size=2, max_new_tokens=4)
RULES = EpochRules(1, 1)


def dataset(file: Path, **data: Any) -> DenseCaptionDataset:
    answer = AnswerProfile(min_pixels=4096, max_pixels=8192)
    return DenseCaptionDataset(
        DataConfig(train=str(file), val=str(file), answer=answer, **data), "val", "builtin:micro"
    )


def many(file: Path, folder: Path, count: int, summaries: Sequence[int] = ()) -> Path:
    """Return a file of `count` records of the photos, some with a summary."""
    records = [json.loads(line) for line in file.read_text().splitlines()]
    rows = [records[k % 4] | ({"summary": "a thing"} if k in summaries else {}) for k in range(count)]
    path = folder / "many.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize(
    ("samples", "chosen"), [(1, [0]), (4, [0, 2, 5, 7]), (9, [0, 1, 2, 3, 4, 5, 6, 7, 8]), (50, list(range(10)))]
)
def test_samples_are_spread_over_the_validation_set(
    photo_file: Path, tmp_path: Path, samples: int, chosen: list[int]
) -> None:
    found = dataset(many(photo_file, tmp_path, 10))
    plan = plan_epoch(found, 0, RULES)
    assert samples_to_answer(found, plan, EvalGenerateConfig(samples=samples)).tolist() == chosen


def test_summaries_are_not_asked_for(photo_file: Path, tmp_path: Path) -> None:
    file = many(photo_file, tmp_path, 6, summaries=(0, 2, 3))
    found = dataset(file, mode="mixed", summary_ratio=1.0)
    assert samples_to_answer(found, plan_epoch(found, 0, RULES), EvalGenerateConfig()).tolist() == [1, 4, 5]
    found = dataset(many(photo_file, tmp_path, 2, summaries=(0, 1)), mode="summary")
    with pytest.raises(ConfigError, match=r"training\.eval_generate must be null .*: data\.mode is summary"):
        samples_to_answer(found, plan_epoch(found, 0, RULES), EvalGenerateConfig())


class Oracle:
    """Answers the photos with given texts, by the words of their prompts' images."""

    def __init__(self, texts: dict[int, tuple[str, bool]]) -> None:
        self.texts = texts
        self.counts = GenerationCounts()
        self.asked: list[Prompt] = []

    def generate(self, prompts: Sequence[Prompt], batch_size: int) -> list[Generated]:
        self.asked += prompts
        answers = [Generated(*self._answer(prompt)) for prompt in prompts]
        self.counts = replace(self.counts, tokens=self.counts.tokens + sum(a.num_tokens for a in answers))
        return answers

    def _answer(self, prompt: Prompt) -> tuple[str, tuple[int, ...], bool]:
        assert prompt.pixel_values is not None
        text, finished = self.texts[round(float(prompt.pixel_values.sum()))]
        return text, (0,) * 10, finished


@pytest.fixture
def oracle(photo_file: Path, monkeypatch: pytest.MonkeyPatch) -> Oracle:
    """The first photo is answered with the truth, the second with its object twice, the others with nothing or half."""
    found = dataset(photo_file)
    samples = [found[k] for k in range(4)]
    twice = samples[1].answer[:-1] + ", " + samples[1].answer[1:].replace("object_1", "object_2")
    texts = [(samples[0].answer, True), (twice, True), ("{}", True), (samples[3].answer[:-9], False)]
    sums = [round(float(s.pixel_values.sum())) for s in samples if s.pixel_values is not None]
    made = Oracle(dict(zip(sums, texts, strict=True)))
    monkeypatch.setattr(eval_generate, "Generator", lambda *_: made)
    return made


def check(found: dict[str, float] | None) -> None:
    assert found is not None
    assert found.pop("eval/generate_s") > 0.0
    # 2 of 4 objects are found by 3 predictions; one of these repeats another one.
    f1 = 2 * (2 / 3) * (2 / 4) / (2 / 3 + 2 / 4)
    assert found == pytest.approx(
        {"eval/f1": f1, "eval/f1_75": f1, "eval/parse_rate": 0.75, "eval/repeats": 1 / 3, "eval/answer_tokens": 10.0}
    )


def test_answers_are_scored_against_the_records(make_learner: Any, photo_file: Path, oracle: Oracle) -> None:
    found = dataset(photo_file)
    check(validate_by_answers(make_learner(), found, range(4), SMALL))
    sample = found[2]
    assert oracle.asked[2].input_ids.tolist() == sample.input_ids[sample.labels == -100].tolist()
    assert oracle.asked[2].grid_thw == sample.grid_thw


def test_two_ranks_share_the_samples(
    make_learner: Any, photo_file: Path, oracle: Oracle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each rank in turn; what it would gather is kept, and the second one finds it."""
    learner, kept = make_learner(), list[list[Any]]()
    for rank in (0, 1):
        fake = SimpleNamespace(process_index=rank, num_processes=2, device=torch.device("cpu"))
        fake.unwrap_model, fake.reduce = learner.accelerator.unwrap_model, learner.accelerator.reduce
        mine: list[Any] = []
        oracle.counts = GenerationCounts()

        def gather(items: list[Any], rank: int = rank, mine: list[Any] = mine) -> list[Any]:
            mine.extend(items)
            return items + (kept[0][len(mine) - 1 :][:1] if rank else [])

        monkeypatch.setattr(eval_generate, "gather_object", gather)
        result = validate_by_answers(replace(learner, accelerator=fake), dataset(photo_file), range(4), SMALL)
        kept.append(mine)
    assert len(oracle.asked) == 4
    check(result)


def test_a_stop_breaks_it_off(make_learner: Any, photo_file: Path, oracle: Oracle) -> None:
    asked = iter([False, True])
    small = EvalGenerateConfig(batch_size=1)
    places = [0, 1, 2, 3, 0]
    assert validate_by_answers(make_learner(), dataset(photo_file), places, small, lambda: next(asked)) is None
    assert len(oracle.asked) == 4, "the second group was not begun"


def test_a_bad_image_is_left_out_where_that_is_wanted(
    make_learner: Any, photo_file: Path, tmp_path: Path, oracle: Oracle
) -> None:
    records = [json.loads(line) for line in photo_file.read_text().splitlines()]
    image = Path(records[0]["images"][0]).read_bytes()
    (tmp_path / "broken.png").write_bytes(image[: len(image) // 2])
    records.append(records[0] | {"images": [str(tmp_path / "broken.png")]})
    file = tmp_path / "five.jsonl"
    file.write_text("".join(json.dumps(record) + "\n" for record in records))
    check(validate_by_answers(make_learner(), dataset(file, on_bad_record="skip"), range(5), SMALL))


def test_a_tile_is_scored_against_its_own_objects(
    make_learner: Any, photo_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = min(json.loads(line)["width"] for line in photo_file.read_text().splitlines()) - 8
    found = dataset(photo_file, tiles=TilesConfig(max(size, 64), min_coverage=0.0))
    assert len(found) > 4
    samples = [found[k] for k in range(len(found))]
    sums = [round(float(s.pixel_values.sum())) for s in samples if s.pixel_values is not None]
    texts = {key: (sample.answer, True) for key, sample in zip(sums, samples, strict=True)}
    monkeypatch.setattr(eval_generate, "Generator", lambda *_: Oracle(texts))
    scores = validate_by_answers(make_learner(), found, range(len(found)), SMALL)
    assert scores is not None
    assert scores["eval/f1_75"] == 1.0


@pytest.mark.parametrize(("dtype", "kind"), [("float32", "lora"), ("bfloat16", "lora"), ("bfloat16", "full")])
def test_model_is_left_as_it_was(make_learner: Any, photo_file: Path, dtype: str, kind: Any) -> None:
    learner = make_learner(model={"dtype": dtype, "adapter": AdapterConfig(type=kind, rank=2)})
    batches = [packed([fake_sample(51, answer=4), fake_sample(52, images=((4, 8),))])]
    before, random_state = validate(learner, batches), torch.get_rng_state()
    settings = learner.bare_module.model.config.to_dict()
    found = validate_by_answers(learner, dataset(photo_file), [0, 1, 2], SMALL)
    assert found is not None
    assert found["eval/answer_tokens"] == 4.0
    assert (found["eval/f1"], found["eval/parse_rate"]) == (0.0, 0.0), "it is untrained"
    assert validate(learner, batches) == before
    assert torch.equal(torch.get_rng_state(), random_state)
    assert learner.bare_module.model.config.to_dict() == settings


def test_training_does_not_notice(
    reference: dict[str, Any], run_config: Callable[..., RunConfig], photo_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The same bytes with and without answers; the best checkpoint is chosen by them."""
    wanted = run_standard(reference, run_config, photo_file)
    config = standard(run_config, photo_file, eval_generate={"samples": 3, "max_new_tokens": 3, "every": 2})
    caplog.set_level("INFO", "dcap")
    train(config)
    assert_same_run(config, wanted)
    answered = [line["step"] for line in metrics(config) if "eval/f1" in line]
    assert answered == [5], "the first validation is passed over, the last one never"
    assert "the model answers 3 validation samples" in caplog.text


def test_answers_pick_the_best_checkpoint(
    run_config: Callable[..., RunConfig], photo_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = iter([0.25, 0.75, 0.5])
    monkeypatch.setattr(loop, "validate_by_answers", lambda *_: {"eval/f1": next(values)})
    config = run_config(
        data={"val": str(photo_file)},
        training={"max_steps": 3, "eval_steps": 1, "best_metric": "eval/f1", "eval_generate": {}},
    )
    state = train(config)
    assert (state.best_value, state.best_step) == (0.75, 2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"eval_generate": {}}, "training.eval_generate must be null where data.val names no file"),
        ({"eval_generate": {"every": 0}}, "training.eval_generate.every must be at least 1, not 0"),
        ({"eval_generate": {"sample": 3}}, "sample is not a field of training.eval_generate; did you mean samples"),
        ({"eval_generate": 3}, "training.eval_generate must be a section of keys, not 3"),
    ],
)
def test_config_that_cannot_work(run_config: Callable[..., RunConfig], changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        run_config(training=changes)
