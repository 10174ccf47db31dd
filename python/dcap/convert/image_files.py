"""Image files of a folder, found by their names."""

from __future__ import annotations

from pathlib import Path

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".jp2", ".avif", ".mpo")
"""Endings of files that are taken for images, in the order of preference."""


def list_images(folder: Path) -> list[Path]:
    """Return all image files below a folder, sorted."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
