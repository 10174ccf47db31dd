"""Which values of 16 bits become black and white."""

from __future__ import annotations

import numpy as np
import pytest

from dcap.records.sixteen_bit import SixteenBit, to_bytes

RAMP = np.arange(0, 4096, dtype=np.uint16).reshape(64, 64)
RULES: tuple[SixteenBit, ...] = ("full", "minmax", "percentile")


def test_the_full_range_is_the_high_byte() -> None:
    values = np.array([0, 255, 256, 32768, 65535], np.uint16)
    assert to_bytes(values, "full").tolist() == [0, 0, 1, 128, 255]


def test_from_the_least_to_the_most() -> None:
    shown = to_bytes(RAMP + 100, "minmax")
    assert np.array_equal(shown, np.rint(RAMP * (255 / 4095)).astype(np.uint8))


def test_percentiles_pass_over_hot_pixels() -> None:
    hot = RAMP.copy()
    hot[0, :3], hot[-1, -3:] = 0, 65535
    assert to_bytes(hot, "minmax").max() == 255
    assert np.sort(to_bytes(hot, "minmax").ravel())[-4] < 17
    low, high = np.percentile(RAMP, [1, 99], method="inverted_cdf")
    shown = to_bytes(hot, "percentile")
    assert (shown == 0).mean() == pytest.approx(0.01, abs=0.004)
    assert (shown == 255).mean() == pytest.approx(0.01, abs=0.004)
    assert np.array_equal(shown[1:-1], np.rint((RAMP[1:-1].clip(low, high) - low) * (255 / (high - low))))


@pytest.mark.parametrize("rule", RULES)
def test_one_value_alone_has_no_range(rule: SixteenBit) -> None:
    assert (to_bytes(np.full((4, 4), 0x1234, np.uint16), rule) == 0x12).all()
    assert to_bytes(np.empty((0, 3), np.uint16), rule).shape == (0, 3)


def test_where_nearly_all_values_are_one_the_others_are_still_seen() -> None:
    values = np.full(1000, 7, np.uint16)
    values[0] = 900
    assert to_bytes(values, "percentile").tolist() == [255, *[0] * 999]


@pytest.mark.parametrize("rule", RULES)
def test_the_order_of_values_stays(rule: SixteenBit) -> None:
    values = np.sort(np.random.default_rng(0).integers(0, 65536, 500).astype(np.uint16))
    assert (np.diff(to_bytes(values, rule).astype(int)) >= 0).all()
