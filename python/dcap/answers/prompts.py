"""Prompts by name: questions to the model in English, in Chinese, or in the user's own words."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from dcap.core.config import check_fields
from dcap.core.errors import ConfigError
from dcap.core.files import require_file
from dcap.core.registry import Registry

MAX_PROMPT_BYTES = 64 << 10
_FILE = "file:"


@dataclass(frozen=True)
class PromptConfig:
    """Texts that ask the model. Each is written here, read from ``file:PATH``, or taken from the named set."""

    name: str = "en"
    """Name of a set of prompts: ``en``, ``zh``, or one of a plugin."""
    system: str | None = None
    """System message. `null`: that of the named set; in ``en`` and ``zh`` there is no system
    message, as in the published model."""
    dense: str | None = None
    """User message that asks for the located objects. `null`: that of the named set."""
    summary: str | None = None
    """User message that asks for the summary. `null`: that of the named set."""

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True, slots=True)
class Prompts:
    """One set of prompts."""

    system: str | None
    """System message. `None`: the model gets no system message."""
    dense: str
    """User message that asks for the located objects."""
    summary: str
    """User message that asks for the description of the whole image."""


_CONTROL_TOKEN = re.compile(r"<\|\w+\|>")

PROMPTS: Registry[Prompts] = Registry("prompt set", "dcap.prompts")

PROMPTS.register(
    "en",
    Prompts(
        system=None,
        dense=(
            "List every object in the image with its location and a short description, from top to bottom, then from "
            "left to right. Answer with JSON only. Locate each object by exactly one of: bbox_2d, the box "
            "[x1, y1, x2, y2]; poly, the outline as [x, y] points with their number in poly_points; line, the course "
            "of a long thin object as [x, y] points with their number in line_points."
        ),
        summary="Describe the whole image in one short paragraph.",
    ),
)
PROMPTS.register(
    "zh",
    Prompts(
        system=None,
        dense=(
            "请从上到下、从左到右列出图像中的所有目标，给出每个目标的位置和简短描述，只输出 JSON。"
            "每个目标用且仅用一种方式定位："
            "bbox_2d 为矩形框 [x1, y1, x2, y2]；poly 为轮廓点 [x, y] 的列表，poly_points 为点数；"
            "line 为细长目标走向的点 [x, y] 的列表，line_points 为点数。"
        ),
        summary="请用一小段话描述整幅图像。",
    ),
)


def resolve(config: PromptConfig) -> Prompts:
    """Return the prompt texts of a config.

    Args:
        config: Name of a set, and texts that replace its own; ``file:PATH`` reads a UTF-8 file. A relative PATH starts
            at the current folder, as those of data.

    Raises:
        ConfigError: The set is unknown, a file is missing, too large or not UTF-8, or a text is empty.
    """
    base = PROMPTS.get(config.name, "data.answer.prompts.name")
    dense = _text(config.dense, "dense")
    summary = _text(config.summary, "summary")
    system = _text(config.system, "system")
    return Prompts(
        base.system if system is None else system,
        base.dense if dense is None else dense,
        base.summary if summary is None else summary,
    )


def _text(value: str | None, name: str) -> str | None:
    if value is None:
        return None
    if value.startswith(_FILE):
        value = _read(Path(value.removeprefix(_FILE).strip()), name)
    if not value.strip():
        raise ConfigError(f"data.answer.prompts.{name} must not be empty. Leave it out to use the named set's text.")
    token = _CONTROL_TOKEN.search(value)
    if token:
        raise ConfigError(
            f"data.answer.prompts.{name} must not hold a control token such as {token[0]}; the template adds them"
        )
    return value


def _read(path: Path, name: str) -> str:
    require_file(path, f"text of data.answer.prompts.{name}", ConfigError)
    if path.stat().st_size > MAX_PROMPT_BYTES:
        raise ConfigError(f"data.answer.prompts.{name}: {path} must be at most {MAX_PROMPT_BYTES} bytes")
    try:
        return path.read_text("utf-8-sig").strip()
    except (UnicodeDecodeError, OSError) as error:
        raise ConfigError(f"data.answer.prompts.{name}: {path} must be a readable UTF-8 file: {error}") from None
