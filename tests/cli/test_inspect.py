from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dcap.cli.__main__ import main

CONFIG = """
model: {name_or_path: "builtin:micro", dtype: float32, adapter: {rank: 4}}
training: {output_dir: none, effective_batch_size: 2, num_epochs: 3}
data:
  global_max_length: 3800
  num_workers: 0
  answer: {max_pixels: 65_536, emit_norm: norm100, max_polygon_points: 6}
  mixture:
    - {name: all, train: "builtin:photos/photos.jsonl", val: "builtin:photos/val.jsonl"}
    - {name: few, train: "builtin:photos/val.jsonl", ratio: 0.4, loss_weight: 0.5}
"""


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "c.yaml"
    path.write_text(CONFIG)
    return str(path)


@pytest.fixture
def inspect(config: str, capsys: pytest.CaptureFixture[str]) -> Any:
    """Return a function that runs the command with ``--json`` and returns its tree."""

    def call(*more: str) -> dict[str, Any]:
        assert main(["inspect", config, "--json", *more]) == 0
        tree: dict[str, Any] = json.loads(capsys.readouterr().out)
        return tree

    return call


def test_the_numbers_fit_together(inspect: Any) -> None:
    tree = inspect("--num-samples", "2", "--tokens-per-s", "100")
    epoch, time, memory = tree["epoch"], tree["time"], tree["memory"]
    assert epoch["samples"] == sum(each["samples"] for each in tree["data_sets"])
    assert epoch["tokens"] == sum(each["tokens"] for each in tree["data_sets"])
    assert sum(each["share"] for each in tree["data_sets"]) == pytest.approx(1)
    assert epoch["steps"] == -(-epoch["rows"] // 2)
    assert epoch["fill"] == pytest.approx(epoch["tokens"] / (epoch["rows"] * 3800))
    assert (time["steps"], time["tokens"]) == (3 * epoch["steps"], 3 * epoch["tokens"])
    assert time["hours"] == pytest.approx(time["tokens"] / 100 / 3600)
    trainable = sum(tower["trainable"] for tower in tree["towers"])
    assert (memory["trained"], memory["gradients"], memory["moments"]) == (4 * trainable, 4 * trainable, 8 * trainable)
    assert memory["heaviest_row"]["tokens"] <= 3800
    assert memory["total"] > memory["frozen"] + memory["activations"]
    assert {each["name"]: each["used"] for each in tree["formats"]} == {
        "object_map": True, "desc_first": False, "qwen": False, "qwen_compact": False, "rows": False,
    }  # fmt: skip
    for each in tree["formats"]:
        assert sum(each["by_token"].values()) == pytest.approx(each["tokens_per_object"])
    assert len(tree["samples"]) == 2
    for sample in tree["samples"]:
        assert sum(sample["kinds"].values()) == sample["tokens"]


def test_steps_win_over_epochs(inspect: Any) -> None:
    tree = inspect("training.max_steps=20", "--num-samples", "0")
    epochs = 20 / tree["epoch"]["steps"]
    assert (tree["time"]["steps"], tree["time"]["epochs"]) == (20, pytest.approx(epochs))
    assert tree["time"]["tokens"] == round(epochs * tree["epoch"]["tokens"])
    assert tree["time"]["hours"] is None
    assert tree["samples"] == []


def test_a_run_gives_the_rate(inspect: Any, tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "tokens": 500, "tokens_per_s": 250.0}\n')
    assert inspect("--num-samples", "0", "--run", str(tmp_path))["time"]["tokens_per_s"] == 250


def test_validation_has_no_steps_and_no_memory(inspect: Any) -> None:
    tree = inspect("--split", "val")
    assert tree["epoch"]["steps"] is None
    assert not {"memory", "time", "towers"} & set(tree)
    assert tree["samples"][0]["supervised"] > 0


def test_devices_that_share_the_weights_out_hold_a_part_each(inspect: Any) -> None:
    run = ("--num-samples", "0", "training.effective_batch_size=8", "model.adapter.rank=16")
    one, eight = inspect(*run)["memory"], (*run, "--gpus", "8")
    assert inspect(*eight)["memory"] == one, "by DDP, each holds the whole model"
    part = inspect(*eight, "--parallel", "fsdp")["memory"]
    kept = inspect(*eight, "training.parallel=fsdp", "training.fsdp_reshard=false")["memory"]
    assert (one["num_shares"], part["num_shares"]) == (1, 8)
    for name in ("frozen", "trained", "gradients", "moments"):
        assert one[name] / 8 <= part[name] <= one[name] / 7
    assert one["together"] == one["start"] == 0
    assert part["start"] == one["frozen"] + one["trained"]
    assert 0 < part["together"] < kept["together"] < part["start"] + one["gradients"]
    assert part["total"] < kept["total"] < one["total"]


def test_few_bits_are_counted(inspect: Any) -> None:
    run = ("--num-samples", "0", "model.adapter.rank=64")
    plain, few = inspect(*run), inspect(*run, "model.quantization=nf4", "training.optimizer=adamw8bit")
    assert few["towers"] == plain["towers"]
    for name in ("trained", "gradients", "activations"):
        assert few["memory"][name] == plain["memory"][name]
    assert few["memory"]["frozen"] < plain["memory"]["frozen"]
    assert few["memory"]["moments"] < plain["memory"]["moments"] / 3
    assert few["memory"]["made_anew"] > 0 == plain["memory"]["made_anew"]


def test_a_limit_is_seen(inspect: Any) -> None:
    samples = [
        inspect("--num-samples", "0", *more)["data_sets"][0]["samples"] for more in ((), ("data.mixture[0].limit=2",))
    ]
    assert samples == [5, 2]


def test_a_drawn_part_says_so(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", config, "--max-plans", "3", "--num-samples", "0"]) == 0
    assert "3 of 7 samples were planned, drawn by chance; sums are scaled" in capsys.readouterr().out


def test_a_curriculum_is_planned_at_its_steps_unless_drawn(inspect: Any) -> None:
    turn = "{name: rotate, params: {max_deg: 5}}"
    phases = "augmentation.curriculum=[{until_percent: 100, ops: {rotate: {max_deg: 30}}}]"
    changes = (f"augmentation.ops=[{turn}]", phases)
    assert inspect("--epoch", "1", *changes)["epoch"]["curriculum_at_start"] is False
    assert inspect("--max-plans", "3", *changes)["epoch"]["curriculum_at_start"] is True


def test_the_terminal_shows_the_text_and_the_tables(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", config, "--num-samples", "1"]) == 0
    out = capsys.readouterr().out
    assert "<|im_start|>user↵\n<|vision_start|>⟦<|image_pad|> x " in out
    assert '{"object_1":·{' in out
    assert "not compared" not in out
    assert "tokens per object in each answer format" in out
    assert "the config has data.answer.format: object_map" in out
    for heading in ("what trains", "memory of one device", "none of it with a GPU", "AdamW's moments", "of the loss"):
        assert heading in out
    assert "█" in out


def test_the_page_is_written(config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "new" / "inspect.html"
    assert main(["inspect", config, "--html", str(page)]) == 0
    text = page.read_text("utf-8")
    assert text.count('<pre class="tokens">') == 2
    for heading in ("what trains", "memory of one device", "data sets", "histograms"):
        assert f"<h2>{heading}</h2>" in text
    assert capsys.readouterr().out.count("optimiser steps") == 2


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--num-samples", "-1"], "--num-samples must be at least 0, not -1"),
        (["--epoch", "-1"], "--epoch must be at least 0, not -1"),
        (["--max-plans", "0"], "--max-plans must be at least 1, not 0"),
        (["--gpus", "0"], "--gpus must be at least 1, not 0"),
        (["--gpus", "3"], "effective_batch_size must be a multiple of 3 (per_device_batch_size x 3 processes), not 2"),
        (["--parallel", "fsdp"], "--gpus must be at least 2 with training.parallel fsdp"),
        (["--tokens-per-s", "0"], "--tokens-per-s must be above 0, not 0.0"),
        (["--run", "nowhere"], "--run must be the folder of a run, with metrics.jsonl in it, not nowhere"),
        (["--split", "val", "--tokens-per-s", "5"], "must go with --split train"),
        (["model.dtype=float8"], "model.dtype"),
        (["data.global_max_length=100"], "sample must have at most 100 tokens"),
        (["data.global_max_length=100", "data.overlong=drop"], "at least one sample must be left"),
        (
            ["training.effective_batch_size=3", "data.packing=false", "training.per_device_batch_size=2"],
            "multiple of 2",
        ),
    ],
)
def test_what_is_wrong_is_named(argv: list[str], message: str, config: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", config, *argv]) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("dcap: ")
    assert message in last


@pytest.mark.parametrize(("policy", "code"), [("skip", 0), ("error", 2)])
def test_an_image_that_is_none_is_skipped_where_the_config_says(
    policy: str, code: int, config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.png").write_bytes(b"no image")
    record = {"images": ["a.png"], "width": 64, "height": 48, "objects": [{"desc": "cup", "bbox_2d": [1, 2, 30, 40]}]}
    (tmp_path / "r.jsonl").write_text(json.dumps(record))
    changes = ["data.check_images=false", f"data.on_bad_record={policy}", "data.mixture=[]"]
    assert main(["inspect", config, f"data.train={tmp_path / 'r.jsonl'}", *changes]) == code
    streams = capsys.readouterr()
    assert "r.jsonl:1" in streams.err
    assert ("what trains" in streams.out) == (code == 0)
