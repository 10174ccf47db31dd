"""The guide: its topics, its page of errors, and what it says about extending dcap."""

from __future__ import annotations

import inspect
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from PIL import Image

import dcap
from dcap.augment.config import AugmentConfig
from dcap.augment.word_tables import ENGLISH
from dcap.cli.__main__ import build_parser
from dcap.cli.arguments import parse_command
from dcap.cli.guide import FOLDER, TOPICS, summary
from dcap.core import errors
from dcap.core.config import build
from dcap.core.errors import DcapError
from dcap.core.shard import Shard
from dcap.data.config import DataConfig
from dcap.records.files.opening import expand_sources
from support.documents import GUIDE, Document
from support.messages import Text, texts_of
from support.plugin_cases import distribution, run_beside

DATA = Document(GUIDE / "data.md")
ERRORS = Document(GUIDE / "errors.md")
EXTENDING = Document(GUIDE / "extending.md")
MACHINES = Document(GUIDE / "many_machines.md")


def quoted() -> list[tuple[str, str]]:
    """Each message that the page of errors quotes, with the kind below whose heading it is."""
    sections = re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", ERRORS.text, re.DOTALL | re.MULTILINE)
    return [(kind, text) for kind, body in sections for text in re.findall(r"^- `(.+)`$", body, re.MULTILINE)]


@cache
def texts() -> list[Text]:
    """All of the package; not at import, which every worker of the suite pays for."""
    return texts_of(Path(dcap.__file__).parent)


def kinds_of(message: str) -> set[str]:
    """The errors of the texts that a message may be; of the longest only, which is the likeliest."""
    found = [text for text in texts() if text.may_be(message)]
    longest = max((text.num_letters for text in found), default=0)
    return {text.kind for text in found if text.num_letters == longest}


def test_every_page_is_a_topic() -> None:
    assert sorted(TOPICS) == sorted(path.stem for path in FOLDER.glob("*.md"))


@pytest.mark.parametrize("topic", TOPICS)
def test_a_page_begins_with_title_and_summary(topic: str) -> None:
    assert re.match(r"# [^\n]+\n\n[^\n]+\n\n", Document(GUIDE / f"{topic}.md").text)
    assert summary(topic).endswith(".")


def test_the_page_of_words_names_them_all() -> None:
    words = {word for row in ENGLISH.sides for word in row if word}
    page = re.sub(r"\s+", " ", Document(GUIDE / "words.md").text)
    assert [word for word in sorted(words) if word.removesuffix("s") not in page] == []
    (defaults, _) = re.findall(r"```yaml\n(.*?)```", Document(GUIDE / "words.md").text, re.DOTALL)
    assert build(AugmentConfig, yaml.safe_load(defaults)["augmentation"]) == AugmentConfig()


def test_every_kind_of_error_has_a_section() -> None:
    kinds = [name for name, value in inspect.getmembers(errors, inspect.isclass) if issubclass(value, DcapError)]
    headings = re.findall(r"^## (\w+Error)$", ERRORS.text, re.MULTILINE)
    assert sorted(headings) == sorted(set(kinds) - {"DcapError"})


@pytest.mark.parametrize(("kind", "message"), quoted(), ids=lambda text: text[:60])
def test_a_quoted_message_is_one_of_the_sources(kind: str, message: str) -> None:
    # A shape inside a record, and a server that gave no answer at any try, have errors of their own.
    others = {"RecordError": "GeometryError", "ServerError": "UnansweredError"}
    assert kinds_of(message) & {kind, "", others.get(kind, "")}, (
        "no text of the sources reads like this; quote it as it is now"
    )


def test_messages_are_quoted() -> None:
    assert len(quoted()) > 30


def test_a_message_that_the_sources_do_not_have_is_found() -> None:
    assert kinds_of("train.jsonl:7: objects[0] must be drawn by an artist, not a poet") == set()
    assert kinds_of("max_objects must be at least 1, not 0") == {"ConfigError"}
    assert kinds_of("max_objects must be at leest 1, not 0") == set()


