from __future__ import annotations

from support.augment_cases import SHAPES, plan


def test_flip_maps_edges_to_edges() -> None:
    flipped = plan([{"name": "hflip"}]).scene.shapes.to_objects()
    assert flipped[0] == {"bbox_2d": [100.0, 8.0, 150.0, 40.0]}
    assert plan([{"name": "vflip"}]).scene.shapes.to_objects()[0] == {"bbox_2d": [10.0, 56.0, 60.0, 88.0]}


def test_a_flip_says_that_the_image_is_mirrored() -> None:
    assert plan([{"name": "hflip"}, {"name": "vflip"}]).plan.steps == (
        "hflip: mirrored left to right",
        "vflip: mirrored top to bottom",
    )


def test_flip_twice_is_the_identity_to_the_bit() -> None:
    assert plan([{"name": "hflip"}, {"name": "hflip"}]).scene.shapes == SHAPES
