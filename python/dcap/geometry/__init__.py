"""Shapes, affine maps, exact clipping and the text grid; NumPy in, NumPy out, no torch."""

from dcap.geometry.affine import Affine
from dcap.geometry.area import area_or_length, min_area_rect
from dcap.geometry.canvas import Canvas
from dcap.geometry.clip import Clipped, clip, clip_convex, transform_and_clip, visible_fraction
from dcap.geometry.overlap import polygon_iou
from dcap.geometry.shapes import GeometryKind, ShapeArray
from dcap.geometry.simplify import simplify
from dcap.geometry.single import transform_geometry
from dcap.geometry.transform import transform

__all__ = [
    "Affine",
    "Canvas",
    "Clipped",
    "GeometryKind",
    "ShapeArray",
    "area_or_length",
    "clip",
    "clip_convex",
    "min_area_rect",
    "polygon_iou",
    "simplify",
    "transform",
    "transform_and_clip",
    "transform_geometry",
    "visible_fraction",
]
