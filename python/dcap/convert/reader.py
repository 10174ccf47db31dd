"""Readers of foreign formats: their output, and their registry.

Owns the extension point. A reader finds images and objects in files. Frames, clipping, the record contract and resizing
are the same for all readers and follow in `dcap.convert.assembler`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from dcap.convert.conversion_report import ConversionReport, SourcePlace
from dcap.convert.image_folder import ImageFolder, ImageSearch
from dcap.core.registry import Registry
from dcap.records.embedded_image import EmbeddedImage


@dataclass(frozen=True, slots=True)
class FoundObject:
    """One object as a foreign file gives it."""

    name: str
    """The object in the words of the format, such as ``annotation 12``."""
    desc: Any
    """Its text; checked later."""
    key: str
    """``bbox_2d``, ``poly`` or ``line``."""
    values: Sequence[Any]
    """Flat coordinates as in a record, in the pixel-edge frame of the item's size; numbers are checked later."""
    attributes: Any = None
    """Its other data, as JSON data."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Further keys of the record's object."""
    id: int | str | None = None
    """Its number in the foreign file, kept as ``metadata.annotation_ids``."""


@dataclass(frozen=True, slots=True)
class Item:
    """One image with its objects as a foreign file gives them."""

    place: SourcePlace
    images: tuple[str, ...]
    """Possible paths of the image, as written; `ImageFolder.find` says which file they mean."""
    objects: Sequence[FoundObject]
    size: tuple[int, int] | None = None
    """Width and height that the file states. `None`: it states none."""
    normalised: bool = False
    """Coordinates are shares of width and height."""
    summary: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Further keys of the record."""
    embedded: EmbeddedImage | None = None
    """The image, where the file of dcap's own record holds it; `images` only names it then."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A foreign data set that has been opened."""

    images: ImageFolder
    """Folder that all images must be in."""
    total: int
    """Number of items, for a progress bar."""
    items: Iterator[Item]
    """The items, each read on request."""
    complete: bool = False
    """Whether the source should name each image of the folder. The report then notes those that it leaves out."""


class Reader(Protocol):
    """The interface of a reader. Its fields are its options, also on the command line."""

    def open(self, source: Path, images: ImageSearch, report: ConversionReport) -> Opened:
        """Open a data set.

        Args:
            source: File or folder that the user named.
            images: What the user says about the place of images; `images.within(folder)` is the folder of images,
                where `folder` is the one that the format implies.
            report: Collects the losses. Broken input goes to its `refuse`.
        """
        ...


READERS: Registry[Callable[..., Reader]] = Registry("annotation format", "dcap.readers")
"""Names to makers, mostly frozen dataclasses; `dcap.convert.readers` fills it."""
