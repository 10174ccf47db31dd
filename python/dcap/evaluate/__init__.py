"""Scores of predictions; needs no model and no torch.

Example:
    found = score("val.jsonl", "pred.jsonl")
    found.objects.f1, found.regions(0.75).precision
"""

from typing import TYPE_CHECKING

from dcap.core.faces import lazy

if TYPE_CHECKING:
    from dcap.evaluate.evaluation import Evaluation, evaluate, score
    from dcap.evaluate.metrics import PrecisionRecall, ScoreOptions, Scores

__all__ = ["Evaluation", "PrecisionRecall", "ScoreOptions", "Scores", "evaluate", "score"]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "evaluation": ("Evaluation", "evaluate", "score"),
        "metrics": ("PrecisionRecall", "ScoreOptions", "Scores"),
    },
)
