"""Conversations: records of text alone, whose last message is the answer.

::

    {"messages": [{"role": "user", "content": "What is a kerb?"},
                  {"role": "assistant", "content": "The stone edge between a pavement and a road."}]}
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from dcap.core.words import show
from dcap.records.json_line import Problem
from dcap.records.objects import check_text

Role = Literal["system", "user", "assistant"]

_CONTROL = re.compile(r"<\|\w+\|>|</?(?:think|tool_call|tool_response)>")
"""The tokens of Qwen that are no text; a chat template looks for some of them."""


class Message(NamedTuple):
    """One turn of a conversation."""

    role: Role
    content: str


def is_conversation(data: Mapping[str, Any]) -> bool:
    """Whether a line is a conversation: it has messages, and neither an image nor objects."""
    return "messages" in data and "images" not in data and "objects" not in data


def read_messages(value: Any, problems: list[Problem]) -> tuple[Message, ...]:
    """Return the messages of a conversation: perhaps one of the system, then user and assistant in turn.

    Args:
        value: ``messages`` of a line.
        problems: Gets what is wrong with them.
    """
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        problems.append(Problem("messages", f"must be a list of objects with role and content, not {show(value)}"))
        return ()
    begin = bool(value) and value[0].get("role") == "system"
    for i, each in enumerate(value):
        wanted = "system" if begin and i == 0 else ("user", "assistant")[(i - begin) % 2]
        if each.get("role") != wanted:
            problems.append(Problem(f"messages[{i}].role", f"must be {show(wanted)}, not {show(each.get('role'))}"))
        problem = check_text(each.get("content"), f"messages[{i}].content")
        # The answer is encoded as text, whatever it holds; what comes before it is rendered by the chat template.
        if problem is None and i < len(value) - 1 and (found := _CONTROL.search(each["content"])):
            problem = Problem(f"messages[{i}].content", f"must not hold the control token {show(found[0])}")
        problems += [problem] if problem else []
    if len(value) - begin < 2 or (len(value) - begin) % 2:
        text = "must end with an answer of the assistant, behind at least one message of the user"
        problems.append(Problem("messages", text))
    return () if problems else tuple(Message(each["role"], each["content"]) for each in value)
