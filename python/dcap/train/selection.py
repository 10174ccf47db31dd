"""Which validation metric picks the best checkpoint: its name is checked before training, its value afterwards."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from dcap.core.errors import ConfigError, TrainingError, nearest_hint

VALIDATION_METRICS = ("eval/loss", "eval/token_accuracy")
_OF_DATASET = re.compile(r"eval/(.+)/loss")


def check_metric(metric: str | None, datasets: Sequence[str] | None = None) -> None:
    """Refuse a ``training.best_metric`` that no validation will have.

    Args:
        metric: Its name, or None for no best checkpoint.
        datasets: Names of the validation data sets; None while they are not known, when any could be meant.

    Raises:
        ConfigError: It is neither one of `VALIDATION_METRICS` nor, where there are several data sets,
            ``eval/NAME/loss`` of one of them.
    """
    if metric is None or metric in VALIDATION_METRICS:
        return
    if datasets is None and _OF_DATASET.fullmatch(metric):
        return
    several = datasets if datasets is not None and len(datasets) > 1 else ()
    known = (*VALIDATION_METRICS, *(f"eval/{name}/loss" for name in several))
    if metric not in known:
        hint = nearest_hint(metric, known)
        raise ConfigError(f"training.best_metric must be a validation metric, not {metric!r}{hint}")


def value_of(metrics: Mapping[str, float], metric: str) -> float:
    """Return the value of the best metric.

    Raises:
        TrainingError: The validation has none, since all samples of the data set were left out.
    """
    if metric not in metrics:
        raise TrainingError(f"validation must have {metric}, the training.best_metric, but every sample was left out")
    return metrics[metric]
