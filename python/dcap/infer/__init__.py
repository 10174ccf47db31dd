"""Prediction with a tuned model: one image, or whole files of records; and its export.

Example:
    predictor = load_predictor("Qwen/Qwen3-VL-4B-Instruct", "runs/mine/final")
    found = predict_image(predictor, "street.jpg")
    found.captions, found.shapes, found.problems
"""

from typing import TYPE_CHECKING

from dcap.core.faces import lazy

if TYPE_CHECKING:
    from dcap.infer.export_folder import Exported, ExportOptions, export
    from dcap.infer.predictor import Predictor, load_predictor, predict_image
    from dcap.infer.run import PredictOptions, predict, prediction_sheet

__all__ = [
    "ExportOptions",
    "Exported",
    "PredictOptions",
    "Predictor",
    "export",
    "load_predictor",
    "predict",
    "predict_image",
    "prediction_sheet",
]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "export_folder": ("ExportOptions", "Exported", "export"),
        "predictor": ("Predictor", "load_predictor", "predict_image"),
        "run": ("PredictOptions", "predict", "prediction_sheet"),
    },
)
