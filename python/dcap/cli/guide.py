"""``dcap guide``: the pages of the guide, which ship with the package."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rich.console import Console
from rich.markdown import Markdown

from dcap.core.errors import ConfigError, nearest, nearest_hint
from dcap.core.log import output_console

FOLDER = Path(__file__).parents[1] / "guide"
TOPICS = (
    "data", "scenes", "augmentation", "words", "answers", "training", "distillation", "label_errors", "several_gpus",
    "prediction", "large_images", "many_machines", "export", "serving", "scoring", "errors", "extending", "internals",
    "measured",
)  # fmt: skip
"""Pages in the order in which they are best read; each is ``TOPIC.md``."""
SEARCH_WORDS = {
    "data": "records jsonl coco lvis yolo voc labelme convert validate mixture mix split sample parquet",
    "scenes": "scene rendered",
    "augmentation": "augment ops crop curriculum rotate color_jitter",
    "words": "left right colour colours mirror captions",
    "answers": "answer format formats order prefix polygon",
    "training": "train init config lora memory rows resume metrics trackers warmup schedule inspect",
    "distillation": "distill teacher divergence",
    "label_errors": "loss losses labels suspects",
    "several_gpus": "gpu gpus ddp fsdp deepspeed nodes torchrun accelerate",
    "prediction": "predict predictions constrained replay",
    "large_images": "tiles tile aerial",
    "many_machines": "machines slurm kubernetes ray shard shards merge",
    "export": "exported proof stage",
    "serving": "vllm sglang server serve-check openai",
    "scoring": "evaluate score scores f1 ap threshold",
    "errors": "messages",
    "extending": "op reader preprocessor package",
    "internals": "coordinates layers backends",
    "measured": "benchmarks",
}
"""Words by which a page is found beside its name; each is on it."""
_MAX_WIDTH = 100

EPILOG = """\
examples:
  dcap guide               list the topics
  dcap guide training      read one
  dcap guide fsdp          the page about a word: several_gpus
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
    text = page(topic_of(args.topic))
    if sys.stdout.isatty():
        console = Console()
        console.print(Markdown(text, hyperlinks=False), width=min(console.width, _MAX_WIDTH))
    else:
        print(text, end="")
    return 0


def topic_of(word: str) -> str:
    """Return the topic of a word: itself, or that which has it as a search word, in any case.

    Raises:
        ConfigError: There is no such topic; the message names the nearest.
    """
    word = word.lower().removesuffix(".md")
    topics = {each: topic for topic, words in SEARCH_WORDS.items() for each in (topic, *words.split())}
    if word in topics:
        return topics[word]
    near = nearest(word, topics, likeness=0.7)
    hint = nearest_hint(word, TOPICS) if near is None else f"; did you mean {topics[near]}?"
    raise ConfigError(f"topic must be one of the guide's, not {word!r}{hint}")


def page(topic: str) -> str:
    """Return a page of the guide as Markdown.

    Args:
        topic: One of `TOPICS`.
    """
    return (FOLDER / f"{topic}.md").read_text("utf-8")


def summary(topic: str) -> str:
    """Return the one line that says what a page is about: the paragraph below its title."""
    return page(topic).split("\n\n")[1].strip()
