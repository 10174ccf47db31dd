"""Augment the bundled photos and draw them before and after; no model, no torch.

::

    python -m dcap.examples.augment_and_draw sheet.png
"""

import sys
from pathlib import Path
from typing import Any

from dcap.augment import Pipeline, render
from dcap.core.random import generator
from dcap.records import decode_image, image_source, open_records
from dcap.view import Tile, contact_sheet, draw_shapes, write_png

OPS: list[dict[str, Any]] = [
    {"name": "hflip", "prob": 0.5},
    {"name": "rotate", "params": {"max_deg": 15}},
    {"name": "random_crop", "params": {"scale": [0.5, 0.9], "min_coverage": 0.3}},
    {"name": "color_jitter", "params": {"brightness": 0.2, "contrast": 0.2}},
]


def main(out: Path, num_draws: int = 2) -> None:
    """Write a sheet with one row per photo: as annotated, then some draws of the augmentation."""
    pipeline = Pipeline.from_config(OPS)
    tiles = []
    for index, record in enumerate(open_records("builtin:photos/train.jsonl")):
        image = decode_image(image_source(record), record.canvas)
        tiles.append(Tile(draw_shapes(image, record.shapes, record.captions), "as annotated"))
        for epoch in range(num_draws):
            rng = generator(0, epoch, index)  # seed, epoch, index: the same draw in any process
            result = pipeline.plan(record.canvas, record.shapes, rng, record.captions)  # needs no pixels
            pixels = render(image, result.plan)
            drawn = draw_shapes(pixels, result.scene.shapes, result.scene.captions)
            lost = "; ".join(record.captions[i] for i in result.telemetry.dropped) or "nothing"
            notes = (*result.plan.describe().splitlines(), f"lost: {lost}")
            tiles.append(Tile(drawn, f"epoch {epoch}", notes))
    write_png(out, contact_sheet(tiles, columns=1 + num_draws))


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "sheet.png"))
