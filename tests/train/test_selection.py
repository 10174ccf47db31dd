from __future__ import annotations

import pytest

from dcap.core.errors import ConfigError, TrainingError
from dcap.train.config import EvalGenerateConfig, TrainingConfig
from dcap.train.state import check_metric, metric_value


@pytest.mark.parametrize(
    ("metric", "datasets"),
    [
        (None, ()),
        ("eval/loss", ()),
        ("eval/token_accuracy", ("a",)),
        ("eval/towers/loss", None),
        ("eval/towers/loss", ("poles", "towers")),
        ("eval/a/b/loss", ("a/b", "c")),
    ],
)
def test_metrics_that_a_validation_has(metric: str | None, datasets: tuple[str, ...] | None) -> None:
    check_metric(TrainingConfig("unused", best_metric=metric), datasets)


@pytest.mark.parametrize(
    ("metric", "datasets", "message"),
    [
        ("eval/los", None, "not 'eval/los'; did you mean eval/loss"),
        ("eval/towers/accuracy", None, "must be a validation metric, not 'eval/towers/accuracy'"),
        ("eval/tower/loss", ("poles", "towers"), "not 'eval/tower/loss'; did you mean eval/towers/loss"),
        ("eval/towers/loss", ("towers",), "must be a validation metric, not 'eval/towers/loss'"),
        ("eval/towers/loss", (), "must be a validation metric, not 'eval/towers/loss'"),
    ],
)
def test_metrics_that_none_has_are_refused(metric: str, datasets: tuple[str, ...] | None, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_metric(TrainingConfig("unused", best_metric=metric), datasets)


def test_scores_of_answers_need_answers() -> None:
    check_metric(TrainingConfig("unused", best_metric="eval/f1", eval_generate=EvalGenerateConfig()), ("a",))
    with pytest.raises(ConfigError, match=r"not eval/f1, which needs answers. Set training.eval_generate=\{\}"):
        check_metric(TrainingConfig("unused", best_metric="eval/f1"), ("a",))


def test_a_data_set_of_which_nothing_was_left_stops() -> None:
    assert metric_value({"eval/loss": 2.0}, "eval/loss") == 2.0
    with pytest.raises(TrainingError, match=r"validation must have eval/towers/loss, the training\.best_metric"):
        metric_value({"eval/loss": 2.0}, "eval/towers/loss")
