"""Decoding: its bounds, and the seeds of answers."""

from __future__ import annotations

from typing import Any

import pytest

from dcap.core.errors import ConfigError
from dcap.model.decoding import Decoding


def test_default_is_greedy() -> None:
    assert Decoding().is_greedy
    assert not Decoding(temperature=0.1).is_greedy


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"max_new_tokens": 0}, "max_new_tokens must be at least 1, not 0"),
        ({"num_samples": 0}, "num_samples must be at least 1, not 0"),
        ({"stop_repeats": 0}, "stop_repeats must be at least 1, not 0"),
        ({"temperature": -0.5}, "temperature must be at least 0, not -0.5"),
        ({"temperature": float("nan")}, "temperature must be finite"),
        ({"top_k": -1}, "top_k must be at least 0, not -1"),
        ({"seed": -1}, "seed must be at least 0, not -1"),
        ({"top_p": 0.0}, "top_p must be above 0 and at most 1, not 0.0"),
        ({"top_p": 1.5}, "top_p must be above 0 and at most 1, not 1.5"),
        ({"repetition_penalty": 0.0}, "repetition_penalty must be above 0, not 0.0"),
        ({"stop": ("x", "")}, "stop must hold texts of at least one character"),
        ({"top_k": 1.5}, "top_k must be an integer"),
    ],
)
def test_value_out_of_range(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Decoding(**change)


def test_each_answer_has_a_seed_of_its_own() -> None:
    keys = ["val.jsonl:1", "val.jsonl:2", "1\0val.jsonl:1", ""]
    seeds = {Decoding(seed=seed).sample_seed(key, k) for seed in (0, 1, 10) for key in keys for k in (0, 1, 11)}
    assert len(seeds) == 3 * len(keys) * 3
    assert all(0 <= seed < 2**64 for seed in seeds)


def test_seed_is_that_of_any_process_and_version() -> None:
    """A fixed number: predictions that are continued by a later version must not change."""
    assert Decoding(seed=7).sample_seed("val.jsonl:3", 2) == 218_910_269_764_580_363
    assert Decoding(seed=7, temperature=0.7, num_samples=4).sample_seed("val.jsonl:3", 2) == 218_910_269_764_580_363
