from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from dcap.augment import OPS, AugmentConfig, Pipeline, Scene
from dcap.core.config import build, read_yaml
from dcap.core.random import generator
from dcap.core.schema import field_docs
from support.augment_cases import CANVAS, CAPTIONS, SHAPES

SHIPPED = {name: OPS.get(name) for name in OPS if OPS.get(name).__module__.startswith("dcap.")}

EVERY_OP = """
completeness: {complete: 显示完整, partial: 只显示部分}
ops:
  - {name: hflip, prob: 0.5}
  - {name: vflip, prob: 0.5}
  - {name: rotate, params: {max_deg: 15}}
  - {name: scale, params: {lo: 0.8, hi: 1.2}}
  - {name: translate, params: {max_dx: 0.1, max_dy: 0.1}}
  - {name: shear, params: {max_deg_x: 8, max_deg_y: 4}}
  - {name: expand_to_fit_affine, params: {max_pixels: 65_536}}
  - {name: random_crop, params: {scale: [0.8, 1.0], completeness_threshold: 0.9}}
  - {name: roi_crop, prob: 0.5, params: {anchors: [box, poly], scale_range: [1.5, 3], min_crop_size: 32}}
  - {name: resize_by_scale, params: {lo: 0.8, hi: 1.5, align_multiple: 32}}
  - {name: pad_to_multiple, params: {multiple: 64}}
  - {name: small_object_zoom_paste, params: {max_targets: 2, scale: [0.3, 0.5], max_size: 200, context: 0.1}}
  - {name: color_jitter, params: {brightness: 0.2, contrast: 0.2}}
  - {name: gamma, params: {lo: 0.7, hi: 1.4}}
  - {name: hsv, params: {hue: 0.05, saturation: 0.3, value: 0.2}}
  - {name: auto_contrast, prob: 0.3, params: {cutoff: 0.01}}
  - {name: clahe, prob: 0.3, params: {clip_limit: 3, tile_grid: [4, 4]}}
  - {name: sharpness, params: {lo: 0.5, hi: 2}}
  - {name: solarize, prob: 0.1, params: {threshold: 200}}
  - {name: posterize, prob: 0.1, params: {bits: 5}}
"""


@pytest.mark.parametrize("name", SHIPPED)
def test_every_op_and_every_field_is_documented(name: str) -> None:
    op = SHIPPED[name]
    assert op.__doc__
    assert {field.name for field in dataclasses.fields(op)} <= set(field_docs(op))


def test_every_op_works_from_yaml(tmp_path: Path) -> None:
    (tmp_path / "every.yaml").write_text(EVERY_OP, "utf-8")
    config = build(AugmentConfig, read_yaml(tmp_path / "every.yaml"), "augmentation")
    image = np.random.default_rng(0).integers(0, 256, (96, 160, 3), dtype=np.uint8)
    applied: set[str] = set()
    for seed in range(30):
        result = Pipeline.from_config(config)(Scene(CANVAS, SHAPES, CAPTIONS, image), generator(seed))
        assert result.scene.canvas.height % 64 == result.scene.canvas.width % 64 == 0
        applied |= set(result.telemetry.applied)
    assert applied == {op.name for op in config.ops}
