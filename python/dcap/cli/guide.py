"""``dcap guide``: the pages of the guide, which ship with the package."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rich.console import Console
from rich.markdown import Markdown

from dcap.core.errors import ConfigError, nearest_hint
from dcap.core.log import output_console

FOLDER = Path(__file__).parents[1] / "guide"
TOPICS = (
    "data", "scenes", "augmentation", "words", "answers", "training", "distillation", "label_errors", "several_gpus",
    "prediction", "large_images", "many_machines", "export", "serving", "scoring", "errors", "extending", "internals",
    "measured",
)  # fmt: skip
"""Pages in the order in which they are best read; each is ``TOPIC.md``."""
_MAX_WIDTH = 100

EPILOG = """\
examples:
  dcap guide               list the topics
  dcap guide training      read one
  dcap guide errors | less the page as plain Markdown
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``dcap guide`` to the command line."""
    parser = subparsers.add_parser(
        "guide",
        help="read the guide in the terminal",
        description="Show a page of the guide, or list the topics.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("topic", metavar="TOPIC", nargs="?", help="page to show (default: list the topics)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the page or the list of topics, and return the exit code.

    Raises:
        ConfigError: There is no such topic.
    """
    if args.topic is None:
        width = max(map(len, TOPICS))
        output_console().print("\n".join(f"{topic:<{width}}  {summary(topic)}" for topic in TOPICS), soft_wrap=True)
        return 0
    text = page(args.topic)
    if sys.stdout.isatty():
        console = Console()
        console.print(Markdown(text, hyperlinks=False), width=min(console.width, _MAX_WIDTH))
    else:
        print(text, end="")
    return 0


def page(topic: str) -> str:
    """Return a page of the guide as Markdown.

    Raises:
        ConfigError: There is no such topic; the message names the nearest.
    """
    if topic not in TOPICS:
        raise ConfigError(f"topic must be one of the guide's, not {topic!r}{nearest_hint(topic, TOPICS)}")
    return (FOLDER / f"{topic}.md").read_text("utf-8")


def summary(topic: str) -> str:
    """Return the one line that says what a page is about: the paragraph below its title."""
    return page(topic).split("\n\n")[1].strip()
