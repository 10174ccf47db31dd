from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcap.augment.fit import fit_canvas, smaller_fits
from dcap.core.errors import GeometryError
from dcap.geometry.canvas import Canvas


@pytest.fixture(scope="module")
def smart_resize() -> Callable[..., tuple[int, int]]:
    """The published size of an image."""
    pytest.importorskip("transformers", reason="its processor is the oracle")
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

    return smart_resize


@given(st.integers(1, 5000), st.integers(1, 5000), st.sampled_from([(65536, 16777216), (4096, 65536), (1024, 1024)]))
def test_equals_the_published_processor(
    smart_resize: Callable[..., tuple[int, int]], height: int, width: int, bounds: tuple[int, int]
) -> None:
    low, high = bounds
    if max(height, width) > 200 * min(height, width):
        with pytest.raises(GeometryError, match="aspect ratio of at most 200"):
            fit_canvas(Canvas(height, width), low, high)
        return
    fitted = fit_canvas(Canvas(height, width), low, high)
    assert (fitted.height, fitted.width) == smart_resize(height, width, 32, low, high)


@given(st.integers(1, 300), st.integers(1, 300), st.integers(1024, 9000), st.integers(0, 7000))
def test_smaller_fits_are_those_of_every_smaller_bound(height: int, width: int, low: int, more: int) -> None:
    canvas = Canvas(height, width)
    if max(height, width) > 200 * min(height, width):
        with pytest.raises(GeometryError, match="aspect ratio of at most 200"):
            list(smaller_fits(canvas, low, low + more))
        return
    every = (fit_canvas(canvas, low, bound) for bound in range(low + more, low - 1, -1))
    first, *smaller = dict.fromkeys(every)
    assert first == fit_canvas(canvas, low, low + more)
    assert list(smaller_fits(canvas, low, low + more)) == [fit for fit in smaller if fit.num_pixels >= low]
