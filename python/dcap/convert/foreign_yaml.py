"""YAML of other tools and of users' lists of names: values are text as written.

Owns the rule that a class called ``no`` is not False, and one called ``010`` is not 8.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import yaml

from dcap.core.errors import RecordError

NOTHING = frozenset(("", "~", "null", "Null", "NULL"))
"""Texts that mean no value in YAML."""
_TEXT, _LIST, _MAP = "tag:yaml.org,2002:str", "tag:yaml.org,2002:seq", "tag:yaml.org,2002:map"


class _TextLoader(yaml.SafeLoader):
    """YAML whose values are texts as written, lists and maps; a key that is there twice is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag == _TEXT:
                if key.value in seen:
                    text = f"the key {key.value} twice"
                    raise yaml.constructor.ConstructorError(None, None, f"found {text}", key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep)


_TextLoader.yaml_implicit_resolvers = {"<": yaml.SafeLoader.yaml_implicit_resolvers["<"]}
_TextLoader.yaml_constructors = {tag: yaml.SafeLoader.yaml_constructors[tag] for tag in (None, _TEXT, _LIST, _MAP)}


def parse_texts(text: str, source: object) -> Any:
    """Return the value of YAML: texts, lists and maps of them.

    Args:
        text: The YAML.
        source: Its file, for messages.

    Raises:
        RecordError: It is no YAML, or gives a key twice.
    """
    try:
        return yaml.load(text, Loader=_TextLoader)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise RecordError(f"{source}: file must be YAML ({' '.join(str(error).split())})") from None


def given(value: Any) -> Any:
    """Return a value, `None` where YAML has none."""
    return None if isinstance(value, str) and value in NOTHING else value
