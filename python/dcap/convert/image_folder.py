"""The folder of images: which file a foreign path means.

Owns the one rule for all readers. A path that leads into the folder is that file, however it is written: absolute, with
``..``, with backslashes. Any other path is looked up by its name below the folder, where that names one file only:
letter case, the form of Unicode letters and a missing ending do not count. Nothing outside is read, unless links may be
followed.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple

from dcap.convert.foreign_files import is_sidecar
from dcap.core.errors import RecordError

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".jp2", ".avif", ".mpo")
"""Endings of files that are taken for images."""

_SHOWN = 3
"""Files that a message names."""
_SHOWN_LETTERS = 300
"""Letters of a path in a message."""
_MOST_OF_NAME = 255
"""Bytes of a name between slashes that file systems allow."""


class FoundImage(NamedTuple):
    """Result of `ImageFolder.find`."""

    path: Path
    """The file, below the folder."""
    by: Literal["path", "name", "file name"]
    """What led to it: its path as written; its name, whose folders are the file's own as far as both have them; or the
    last part of its name alone, in a folder that is called otherwise."""
    written: str
    """The path as written."""


@dataclass(frozen=True)
class ImageSearch:
    """What the user says about the place of images."""

    folder: Path | None = None
    """Folder that all images must be in. `None`: the folder that the format implies."""
    follow_links: bool = False
    """Whether symbolic links may lead out of the folder."""

    def within(self, implied: Path) -> ImageFolder:
        """Return the folder of images: the user's, or else the implied one.

        Raises:
            RecordError: The user's is no folder.
        """
        if self.folder and not self.folder.is_dir():
            raise RecordError(f"--images must be a folder, not {self.folder}")
        return ImageFolder(self.folder or implied, self.follow_links)


def folded(name: str) -> str:
    """Return a name without what spellings differ in: letter case, and the form of Unicode letters."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def is_within(path: str, folder: str) -> bool:
    """Return whether an absolute path without ``..`` is a folder or below it."""
    return path == folder or path.startswith(folder.rstrip("/") + "/")


