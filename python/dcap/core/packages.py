"""The packages of each extra, read from dcap's own metadata, so that the list cannot drift; and how to add an extra."""

from __future__ import annotations

import json
import re
from importlib.metadata import PackageNotFoundError, distribution, requires, version
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit
from urllib.request import url2pathname

from dcap.core.errors import MissingPackageError

_REQUIREMENT = re.compile(r"^([\w.-]+)\s*(?:\[[^\]]*\])?\s*([^;]*)(?:;.*\bextra\s*==\s*['\"](\w+)['\"])?")


class Requirement(NamedTuple):
    """One line of dcap's requirements."""

    name: str
    """Name on the package index."""
    versions: str
    """Accepted versions, such as ``>=2.8``; empty for any."""
    extra: str
    """Extra that asks for it; empty for the base install."""
    installed: str | None
    """Installed version. `None`: it is missing."""


def requirements() -> list[Requirement]:
    """Return what dcap requires, in the order of pyproject.toml, without extras that name dcap itself."""
    found = [_REQUIREMENT.match(line) for line in requires("dcap") or ()]
    lines = [(m[1], m[2].strip(), m[3] or "") for m in found if m and m[1] != "dcap"]
    return [Requirement(name, versions, extra, _installed(name)) for name, versions, extra in lines]


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def install_command(extra: str) -> str:
    """Return the command that adds an extra to this install.

    A dcap that was installed from a folder, such as a clone of the repository, is installed from there again, editable
    or not as it is. Any other is installed by its name.

    Args:
        extra: Name of the extra.
    """
    # pip writes it for what comes from elsewhere than an index (PEP 610).
    source = json.loads(distribution("dcap").read_text("direct_url.json") or "{}")
    if "dir_info" not in source:
        return f'pip install "dcap[{extra}]"'
    folder = Path(url2pathname(urlsplit(source["url"]).path))
    editable = "-e " if source["dir_info"].get("editable") else ""
    return f'pip install {editable}"{"." if folder == Path.cwd() else folder}[{extra}]"'


def missing_package(module: str) -> MissingPackageError | None:
    """Return the error for a module that could not be imported. `None`: no extra of dcap contains it.

    Args:
        module: Name of the module, such as ``torch`` or ``torch.nn``.
    """
    top = module.partition(".")[0].replace("_", "-")
    for requirement in requirements():
        if requirement.name.replace("_", "-") == top and requirement.extra:
            hint = install_command(requirement.extra)
            return MissingPackageError(f"{top} must be installed for this command, and it is not. Run: {hint}")
    return None
