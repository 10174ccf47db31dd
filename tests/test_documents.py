"""What README, CONTRIBUTING and the guide show must work as it stands."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
import yaml

from dcap.cli.__main__ import COMMANDS, build_parser
from dcap.core.config import merge, read_yaml
from dcap.records.conversation import is_conversation, read_messages
from dcap.records.json_line import Problem
from dcap.records.record import Origin, parse_record
from dcap.train.config import build_run_config
from support.documents import DOCUMENTS, ROOT, Document, run_bash
from support.forks import Forks

WITH_PYTHON = [document for document in DOCUMENTS if document.blocks("python")]

each_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.path.stem)
each_with_python = pytest.mark.parametrize("document", WITH_PYTHON, ids=lambda document: document.path.stem)


@each_document
def test_links_and_pictures_lead_somewhere(document: Document) -> None:
    assert [link for link in document.links if not (document.path.parent / link).exists()] == []


@each_with_python
def test_a_page_runs_as_pasted(document: Document, tmp_path: Path, forks: Forks) -> None:
    """All its Python in order, in one process; then the commands after ``<!-- run -->``, in the same folder."""
    done = forks.run("\n".join(document.blocks("python")), folder=tmp_path)
    assert done.returncode == 0, done.stderr
    done = run_bash("\n".join(document.blocks("bash", "run")), tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


@each_document
def test_command_lines_are_legal(document: Document) -> None:
    """Every ``dcap ...`` line is one that the parser of its command takes."""
    for line in document.commands:
        words = shlex.split(line.removesuffix("&&"))
        if words[:1] == ["dcap"]:
            assert words[1] in COMMANDS, line
            args, left = build_parser((words[1],)).parse_known_args(words[1:])
            assert [word for word in left if "=" not in word or not hasattr(args, "overrides")] == [], line
            assert hasattr(args, "run"), line


@each_document
def test_fields_changed_on_a_command_line_exist(document: Document) -> None:
    demo = read_yaml(ROOT / "configs/demo.yaml")
    for line in document.commands:
        if "dcap train" in line or "dcap.train" in line:
            build_run_config(demo, re.findall(r"[\w.]+\.\w+=[^\s\"]+", line), line)


@each_document
def test_configs_are_legal(document: Document) -> None:
    """A YAML block is a config, or becomes one with the rest of the demo."""
    demo = read_yaml(ROOT / "configs/demo.yaml")
    for text in document.blocks("yaml"):
        tree = yaml.safe_load(text)
        whole = tree if {"training", "data"} <= tree.keys() else merge(demo, tree)
        if "mixture" in whole["data"]:
            whole["data"] = {**whole["data"], "train": (), "val": ()}
        build_run_config(whole, (), text)


@each_document
def test_records_are_legal(document: Document) -> None:
    for text in document.blocks("json"):
        tree = json.loads(text)
        if is_conversation(tree):
            problems: list[Problem] = []
            assert read_messages(tree["messages"], problems), problems
        else:
            assert parse_record(json.dumps(tree).encode(), Origin(document.path.name, 1)).captions
