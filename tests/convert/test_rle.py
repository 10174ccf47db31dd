"""Run-length encoding against pycocotools, and what must be refused before anything is allocated."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as oracle

from dcap.convert.foreign_shapes import decode_rle
from dcap.core.errors import RecordError

masks = arrays(np.uint8, st.tuples(st.integers(1, 60), st.integers(1, 60)), elements=st.integers(0, 1), fill=st.just(0))


@given(masks)
def test_compressed_and_plain_runs_decode_as_the_oracle_encodes(mask: npt.NDArray[np.uint8]) -> None:
    height, width = mask.shape
    packed = oracle.encode(np.asfortranarray(mask))
    text = packed["counts"].decode("ascii")
    flat = mask.T.ravel()
    ends = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff([0, *ends, flat.size]).tolist()
    plain = [0, *runs] if flat[0] else runs
    for counts in (text, plain):
        found = decode_rle({"size": [height, width], "counts": counts}, (width, height), 10_000)
        assert np.array_equal(found, mask)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools and NumPy 2
@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30))
def test_any_text_fills_the_mask_or_is_refused(text: str) -> None:
    try:
        found = decode_rle({"size": [5, 4], "counts": text}, (4, 5), 100)
    except RecordError:
        return
    assert np.array_equal(found, oracle.decode({"size": [5, 4], "counts": text.encode()}))


@pytest.mark.parametrize(
    ("segmentation", "said"),
    [
        ({"size": [5, 4], "counts": [19]}, "must sum up to 20 pixels, not 19"),
        ({"size": [5, 4], "counts": [10**30]}, "must sum up to 20"),
        ({"size": [5, 4], "counts": [30, -10]}, r"counts\[1\] must be a number of pixels >= 0, not -10"),
        ({"size": [5, 4], "counts": [True, 19]}, r"counts\[0\]"),
        ({"size": [5, 4], "counts": "oooo"}, "compressed runs"),
        ({"size": [5, 4], "counts": None}, "list of numbers or a text"),
        ({"size": [4, 5], "counts": [20]}, r"\[height, width\] of the image, \[5, 4\], not \[4, 5\]"),
        ({"counts": [20]}, "not null"),
    ],
)
def test_broken_runs_are_named(segmentation: dict[str, Any], said: str) -> None:
    with pytest.raises(RecordError, match=said):
        decode_rle(segmentation, (4, 5), 100)


def test_a_huge_mask_is_refused_before_it_is_allocated() -> None:
    side = 2**31 - 1
    with pytest.raises(RecordError, match="at most 100 pixels"):
        decode_rle({"size": [side, side], "counts": [side * side]}, (side, side), 100)
