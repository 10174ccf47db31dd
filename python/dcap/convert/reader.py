"""What a reader of a foreign format gives, and the registry of readers.

Owns the extension point: a reader finds images and objects in files; frames, clipping, the record contract and
resizing are the same for all and come behind it, in `dcap.convert.assembler`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from dcap.convert.conversion_report import ConversionReport, SourcePlace
from dcap.core.registry import Registry


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
    """What else is known of it, as JSON data."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Further keys of the record's object."""
    id: int | str | None = None
    """Its number in the foreign file, kept as ``metadata.annotation_ids``."""


@dataclass(frozen=True, slots=True)
class Item:
    """One image with its objects as a foreign file gives them."""

    place: SourcePlace
    images: tuple[str, ...]
    """Paths below the folder of images at which the image may lie; the first that exists is taken."""
    objects: Sequence[FoundObject]
    size: tuple[int, int] | None = None
    """Width and height that the file states; None where it states none."""
    normalised: bool = False
    """Coordinates are shares of width and height."""
    summary: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Further keys of the record."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A foreign data set that has been opened."""

    images: Path
    """Folder that all images must lie in."""
    total: int
    """Number of items, for a progress bar."""
    items: Iterator[Item]
    """The items, read while they are asked for."""
    confined: bool = True
    """Whether images must stay inside the folder; false only for dcap's own records."""


class Reader(Protocol):
    """What a reader does; its fields are its options, on the command line too."""

    def open(self, source: Path, images: Path | None, report: ConversionReport) -> Opened:
        """Open a data set.

        Args:
            source: What the user named: a file or a folder.
            images: Folder of images; None takes the one that the format implies.
            report: Gets what is lost; what is too broken to read goes through its `refuse`.
        """
        ...


READERS: Registry[Callable[..., Reader]] = Registry("annotation format", "dcap.readers")
"""Names to makers, mostly frozen dataclasses; `dcap.convert.readers` fills it."""
