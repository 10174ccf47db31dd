"""The names of other trainers lead to the fields here."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from dcap.core.config import UnknownFieldError
from dcap.core.errors import ConfigError
from dcap.train.config import RunConfig, build_run_config, field_paths
from dcap.train.other_names import OTHER_NAMES

BASE: dict[str, Any] = {"model": {"name_or_path": "x"}, "data": {"train": "a.jsonl"}, "training": {"output_dir": "out"}}


def test_every_name_leads_to_a_field_and_is_none_itself() -> None:
    fields = set(field_paths(RunConfig)) | {"data.answer.prompts"}
    for name, path in OTHER_NAMES.items():
        assert path.split(" ")[0].split("=")[0] in fields, name
        assert name not in {field.split(".")[-1] for field in fields}


def test_the_error_goes_from_process_to_process() -> None:
    error = UnknownFieldError("lr", "training", ["learning_rate"])
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.key) == (str(error), "lr")


@pytest.mark.parametrize(
    ("override", "meant"),
    [
        ("training.lr=1e-4", "training.learning_rate"),
        ("training.gradient_accumulation_steps=4", "training.effective_batch_size (rows per step over all devices)"),
        ("training.per_device_train_batch_size=1", "training.per_device_batch_size"),
        ("training.epochs=3", "training.num_epochs"),
        ("training.batch_size=8", "training.effective_batch_size (rows per step over all devices)"),
        ("model.lora_r=8", "model.adapter.rank"),
        ("model.adapter.r=8", "model.adapter.rank"),
        ("training.lora_alpha=8", "model.adapter.alpha"),
        ("training.bf16=true", "model.dtype"),
        ("model.load_in_4bit=true", "model.quantization (none or nf4)"),
        ("training.optim=adamw_bnb_8bit", "training.optimizer (adamw or adamw8bit)"),
        ("model.gradient_checkpointing=true", "training.activation_checkpointing"),
        ("data.cutoff_len=4096", "data.global_max_length"),
        ("data.max_pixels=4096", "data.answer.max_pixels"),
        ("training.seed=3", "seed"),
        ("model.learning_rate=1", "training.learning_rate"),
        ("num_epochs=1", "training.num_epochs"),
        ("training.learning_rte=1", "learning_rate"),
    ],
)
def test_the_hint_names_the_field_that_was_meant(override: str, meant: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build_run_config(BASE, [override], "mine.yaml")
    name = override.partition("=")[0]
    assert str(caught.value).startswith(f"override {override}: {name} is not a field of ")
    assert str(caught.value).endswith(f"; did you mean {meant}?")
