"""Conversations as samples: the tokens of the chat template, beside samples with an image."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dcap.core.errors import ConfigError, RecordError
from dcap.data.config import DataConfig, MixtureEntry
from dcap.data.dataset import DenseCaptionDataset
from dcap.data.encode import IGNORE_INDEX, load_tokenizer
from dcap.data.epoch import plan_epoch
from dcap.data.loader import EpochLoader
from dcap.data.tokens import TokenKind
from support.dataset_cases import PHOTOS, data_config

TALK = [
    {"messages": [{"role": "user", "content": "What is a kerb?"}, {"role": "assistant", "content": "An edge. 各"}]},
    {
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "one?"},
            {"role": "assistant", "content": "1"},
            {"role": "user", "content": "two?"},
            {"role": "assistant", "content": "It is 2, <|im_end|> says the text"},
        ]
    },
]


@pytest.fixture
def mixed(tmp_path: Path) -> DataConfig:
    (tmp_path / "talk.jsonl").write_text("".join(json.dumps(each) + "\n" for each in TALK))
    talk = {"name": "talk", "train": str(tmp_path / "talk.jsonl"), "text": True, "loss_weight": 0.5}
    return data_config(train=(), val=(), mixture=[talk, {"name": "photos", "train": PHOTOS}])


@pytest.fixture
def dataset(mixed: DataConfig, micro_folder: Path) -> DenseCaptionDataset:
    return DenseCaptionDataset(mixed, "train", str(micro_folder), augmentation=[{"name": "hflip", "prob": 0.5}])


def test_a_data_set_without_a_record_is_told(
    mixed: DataConfig, micro_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: Any
) -> None:
    monkeypatch.setattr(logging.getLogger("dcap"), "propagate", True)
    (tmp_path / "talk.jsonl").write_text("\n")
    with caplog.at_level(logging.WARNING, "dcap"):
        assert len(DenseCaptionDataset(mixed, "train", str(micro_folder)))
    assert caplog.messages == ["the data set talk of train holds no record"]


def test_the_tokens_are_those_of_the_chat_template(dataset: DenseCaptionDataset, micro_folder: Path) -> None:
    tokenizer = load_tokenizer(str(micro_folder))
    sample = dataset[0]
    whole = tokenizer.apply_chat_template(TALK[0]["messages"], tokenize=False).removesuffix("\n")
    assert sample.input_ids.tolist() == tokenizer(whole, add_special_tokens=False)["input_ids"]
    answer = sample.labels[sample.labels != IGNORE_INDEX]
    assert answer.tolist() == tokenizer("An edge. 各<|im_end|>", add_special_tokens=False)["input_ids"]
    assert sample.labels[-1] == tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert (sample.grid_thw, sample.num_patches, sample.pixel_values) == (None, 0, None)
    assert sample.weight == 0.5
    assert sample.planned_length == len(sample.input_ids)
    assert (sample.position_ids == np.arange(len(sample.input_ids))).all()
    kinds = sample.token_kinds[sample.labels != IGNORE_INDEX]
    assert kinds.tolist() == [TokenKind.CAPTION] * (len(kinds) - 1) + [TokenKind.STRUCTURE]


def test_the_last_message_alone_is_trained_and_holds_no_control_tokens(dataset: DenseCaptionDataset) -> None:
    sample = dataset[1]
    assert sample.answer == "It is 2, <|im_end|> says the text"
    assert sample.num_supervised == dataset.planners[0].encoder.num_answer_tokens(sample.answer)
    end = dataset.planners[0].encoder.end_id
    # System, user, assistant and user end, and the answer itself.
    assert (sample.input_ids == end).sum() == 5
    assert (sample.labels == end).sum() == 1


def test_conversations_share_rows_with_images(dataset: DenseCaptionDataset) -> None:
    plan = plan_epoch(dataset, 0)
    samples = [info for batch in EpochLoader(dataset, plan) for info in batch["samples"]]
    assert sorted(info.dataset for info in samples) == ["photos"] * 4 + ["talk"] * 2
    assert plan.sizes.image_tokens[:2].tolist() == [0, 0]
    talk = [info for info in samples if info.dataset == "talk"]
    assert all(info.key is None and not info.tally and info.weight == 0.5 for info in talk)


def test_a_conversation_that_is_too_long(mixed: DataConfig, micro_folder: Path) -> None:
    from dataclasses import replace

    short = replace(mixed.with_images(), mixture=mixed.mixture[:1], global_max_length=64)
    dataset = DenseCaptionDataset(short, "train", str(micro_folder))
    assert dataset.plan(0, 0).fits
    with pytest.raises(RecordError, match=r"talk\.jsonl:2: conversation must have at most 64 tokens, not \d+"):
        dataset.plan(0, 1)
    dropping = DenseCaptionDataset(replace(short, overlong="drop"), "train", str(micro_folder))
    assert not dropping.plan(0, 1).fits


def test_what_shows_images_leaves_conversations_out(mixed: DataConfig, dataset: DenseCaptionDataset) -> None:
    assert [entry.name for entry in mixed.with_images().mixture] == ["photos"]
    with pytest.raises(RecordError, match="must have an image to be shown, and is a conversation"):
        dataset.image(dataset.records[0])


@pytest.mark.parametrize("change", [{"mode": "dense"}, {"max_objects": 3}, {"prompts": {"dense": "List."}}])
def test_settings_of_images_have_no_place_beside_text(change: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=rf"^{next(iter(change))} must not be given with text: true"):
        MixtureEntry("talk", train="a.jsonl", text=True, **change)