def test_the_names_of_files_mean_what_the_page_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (command,) = [line for line in DATA.commands if "{0000..0127}" in line]
    for name in ("data/a.jsonl.gz", "val.parquet", "shards/a.tar", *(f"more/train-{i:04}.tar" for i in range(128))):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert len(expand_sources(shlex.split(command)[2:])) == 131


def test_the_mixture_does_what_the_page_says() -> None:
    data = build(DataConfig, yaml.safe_load(DATA.block("yaml", "mixture:"))["data"], "data")
    assert [entry.rule for entry in data.entries("train")] == [
        "target",
        "weight 2",
        "ratio 0.25",
        "ratio 0.1",
        "ratio 0.05",
    ]
    assert data.of_entry(data.mixture[0]).answer.prompts.dense == data.domains["telecom"]["dense"]


def test_an_op_is_added_as_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """File, test and line of registration as pasted, as an installed package has them."""
    op, test = (EXTENDING.block("python", sign) for sign in ("@register(", "def test_"))
    points = tomllib.loads(EXTENDING.blocks("toml")[0])["project"]["entry-points"]
    folder = distribution(tmp_path, "my-package", points, {"my_package.py": op})
    (tmp_path / "test_my_package.py").write_text(test)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # it needs none of this suite's
    for command, said in (
        (["pytest", "-q", "-c", "/dev/null", str(tmp_path / "test_my_package.py")], "1 passed"),
        (["dcap.cli", "schema", "--ops"], "nudge: Shift by a few pixels.\n  max_px = 8.0\n      Largest shift along"),
    ):
        done = run_beside(folder, [sys.executable, "-m", *command])
        assert (done.returncode, said in done.stdout) == (0, True), done.stdout + done.stderr


def test_a_reader_is_added_as_shown(tmp_path: Path) -> None:
    reader = EXTENDING.block("python", "@READERS.register(")
    points = {"dcap.readers": {"boxes_csv": "csv_boxes:BoxesCsv"}}
    folder = distribution(tmp_path, "csv-boxes", points, {"csv_boxes.py": reader})
    photos = Path(dcap.__file__).parent / "assets/photos/images"
    (tmp_path / "boxes.csv").write_text("coffee.png;10;20;90;120;cup\ncoffee.png;1;2;30;40;spoon\n", "utf-8")
    command = ["dcap.cli", "convert", "boxes_csv", str(tmp_path / "boxes.csv"), "--images", str(photos)]
    out = tmp_path / "train.jsonl"
    done = run_beside(folder, [sys.executable, "-m", *command, "--delimiter", ";", "-o", str(out)])
    assert done.returncode == 0, done.stderr
    assert re.findall(r'"desc": ?"(\w+)"', out.read_text("utf-8")) == ["cup", "spoon"]


def test_a_source_of_records_is_added_as_shown(tmp_path: Path) -> None:
    source = EXTENDING.block("python", "@RECORD_SOURCES.register(")
    points = {"dcap.record_sources": {"squares": "my_squares:open_squares"}}
    folder = distribution(tmp_path, "my-squares", points, {"my_squares.py": source})
    command = [sys.executable, "-m", "dcap.cli", "validate", "--decode", "--json"]
    done = run_beside(folder, [*command, "builtin:squares?num=20&side=30"])
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["records"] == 20
    done = run_beside(folder, [*command, "builtin:squares?size=30"])
    assert "squares.size is not a field of squares; did you mean side?" in done.stderr


@pytest.fixture(scope="module")
def extended() -> None:
    """What the page registers, registered in this process."""
    scope: dict[str, Any] = {"__name__": __name__}
    for sign in ("@register(", "@PREPROCESSORS.register("):
        exec(EXTENDING.block("python", sign), scope)