@dataclass(frozen=True, eq=False)
class FileTree:
    """The files below a folder that have some endings. The folder is walked once, when they are first asked for.

    Files of `is_sidecar` are passed over. A folder that several links lead to is walked once.
    """

    root: Path
    """The folder, resolved."""
    endings: Collection[str]
    """Endings in lower case, with the dot."""
    follow_links: bool = False
    """Whether to walk linked folders that are outside."""
    within: Path | None = None
    """Folder that links must stay in. `None`: the root."""
    links_out: list[str] = field(default_factory=list)
    """Links to folders outside that were not followed; complete after the walk."""

    @cached_property
    def files(self) -> list[str]:
        """Paths below the folder, with slashes, sorted by folder and name.

        Raises:
            RecordError: A folder cannot be read.
        """
        return sorted(self._walk(), key=lambda path: path.split("/"))

    @cached_property
    def _by_name(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for path in self.files:
            found.setdefault(folded(path.rsplit("/", 1)[-1]), []).append(path)
        return found

    def _walk(self) -> Iterator[str]:
        root, bounds = str(self.root), str(self.within or self.root)
        folders, links, seen = [""], list[str](), set[tuple[int, int]]()
        while folders or links:
            # Links last: a folder inside is found under its own name.
            below = folders.pop() if folders else links.pop()
            path = os.path.join(root, below) if below else root
            try:
                status = os.stat(path)
                if (status.st_dev, status.st_ino) in seen:
                    continue
                seen.add((status.st_dev, status.st_ino))
                entries = list(os.scandir(path))
            except OSError as error:
                raise RecordError(f"{path}: folder must be one that can be read ({error.strerror})") from None
            for entry in entries:
                name = f"{below}/{entry.name}" if below else entry.name
                if is_sidecar(entry.name):
                    continue
                linked = entry.is_symlink()
                if not linked and entry.is_dir():
                    folders.append(name)
                elif linked and os.path.isdir(entry.path):
                    stays = self.follow_links or is_within(os.path.realpath(entry.path), bounds)
                    (links if stays else self.links_out).append(name)
                elif os.path.splitext(name)[1].lower() in self.endings and os.path.isfile(entry.path):
                    yield name

    def matches(self, parts: Sequence[str]) -> tuple[list[str], bool]:
        """Return the files that a path from elsewhere can mean.

        Args:
            parts: Its folders and its name, which may lack the ending.

        Returns:
            The files that fit equally well and best; and whether their folders fit: where both have a folder, from the
            end on, it is the same.

        Raises:
            RecordError: A folder cannot be read.
        """
        written = [folded(part) for part in parts]
        names = [written[-1]]
        if os.path.splitext(written[-1])[1] not in self.endings:
            names += [written[-1] + ending for ending in self.endings]
        best, found = (False, 0, 0), list[str]()
        for path in (path for name in names for path in self._by_name.get(name, ())):
            own = path.split("/")
            same = 1
            while same < min(len(own), len(parts)) and folded(own[-1 - same]) == written[-1 - same]:
                same += 1
            last = unicodedata.normalize("NFC", own[-1]) == unicodedata.normalize("NFC", parts[-1])
            score = (same == min(len(own), len(parts)), same, (own[-1] == parts[-1]) + last)
            if score > best:
                best, found = score, []
            if score == best:
                found.append(path)
        return found, best[0]

    def stems(self, name: str) -> list[str]:
        """Return the files of the same name with any of the endings.

        Raises:
            RecordError: A folder cannot be read.
        """
        stem = os.path.splitext(folded(name))[0]
        return [path for ending in self.endings for path in self._by_name.get(stem + ending, ())]


class ImageFolder:
    """The folder that all images must be in.

    Args:
        folder: The folder.
        follow_links: Whether symbolic links may lead out of it.
        confined: Whether images must be in it; if not, paths only start at it and are taken as they are.
    """

    def __init__(self, folder: Path, follow_links: bool = False, confined: bool = True) -> None:
        self.root = Path(os.path.realpath(folder))
        self.follow_links, self.confined = follow_links, confined
        self.tree = FileTree(self.root, SUFFIXES, follow_links)
        self._given = os.path.abspath(folder)
        self._found: dict[Path, FoundImage] = {}

    def find(self, names: Sequence[str]) -> FoundImage:
        """Return the image file that one of the names means.

        Args:
            names: Possible paths of the image. The first that leads to a file in the folder is used, or else the first
                that is found by its name.

        Raises:
            RecordError: No file or several are meant, a link leads out of the folder, or the file was found before for
                another path.
        """
        for name in names:
            _check_name(name)
            for spelling in dict.fromkeys((name, name.replace("\\", "/"))):
                path = self.inside(spelling)
                if path is not None and os.path.isfile(path):
                    return self._checked(FoundImage(path, "path", name))
        for name in names if self.confined else ():
            parts = path_parts(name)
            if not parts:
                continue
            found, fits = self.tree.matches(parts)
            if len(found) > 1:
                shown = ", ".join(found[:_SHOWN]) + (", ..." if len(found) > _SHOWN else "")
                raise RecordError(
                    f"image {name!r} must be one file below {self.root}, not {len(found)} of this name: {shown}. "
                    "Give the folder of one of them as --images."
                )
            if found:
                return self._checked(FoundImage(self.root / found[0], "name" if fits else "file name", name))
        raise RecordError(self._missing(names))

    def unused(self) -> list[str]:
        """Return the image files below the folder that no call of `find` returned."""
        used = {str(path.relative_to(self.root)) for path in self._found if path.is_relative_to(self.root)}
        return [path for path in self.tree.files if path not in used]

    def inside(self, name: str) -> Path | None:
        """Return the path that a name is when it leads into the folder. There may be no file."""
        if not self.confined:
            return self.root / name
        path = os.path.normpath(os.path.join(self._given, name))
        if is_within(path, self._given):
            return self.root / os.path.relpath(path, self._given)
        for other in (path, os.path.realpath(path)):
            if is_within(other, str(self.root)):
                return Path(other)
        return None

    def _checked(self, found: FoundImage) -> FoundImage:
        if self.confined and not self.follow_links:
            target = os.path.realpath(found.path)
            if not is_within(target, str(self.root)):
                raise RecordError(
                    f"image must lie inside {self.root}, and {found.written!r} is a link to {target}. "
                    "Give --follow-links to use it."
                )
        before = self._found.setdefault(found.path, found)
        if before.written != found.written and not before.by == found.by == "path":
            raise RecordError(
                f"image {found.written!r} must be another file than {before.written!r}, and {found.path} is the one "
                "file of this name. Give --images a folder that has both."
            )
        return found

    def _missing(self, names: Sequence[str]) -> str:
        shown = _shown(" or ".join(names))
        text = f"image {shown} must be a file in {self.root}"
        if all(_has_drive(name) or self.inside(name.replace("\\", "/")) is None for name in names):
            text = f"image must lie inside {self.root}, not at {shown!r}, and no file there has its name"
        parts = path_parts(names[-1])
        others = self.tree.stems(parts[-1]) if parts and self.confined else []
        if others:
            text += f". There is {others[0]}"
        elif self.confined and self.tree.links_out:
            return f"{text}, whose {self.tree.links_out[0]} is a link that leads out. Give --follow-links to follow it."
        return f"{text}. Give its folder with --images."


def path_below(folder: Path, written: str) -> Path | None:
    """Return what a path means below a folder: from its start, or from any part of it on.

    ``data/train.txt`` is ``train.txt`` where there is no folder ``data``, and ``../train/images`` is ``train/images``.

    Args:
        folder: The folder, resolved.
        written: A path of any system.

    Returns:
        A file or a folder; None if there is none. Links are not looked at.
    """
    parts = path_parts(written)
    if any(len(part.encode("utf-8", "surrogatepass")) > _MOST_OF_NAME or "\0" in part for part in parts):
        return None
    paths = (folder.joinpath(*parts[k:]) for k in range(len(parts)))
    return next((path for path in paths if os.path.exists(path)), None)


def path_parts(name: str) -> list[str]:
    """Return the folders and the name of a path of any system, without drive, ``.`` and ``..``."""
    parts = name.replace("\\", "/").split("/")
    if _has_drive(name):
        parts[0] = parts[0][2:]
    return [part for part in parts if part not in ("", ".", "..")]


def _has_drive(name: str) -> bool:
    return len(name) > 1 and name[1] == ":" and name[0].isalpha()


def _check_name(name: str) -> None:
    """Refuse what no file can be called."""
    try:
        longest = max(map(len, os.fsencode(name).replace(b"\\", b"/").split(b"/")))
    except UnicodeEncodeError:
        longest = _MOST_OF_NAME + 1
    if "\0" in name or longest > _MOST_OF_NAME:
        raise RecordError(f"image must have a name that can be opened, not {_shown(name)!r}")


def _shown(name: str) -> str:
    return name if len(name) <= _SHOWN_LETTERS else f"{name[:_SHOWN_LETTERS]}..."
