"""Documents in Markdown: their code blocks, and what it takes to run them as a reader would."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import dcap

ROOT = Path(__file__).parents[2]
GUIDE = Path(dcap.__file__).parent / "guide"

_FENCE = re.compile(
    r"(?:^<!-- (?P<mark>[^\n]+?) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE
)


@dataclass(frozen=True)
class Block:
    """A fenced block; `mark` is the comment on the line above it, such as ``run``."""

    language: str
    text: str
    mark: str = ""


@dataclass(frozen=True)
class Document:
    """A page in Markdown."""

    path: Path

    @property
    def text(self) -> str:
        return self.path.read_text("utf-8")

    def blocks(self, language: str, mark: str | None = None) -> list[str]:
        """Return the text of the blocks of a language, in order; of those with a mark, where one is given."""
        found = [Block(m["language"], m["text"], m["mark"] or "") for m in _FENCE.finditer(self.text)]
        return [block.text for block in found if block.language == language and mark in (None, block.mark)]

    def block(self, language: str, sign: str) -> str:
        """Return the one block of a language that has `sign` in it."""
        (found,) = [text for text in self.blocks(language) if sign in text]
        return found

    @property
    def links(self) -> list[str]:
        """What links and pictures lead to inside the repository."""
        prose = _FENCE.sub("", self.text)
        return [target.partition("#")[0] for target in re.findall(r"\]\(([^)\s]+)\)", prose) if "://" not in target]

    @property
    def commands(self) -> list[str]:
        """Lines of the bash blocks, without comments; a line that ends in a backslash goes on."""
        text = "".join(self.blocks("bash")).replace("\\\n", " ")
        return [re.sub(r"\s+#.*", "", line) for line in text.splitlines()]


DOCUMENTS = [Document(path) for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(GUIDE.glob("*.md")))]


def run_bash(commands: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run commands in a folder, with ``dcap`` and ``python`` of this interpreter; the first that fails ends it."""
    binary = f'dcap() {{ "{sys.executable}" -m dcap.cli "$@"; }}; python() {{ "{sys.executable}" "$@"; }}\n'
    command = ["bash", "-euo", "pipefail", "-c", binary + commands]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=240)
