"""The bytes of samples, pinned: who moves or rewrites code below the data set sees here that nothing changed.

A change that is meant to alter samples replaces the digests, and says so in its commit.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from dcap.data.sample import SampleKey
from support.dataset_cases import make_dataset

SEEDS, EPOCHS, PHOTOS = 5, 10, 4
DIGESTS = {
    "plan": "5ff9b628d6ae0f5cff1fb40ba7aee7999e745cb9f4eb9810fbeb1de713ca37ad",
    "pixels": "80eeebf77263a31ed2a1837824d1cd4f51c94dc8a175aed59a36cecdf9e4ab78",
}


@pytest.fixture(scope="module")
def digests(tiny_folder: Path) -> dict[str, str]:
    """SHA-256 of 200 samples: of all that a plan decides, and of the pixels that it makes."""
    plan, pixels = hashlib.sha256(), hashlib.sha256()
    for seed in range(SEEDS):
        dataset = make_dataset(tiny_folder, seed=seed)
        for epoch in range(EPOCHS):
            for index in range(PHOTOS):
                sample = dataset[SampleKey(epoch, index)]
                arrays = (sample.input_ids, sample.labels, sample.mm_token_type_ids, sample.position_ids)
                for array in (*arrays, sample.token_kinds):
                    plan.update(array.tobytes())
                plan.update(repr((sample.grid_thw, sample.weight, sample.answer)).encode())
                assert sample.pixel_values is not None
                pixels.update(np.ascontiguousarray(sample.pixel_values).tobytes())
    return {"plan": plan.hexdigest(), "pixels": pixels.hexdigest()}


@pytest.mark.parametrize("part", ["plan", "pixels"])
def test_samples_are_the_same_bytes_as_ever(digests: dict[str, str], part: str) -> None:
    assert digests[part] == DIGESTS[part]
