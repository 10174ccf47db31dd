"""What the README promises beyond what `test_documents` runs."""

from __future__ import annotations

import subprocess
import sys

import pytest

from dcap.cli.guide import TOPICS
from support.documents import ROOT, Document

README = Document(ROOT / "README.md")


@pytest.mark.parametrize("number", [1, 2])
def test_ci_finds_the_quick_start(number: int) -> None:
    command = [sys.executable, str(ROOT / ".ci/readme_command.py"), str(number)]
    found = subprocess.run(command, capture_output=True, text=True, check=True, timeout=240).stdout
    assert found.startswith("pip install -c constraints.txt ")
    assert found.strip() in README.text


def test_every_page_of_the_guide_is_listed() -> None:
    listed = [link for link in README.links if link.endswith(".md") and "/guide/" in link]
    assert list(dict.fromkeys(listed)) == [f"python/dcap/guide/{topic}.md" for topic in TOPICS]