@pytest.mark.usefixtures("extended")
def test_extensions_are_used_by_name(tmp_path: Path, micro_folder: Path) -> None:
    from dcap.answers.codec import parse
    from dcap.data.dataset import DenseCaptionDataset
    from dcap.train.config import RunConfig

    record = {"images": ["a.png"], "width": 64, "height": 64, "objects": [{"desc": "CUP", "bbox_2d": [16, 16, 48, 48]}]}
    (tmp_path / "r.jsonl").write_text(json.dumps(record))
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    answer = {"format": "named_list", "prompts": {"name": "short"}, "min_pixels": 4096}
    tree = {
        "model": {"name_or_path": str(micro_folder)},
        "data": {"train": str(tmp_path / "r.jsonl"), "preprocessors": [{"name": "lower_case"}], "answer": answer},
        "augmentation": {"ops": [{"name": "nudge", "params": {"max_px": 8}}]},
        "training": {"output_dir": str(tmp_path)},
    }
    config = build(RunConfig, tree)
    dataset = DenseCaptionDataset(config.data, augmentation=config.augmentation)
    sample = dataset[0]
    assert sample.answer.startswith('[{"bbox_2d": [')
    assert '"name": "cup"' in sample.answer
    assert "nudge: by (" in sample.augmented.plan.describe()
    assert dataset.profile.prompts.dense == "List the objects."
    assert parse(sample.answer, dataset.profile.answer).captions == ("cup",)


def recipes() -> dict[str, list[str]]:
    """The scripts of the page about many machines, each as what a part of it runs."""
    slurm, started = MACHINES.blocks("sh")
    (job,) = (yaml.safe_load(text) for text in MACHINES.blocks("yml"))
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert started.splitlines()[0] == "job=$(sbatch --parsable predict.sh)"
    assert (job["spec"]["completionMode"], job["spec"]["completions"]) == ("Indexed", 8)
    return {
        "slurm": ["env", "SLURM_ARRAY_TASK_ID=3", "bash", "-c", slurm],
        "kubernetes": ["env", "JOB_COMPLETION_INDEX=3", *container["command"], *container["args"]],
    }


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that gets the words of each call of ``dcap``, which does nothing else."""
    (tmp_path / "bin").mkdir()
    for name in ("dcap", "sbatch"):
        (tmp_path / "bin" / name).write_text(f'#!/bin/sh\necho {name} "$@" >> "{tmp_path}/told"; echo 77\n')
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    return tmp_path / "told"


@pytest.mark.parametrize("name", ["slurm", "kubernetes"])
def test_a_recipe_makes_the_part_of_its_machine(name: str, told: Path) -> None:
    subprocess.run(recipes()[name], check=True, cwd=told.parent)
    (line,) = told.read_text().splitlines()
    args = parse_command(build_parser(["predict"]), shlex.split(line)[1:])
    assert (args.shard, args.out, args.adapter) == (Shard(3, 8), Path("pred.jsonl"), Path("runs/mine/final"))


def test_the_merge_follows_the_last_part_on_slurm(told: Path) -> None:
    subprocess.run(["bash", "-euo", "pipefail", "-c", MACHINES.blocks("sh")[1]], check=True)
    assert told.read_text().splitlines()[1] == "sbatch --dependency=afterok:77 --wrap=dcap merge pred.jsonl"


def test_the_recipe_of_ray_makes_and_merges_all_parts(told: Path) -> None:
    """With a stand-in of Ray, which calls a task at once."""

    def remote(**options: Any) -> Any:
        assert options == {"num_gpus": 1, "max_retries": 3, "retry_exceptions": True}
        return lambda function: SimpleNamespace(remote=function)

    (program,) = MACHINES.blocks("py")
    scope = {"__name__": __name__}
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "ray", SimpleNamespace(remote=remote, get=list))
        exec(program.replace('"/data"', repr(str(told.parent))), scope)
    lines = told.read_text().splitlines()
    assert [line.split()[-1] for line in lines] == [*(f"{k}/8" for k in range(8)), "pred.jsonl"]
    assert lines[-1] == "dcap merge pred.jsonl"
