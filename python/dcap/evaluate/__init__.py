"""Scores of predictions; needs no model and no torch.

Example:
    found = score("val.jsonl", "pred.jsonl")
    found.objects.f1, found.regions(0.75).precision
    average_precision(evaluate(["val.jsonl"], "pred.jsonl"))    # AP, errors, calibration; needs the extra eval
"""

from typing import TYPE_CHECKING

from dcap.core.faces import lazy

if TYPE_CHECKING:
    from dcap.evaluate.ap import AveragePrecision, average_precision
    from dcap.evaluate.categories import CategoryRule
    from dcap.evaluate.comparison import Comparison, compare_runs
    from dcap.evaluate.evaluation import Evaluation, evaluate, score
    from dcap.evaluate.metrics import PrecisionRecall, ScoreOptions, Scores
    from dcap.evaluate.repeats import Pruning, prune
    from dcap.evaluate.sweep import Sweep

__all__ = [
    "AveragePrecision",
    "CategoryRule",
    "Comparison",
    "Evaluation",
    "PrecisionRecall",
    "Pruning",
    "ScoreOptions",
    "Scores",
    "Sweep",
    "average_precision",
    "compare_runs",
    "evaluate",
    "prune",
    "score",
]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "ap": ("AveragePrecision", "average_precision"),
        "categories": ("CategoryRule",),
        "comparison": ("Comparison", "compare_runs"),
        "evaluation": ("Evaluation", "evaluate", "score"),
        "metrics": ("PrecisionRecall", "ScoreOptions", "Scores"),
        "repeats": ("Pruning", "prune"),
        "sweep": ("Sweep",),
    },
)
