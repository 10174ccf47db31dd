from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

from dcap.augment.fit import fit_canvas
from dcap.core.errors import GeometryError
from dcap.geometry.canvas import Canvas


@given(st.integers(1, 5000), st.integers(1, 5000), st.sampled_from([(65536, 16777216), (4096, 65536), (1024, 1024)]))
def test_equals_the_published_processor(height: int, width: int, bounds: tuple[int, int]) -> None:
    low, high = bounds
    if max(height, width) > 200 * min(height, width):
        with pytest.raises(GeometryError, match="aspect ratio of at most 200"):
            fit_canvas(Canvas(height, width), low, high)
        return
    fitted = fit_canvas(Canvas(height, width), low, high)
    assert (fitted.height, fitted.width) == smart_resize(height, width, 32, low, high)
