"""Hypothesis strategies of colour steps."""

from __future__ import annotations

from hypothesis import strategies as st

from dcap.augment.color import (
    FewerBits,
    HsvScale,
    Hue,
    Inversion,
    Levels,
    PowerCurve,
    Saturation,
)
from dcap.augment.filters import LocalContrast, SharpnessBlend, Stretch

LEVELS = st.builds(Levels, st.floats(0, 2), st.sampled_from([0.0, 128.0]), st.floats(-20, 20))
TABLES = st.one_of(
    LEVELS,
    st.builds(PowerCurve, st.floats(0.2, 5)),
    st.builds(Inversion, st.integers(0, 256)),
    st.builds(FewerBits, st.integers(1, 8)),
)
PASSES = st.one_of(
    st.builds(Saturation, st.floats(0, 2)),
    st.builds(Hue, st.floats(-180, 180)),
    st.builds(HsvScale, st.floats(-180, 180), st.floats(0, 2), st.floats(0, 2)),
    st.builds(Stretch, st.floats(0, 0.4)),
    st.builds(LocalContrast, st.floats(1, 8), st.tuples(st.integers(1, 8), st.integers(1, 8))),
    st.builds(SharpnessBlend, st.floats(0, 3)),
)
STEPS = st.one_of(TABLES, TABLES, PASSES)
