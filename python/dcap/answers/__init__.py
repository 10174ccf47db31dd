"""Answer text both ways: profile, prompts, formats, writing, reading, and the prediction line.

Example:
    profile = AnswerProfile(format="qwen")
    text = write(shapes, captions, canvas, profile)
    parse(text, profile, strict=False).problems
"""

from typing import TYPE_CHECKING

from dcap.core.faces import lazy

if TYPE_CHECKING:
    from dcap.answers.codec import Answer, Parsed, parse, to_answer, to_canvas, write
    from dcap.answers.formats import ANSWER_FORMATS, AnswerFormat, AnswerObject, JsonFormat, PartKind, RowFormat
    from dcap.answers.grammar import AnswerBounds, AnswerGrammar
    from dcap.answers.object_scores import ObjectScore, score_objects
    from dcap.answers.prediction import Prediction
    from dcap.answers.profile import AnswerProfile, ResolvedProfile, load_profile, save_profile
    from dcap.answers.prompts import PROMPTS, PromptConfig, Prompts
    from dcap.answers.server_grammar import to_ebnf, to_json_schema

__all__ = [
    "ANSWER_FORMATS",
    "PROMPTS",
    "Answer",
    "AnswerBounds",
    "AnswerFormat",
    "AnswerGrammar",
    "AnswerObject",
    "AnswerProfile",
    "JsonFormat",
    "ObjectScore",
    "Parsed",
    "PartKind",
    "Prediction",
    "PromptConfig",
    "Prompts",
    "ResolvedProfile",
    "RowFormat",
    "load_profile",
    "parse",
    "save_profile",
    "score_objects",
    "to_answer",
    "to_canvas",
    "to_ebnf",
    "to_json_schema",
    "write",
]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "codec": ("Answer", "Parsed", "parse", "to_answer", "to_canvas", "write"),
        "formats": ("ANSWER_FORMATS", "AnswerFormat", "AnswerObject", "JsonFormat", "PartKind", "RowFormat"),
        "grammar": ("AnswerBounds", "AnswerGrammar"),
        "object_scores": ("ObjectScore", "score_objects"),
        "prediction": ("Prediction",),
        "profile": ("AnswerProfile", "ResolvedProfile", "load_profile", "save_profile"),
        "prompts": ("PROMPTS", "PromptConfig", "Prompts"),
        "server_grammar": ("to_ebnf", "to_json_schema"),
    },
)
