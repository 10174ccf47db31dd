"""Files of labels of a YOLO data set: which one belongs to an image.

Owns the places where labels are looked for: in the folder ``labels`` beside ``images``, then beside the image. Paths
are compared as those of images: letter case and the form of Unicode letters do not count, nor folders above the data.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence, Set
from functools import cached_property
from pathlib import Path

from dcap.convert.conversion_report import ConversionReport, SourcePlace
from dcap.convert.image_folder import FileTree, ImageFolder, folded, path_parts
from dcap.convert.yolo_data import class_number, read_text
from dcap.core.errors import RecordError
from dcap.core.words import counted

_IMAGE_FOLDERS = ("images", "jpegimages")
"""Folders whose images have their labels in the folder ``labels`` beside it, in lower case."""
_LISTS = frozenset(("classes.txt", "train.txt", "val.txt", "valid.txt", "test.txt"))
"""Text files that hold no labels."""


class LabelFolder:
    """The label files below a folder.

    Args:
        root: The folder, resolved.
        images: The images that they belong to.
        only: Whether all text files there are labels, in the folders of their images; else it is the folder of the
            whole data set.
    """

    def __init__(self, root: Path, images: ImageFolder, only: bool = False) -> None:
        self.root, self.images, self.only = root, images, only
        self.tree = FileTree(root, (".txt",), images.follow_links)

    def places(self, image: Path) -> list[Path]:
        """Return the files that an image's labels should be in, the first choice first."""
        if self.only:
            return [(self.root / image.relative_to(self.images.root)).with_suffix(".txt")]
        swapped = _swapped(image.parts)
        places = [Path(*swapped[0])] if swapped else []
        return [path.with_suffix(".txt") for path in (*places, image)]

    def find(self, image: Path, names: Sequence[str]) -> Path | None:
        """Return the file of labels of an image; None if it has none.

        Args:
            image: Its file.
            names: Its path as written.

        Raises:
            RecordError: Several files differ in their spelling only, or a folder cannot be read.
        """
        for path in self.places(image):
            if path.is_file():
                return path
        for key in self._keys(image, names):
            found = self._by_key.get(key, ())
            if len(found) > 1:
                raise RecordError(f"labels must be one file, not {len(found)}: {', '.join(sorted(found))}")
            if found:
                return self.root / found[0]
        return None

    def refuse_others(self, used: Set[Path], images: Sequence[Path], report: ConversionReport) -> None:
        """Refuse label files that belong to no image; those of an image of another split belong to one.

        Args:
            used: Files of labels that images have.
            images: The images.
            report: Decides what happens.

        Raises:
            RecordError: There is such a file, and bad input is an error; or a folder cannot be read.
        """
        examples = {image.parent: image for image in images}.values()
        folders = {folded(str(path.parent)) for image in examples for path in self.places(image)}
        folders |= {folded(str(path.parent)) for path in used}
        for name in self.tree.files:
            path = self.root / name
            if path in used or path.name.lower() in _LISTS:
                continue
            if not self.only and folded(str(path.parent)) not in folders:
                continue
            if _key(name.split("/")) in self._keys_of_images:
                continue
            if _is_labels(path):
                report.refuse(f"labels must belong to an image, and {self._no_image(path)}", SourcePlace(str(path)))
            else:
                report.add("note", "text file among the labels that holds none", SourcePlace(str(path)))

    def none_found(self, images: Sequence[Path]) -> str:
        """Return what to say when no image has labels."""
        text = f"no file such as {self.places(images[0])[0]} is there for {counted(len(images), 'image')}."
        by_folder: dict[str, int] = {}
        for name in self.tree.files:
            if name.rsplit("/", 1)[-1].lower() not in _LISTS:
                folder = str((self.root / name).parent)
                by_folder[folder] = by_folder.get(folder, 0) + 1
        if not by_folder:
            return f"{text} An image without objects has an empty one."
        folder = max(by_folder, key=lambda key: by_folder[key])
        number = by_folder[folder]
        found = f"{text} {counted(number, 'text file')} {'is' if number == 1 else 'are'} in {folder}."
        if self.only:
            return f"{found} Give the folder of their images as --images."
        return f"{found} If they are labels, convert that folder, with --classes and --images."

    @cached_property
    def _by_key(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for name in self.tree.files:
            found.setdefault(_key(name.split("/")), []).append(name)
        return found

    @cached_property
    def _keys_of_images(self) -> set[str]:
        root = self.images.root
        return {key for name in self.images.tree.files for key in self._keys(root / name, ())}

    def _keys(self, image: Path, names: Sequence[str]) -> Iterator[str]:
        """Yield the folded paths below the folder that labels of an image can have."""
        below = image.relative_to(self.images.root).parts
        if self.only:
            yield from (_key(below[k:]) for k in range(len(below)))
            return
        own = image.relative_to(self.root).parts if image.is_relative_to(self.root) else below
        swapped = _swapped(own)
        yield from map(_key, filter(None, (swapped and swapped[0], ("labels", *below), own)))
        # Of images elsewhere, the path as written tells the folders, of which the first may be above the data.
        for parts in map(path_parts, names) if own is below else ():
            if swapped := _swapped(parts):
                yield from (_key(swapped[0][k:]) for k in range(swapped[1] + 1))

    def _no_image(self, labels: Path) -> str:
        same = self.images.tree.stems(labels.name)
        if same:
            return f"the one of this name is in another folder, {self.images.root / same[0]}"
        parts = list(labels.parent.parts)
        where = [k for k, part in enumerate(parts) if folded(part) == "labels"]
        folders = [Path(*parts[: where[-1]], "images", *parts[where[-1] + 1 :])] if where else []
        for folder in (*folders, labels.parent):
            for path in sorted(folder.iterdir()) if folder.is_dir() else ():
                if folded(path.stem) == folded(labels.stem) and path.suffix.lower() != ".txt":
                    return f"{path} is no kind of image that dcap reads"
        links = self.images.tree.links_out
        advice = f". The folder {links[0]} is a link that leads out: give --follow-links" if links else ""
        return f"no image below {self.images.root} has this name{advice}"


def _swapped(parts: Sequence[str]) -> tuple[list[str], int] | None:
    """Return a path with ``labels`` for its last folder of images, and the place of that; None if it has none."""
    where = [k for k, part in enumerate(parts[:-1]) if folded(part) in _IMAGE_FOLDERS]
    if not where:
        return None
    return [*parts[: where[-1]], "labels", *parts[where[-1] + 1 :]], where[-1]


def _key(parts: Sequence[str]) -> str:
    return folded(os.path.splitext("/".join(parts))[0])


def _is_labels(path: Path) -> bool:
    """Return whether a file is empty, begins with the number of a class, or cannot be read."""
    try:
        words = read_text(path).split(maxsplit=1)
    except RecordError:
        return True
    return not words or class_number(words[0]) is not None
