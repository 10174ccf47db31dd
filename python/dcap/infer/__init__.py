"""Prediction with a tuned model: one image, or whole files of records; and its export.

Example:
    predictor = load_predictor("Qwen/Qwen3-VL-4B-Instruct", "runs/mine/final")
    found = predict_image(predictor, "street.jpg")
    found.captions, found.shapes, found.problems
"""

from typing import TYPE_CHECKING

from dcap.core.faces import lazy

if TYPE_CHECKING:
    from dcap.infer.engine import Reply, Request, TextEngine
    from dcap.infer.export_folder import Exported, ExportOptions, export
    from dcap.infer.hf_engine import HfEngine
    from dcap.infer.loading import EngineOptions, load_predictor, open_predictor
    from dcap.infer.openai_engine import OpenAiEngine
    from dcap.infer.predictor import Predictor, predict_image
    from dcap.infer.run import PredictOptions, predict, prediction_sheet
    from dcap.infer.scripted_engine import ScriptedEngine
    from dcap.infer.serve_check import ServeCheck, ServeCheckOptions, check_server
    from dcap.infer.server import Server

__all__ = [
    "EngineOptions",
    "ExportOptions",
    "Exported",
    "HfEngine",
    "OpenAiEngine",
    "PredictOptions",
    "Predictor",
    "Reply",
    "Request",
    "ScriptedEngine",
    "ServeCheck",
    "ServeCheckOptions",
    "Server",
    "TextEngine",
    "check_server",
    "export",
    "load_predictor",
    "open_predictor",
    "predict",
    "predict_image",
    "prediction_sheet",
]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "engine": ("Reply", "Request", "TextEngine"),
        "export_folder": ("ExportOptions", "Exported", "export"),
        "hf_engine": ("HfEngine",),
        "loading": ("EngineOptions", "load_predictor", "open_predictor"),
        "openai_engine": ("OpenAiEngine",),
        "predictor": ("Predictor", "predict_image"),
        "run": ("PredictOptions", "predict", "prediction_sheet"),
        "scripted_engine": ("ScriptedEngine",),
        "serve_check": ("ServeCheck", "ServeCheckOptions", "check_server"),
        "server": ("Server",),
    },
)
