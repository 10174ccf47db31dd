"""Shapes, affine maps, exact clipping, tiles and the text grid; NumPy in, NumPy out, no torch."""

from dcap.geometry.affine import Affine
from dcap.geometry.canvas import Canvas
from dcap.geometry.clipping import (
    Clipped,
    clip,
    clip_convex,
    difference,
    transform,
    transform_and_clip,
    transform_geometry,
    visible_fraction,
)
from dcap.geometry.measures import area_or_length, min_area_rect, polygon_iou, simplify
from dcap.geometry.shapes import GeometryKind, ShapeArray
from dcap.geometry.tiling import TilePlan, TileWindow, Tiling

__all__ = [
    "Affine",
    "Canvas",
    "Clipped",
    "GeometryKind",
    "ShapeArray",
    "TilePlan",
    "TileWindow",
    "Tiling",
    "area_or_length",
    "clip",
    "clip_convex",
    "difference",
    "min_area_rect",
    "polygon_iou",
    "simplify",
    "transform",
    "transform_and_clip",
    "transform_geometry",
    "visible_fraction",
]
