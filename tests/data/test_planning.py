from __future__ import annotations

import logging
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dcap.core.errors import RecordError
from dcap.data.collate import PackingCollator
from dcap.data.dataset import DenseCaptionDataset
from dcap.data.lengths import EpochLengths, sample_sizes
from dcap.data.planning import Planner
from dcap.data.sample import encode_sample
from dcap.records.images import decode_image
from dcap.records.record import image_path
from support.dataset_cases import AUGMENTATION, make_dataset, records

EXTENTS = ((80, 120), (300, 200), (240, 240), (64, 400))


@pytest.fixture(scope="module")
def dataset(micro_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> DenseCaptionDataset:
    """Four pictures with four triangles each; half of the draws are left as they are."""
    folder, rng = tmp_path_factory.mktemp("records"), np.random.default_rng(0)
    items: list[dict[str, Any]] = []
    for number, (height, width) in enumerate(EXTENTS):
        Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(folder / f"{number}.png")
        points = rng.uniform(0, [width, height], (4, 3, 2)).round(2)
        objects = [{"desc": f"thing {i}", "poly": ring.ravel().tolist()} for i, ring in enumerate(points)]
        items.append({"images": [f"{number}.png"], "width": width, "height": height, "objects": objects})
    augmentation = {**AUGMENTATION, "bypass_prob": 0.5}
    settings = {"train": records(folder, *items), "answer": {"min_pixels": 4096, "max_pixels": 90_000}}
    return make_dataset(micro_folder, augmentation, **settings)


def planner(dataset: DenseCaptionDataset, overlong: Any, max_length: int, **answer: Any) -> Planner:
    whole = dataset.planners[0]
    return replace(
        whole,
        config=replace(whole.config, overlong=overlong, global_max_length=max_length),
        profile=replace(whole.profile, answer=replace(whole.profile.answer, **answer)),
    )


CASES = {"epoch": st.integers(0, 30), "index": st.integers(0, 3), "share": st.floats(0.3, 1.1)}


@pytest.mark.parametrize("norm", ["norm1000", "none"])
@pytest.mark.parametrize("overlong", ["error", "drop", "drop_objects", "shrink_image"])
@settings(max_examples=25)
@given(**CASES)
def test_what_fits_is_as_long_as_planned_and_the_rest_is_refused_or_left_out(
    dataset: DenseCaptionDataset, overlong: str, norm: str, epoch: int, index: int, share: float
) -> None:
    record = dataset.records[index]
    full = planner(dataset, "drop", 6000, emit_norm=norm).plan(record, epoch, index)
    limit = max(64, int(full.length * share))
    rules = planner(dataset, overlong, limit, emit_norm=norm)
    if overlong == "error" and full.length > limit:
        with pytest.raises(RecordError, match=f"r.jsonl:{index + 1}: sample must have at most {limit} tokens, not"):
            rules.plan(record, epoch, index)
        return
    try:
        planned = rules.plan(record, epoch, index)
    except RecordError:
        assert overlong == "shrink_image"
        return
    assert planned.fits == (planned.length <= limit)
    assert planned.fits or overlong in ("drop", "drop_objects")
    assert bool(planned.result.telemetry.fitted) == (full.length > limit and overlong != "drop")
    if not planned.fits:
        return
    image = decode_image(
        image_path(record, None), record.canvas, 10**6, record.origin, planned.result.plan.decode_shrink
    )
    sample = encode_sample(rules, planned, image, 1.0)
    assert len(sample.input_ids) == planned.length
    PackingCollator(limit)([sample])  # which checks the image's placeholders and patches


@pytest.mark.parametrize("norm", ["norm1000", "none"])
@settings(max_examples=8)
@given(**CASES)
def test_the_image_is_as_large_as_the_length_allows(
    dataset: DenseCaptionDataset, norm: str, epoch: int, index: int, share: float
) -> None:
    """A shrunk sample is what a lower `max_pixels` gives, and no larger one would do."""
    record = dataset.records[index]

    def bounded(max_pixels: int) -> Any:
        return planner(dataset, "drop", limit, emit_norm=norm, max_pixels=max_pixels).plan(record, epoch, index)

    limit = 6000
    full = bounded(90_000)
    limit = max(64, int(full.length * share))
    found = [each for each in map(bounded, range(90_000, 4095, -1024)) if each.result.scene.canvas.num_pixels >= 4096]
    largest = max((each.result.scene.canvas.num_pixels for each in found if each.fits), default=0)
    rules = planner(dataset, "shrink_image", limit, emit_norm=norm)
    if found[-1].length > limit + 100:  # more than what rounding makes of the text
        with pytest.raises(RecordError, match=f"sample must have at most {limit} tokens"):
            rules.plan(record, epoch, index)
        return
    if not largest:
        return
    shrunk = rules.plan(record, epoch, index)
    canvas = shrunk.result.scene.canvas
    assert shrunk.fits
    assert canvas.num_pixels >= largest
    same = {rules.answer_text(each) for each in found if each.result.scene.canvas == canvas}
    assert same <= {rules.answer_text(shrunk)}
    assert canvas.num_pixels >= 4096
    assert shrunk.result.telemetry.applied == full.result.telemetry.applied
    assert shrunk.result.plan.color == full.result.plan.color


def test_the_error_names_the_smallest_image(dataset: DenseCaptionDataset) -> None:
    with pytest.raises(
        RecordError, match=r"r.jsonl:3: .* at most 80 tokens, not \d+: 4 of its image of 64x64 and \d+ of its answer\. "
    ):
        planner(dataset, "shrink_image", 80).plan(dataset.records[2], 1, 2)


@pytest.mark.parametrize(
    ("overlong", "pixels", "lower"),
    [
        ("error", 4096, "max_polygon_points or max_pixels"),
        ("error", 500_000, "max_pixels or max_polygon_points"),
        ("shrink_image", 4096, "max_polygon_points"),
    ],
)
def test_the_error_names_the_knob_of_the_longer_part_first(
    dataset: DenseCaptionDataset, overlong: str, pixels: int, lower: str
) -> None:
    rules = planner(dataset, overlong, 80, min_pixels=pixels, max_pixels=pixels)
    with pytest.raises(RecordError, match=rf"Raise data\.global_max_length, lower data\.answer\.{lower}, or set"):
        rules.plan(dataset.records[0], 1, 0)


@pytest.mark.parametrize("num_workers", [0, 1])
@pytest.mark.parametrize(
    ("overlong", "message"),
    [
        ("drop", r"train epoch 0: 2 samples left out, too long"),
        ("drop_objects", r"train epoch 0: \d+ objects left out of 2 samples, too long"),
        ("shrink_image", r"train epoch 0: smaller images in 2 samples, too long"),
    ],
)
def test_every_policy_is_counted(
    dataset: DenseCaptionDataset,
    micro_folder: Path,
    overlong: str,
    message: str,
    num_workers: int,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(logging.getLogger("dcap"), "propagate", True)
    data = dataset.data
    section = {"train": data.train, "answer": {"min_pixels": 4096, "max_pixels": 90_000}}
    lengths = sample_sizes(make_dataset(micro_folder, {}, **section), 0).tokens
    limit = int(np.sort(lengths)[-3])
    changed = {"overlong": overlong, "global_max_length": limit, "num_workers": num_workers}
    limited = make_dataset(micro_folder, {}, **section, **changed)
    found = EpochLengths(limited, 0)
    found.all(chunk=1)
    with caplog.at_level(logging.WARNING, "dcap"):
        found.report()
    (told,) = [record.message for record in caplog.records if "too long" in record.message]
    assert re.fullmatch(message, told)
    if overlong != "drop":
        longest = int(np.argmax(lengths))
        tally = PackingCollator(limit)([limited[longest]])["samples"][0].tally
        name = {"drop_objects": "fitted/dropped_objects", "shrink_image": "fitted/shrunk_image"}[overlong]
        assert tally[name] == found.notes.fitted[longest][name.partition("/")[2]]
