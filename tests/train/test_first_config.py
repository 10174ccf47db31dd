"""The config of a first run: it loads whatever its numbers are, and its comments are about them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dcap.core.config import parse_yaml
from dcap.train.config import RunConfig, build_run_config
from dcap.train.first_config import FirstConfig
from dcap.train.sizing import Facts, Lengths, Machine

FACTS = Facts(
    5000, 2000, np.array([3e5, 1e6, 9e6]), np.array([0.0, 3.0, 90.0]), np.array([4.0, 200.0]), np.array([4.0, 80.0])
)
LENGTHS = Lengths(np.array([500.0, 2000.0]), np.array([400.0, 900.0]), counted=True)
MACHINE = Machine("Qwen/Qwen3-VL-4B-Instruct", "bfloat16", 8192, True, 17.3, "the largest that fits")
CONFIG = FirstConfig("mine", ("a.jsonl",), ("b.jsonl",), 900, FACTS, LENGTHS, 1_048_576, MACHINE, 7)


def loaded(config: FirstConfig) -> RunConfig:
    text = config.text(Path("mine.yaml"))
    return build_run_config(parse_yaml(text), (), "mine.yaml")


def test_the_fields_are_the_numbers() -> None:
    run = loaded(CONFIG)
    assert (run.model.name_or_path, run.model.dtype, run.seed) == (MACHINE.model, "bfloat16", 7)
    assert (run.data.global_max_length, run.data.answer.max_pixels, run.data.overlong) == (
        8192,
        1_048_576,
        "drop_objects",
    )
    assert run.data.on_bad_record == "error"
    assert loaded(replace(CONFIG, skips_bad_records=True)).data.on_bad_record == "skip"
    assert (run.training.activation_checkpointing, run.training.eval_limit) == (True, 500)


@pytest.mark.parametrize(
    "changes",
    [
        {"train": ("C:\\a 'b\".jsonl", "größe: 1 #.jsonl")},
        {"name": "no: yes"},
        {"num_val": 3},
        {"max_pixels": 20_480},
        {"facts": Facts(1, 1, np.array([5.0]), np.array([0.0]), np.empty(0), np.empty(0))},
        {"facts": replace(FACTS, num_records=10_000_000)},
        {"lengths": replace(LENGTHS, counted=False)},
        {"machine": replace(MACHINE, dtype="float32", model="builtin:tiny", memory_gib=None)},
    ],
)
def test_any_config_loads(changes: dict[str, object]) -> None:
    config = replace(CONFIG, **changes)  # type: ignore[arg-type]
    run = loaded(config)
    assert run.training.output_dir == f"runs/{config.name}"
    assert run.data.entries("train")[0].files("train")[0] == config.train[0]


def test_small_data_make_more_steps_of_an_epoch_and_more_epochs() -> None:
    small = replace(CONFIG, facts=replace(FACTS, num_records=40))
    assert (small.rows_per_step, small.num_epochs) == (1, 20)
    assert (CONFIG.rows_per_step, CONFIG.num_epochs) == (8, 4)
    huge = replace(CONFIG, facts=replace(FACTS, num_records=1_000_000))
    assert (huge.num_epochs, loaded(huge).training.eval_steps) == (2, 500)
    assert loaded(CONFIG).training.eval_steps is None


def test_comments_say_where_numbers_come_from() -> None:
    text = CONFIG.text(Path("mine.yaml"))
    assert "# Samples have 500 to 2,000 (median 1,250) tokens, as planned, of 2,000 that were drawn." in text
    assert "# The peak of the memory is about 17.3 GiB" in text
    assert "50% of the objects are smaller than 8 pixels" in text
    assert "# max_polygon_points: 16        # 5% of the outlines have 76 points or more" in text
    plain = replace(FACTS, sides=np.array([99.0]), points=np.array([5.0]))
    assert "# max_polygon_points" not in replace(CONFIG, facts=plain).text(Path("mine.yaml"))
    assert "pixels in such an image" not in replace(CONFIG, facts=plain).text(Path("mine.yaml"))
