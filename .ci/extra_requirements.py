"""Print the requirements of one extra of pyproject.toml, those of the extras it builds on included."""

import re
import sys
import tomllib
from pathlib import Path


def requirements(extras: dict[str, list[str]], name: str) -> list[str]:
    """Return the requirements of the extra `name`, with ``dcap[other]`` replaced by what `other` requires."""
    out: list[str] = []
    for requirement in extras[name]:
        inner = re.fullmatch(r"dcap\[(\w+)\]", requirement)
        out += requirements(extras, inner[1]) if inner else [requirement]
    return out


if __name__ == "__main__":
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text("utf-8"))["project"]
    print("\n".join(requirements(project["optional-dependencies"], sys.argv[1])))
