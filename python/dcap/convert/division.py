"""Dividing a data set: which records go into which file, by hashes, with groups kept together.

::

    group     a.jpg and its copy b.jpg    c.jpg    d.jpg
    place     0.31                        0.95     0.07      a hash of the group and the seed, from 0 to 1
    shares    0.9, 0.1: up to 0.9 is train, the rest is val

A group stays in its file when others are added. So shares are met about as exactly as dice would meet them.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from dcap.core.errors import ConfigError, ImageError
from dcap.core.random import keyed_hash
from dcap.records.look_alikes import Looks, find_look_alikes, look_at

GroupBy = Literal["hash", "name", "folder"]
"""What keeps images together. ``hash``: the same content, or one that looks alike. ``name``: nothing; the path decides.
``folder``: the folder of the path, such as one of a video."""

NAMES = ("train", "val", "test")
"""Files of a division, in the order of the shares."""
_SHARES = re.compile(r"[0-9.]+(,[0-9.]+)+")
_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Trait:
    """What a division knows about one record."""

    name: str
    """Path of its image, as written in the source."""
    content: bytes = b""
    """Hash of the image file, with ``hash``."""
    looks: Looks | None = None
    """How the image looks, with ``hash``."""


@dataclass(frozen=True)
class Division:
    """How the records of one data set are divided into two or three files.

    Raises:
        ConfigError: There are fewer or more shares, or their sum is not 1.
    """

    shares: tuple[float, ...]
    """Share of each file: train, val and test."""
    by: GroupBy = "hash"
    """What keeps records together."""
    seed: int = 0
    """Another seed gives another division."""

    def __post_init__(self) -> None:
        fine = len(self.shares) in (2, 3) and min(self.shares) > 0 and math.isclose(sum(self.shares), 1, abs_tol=1e-6)
        if not fine:
            shown = ",".join(f"{share:g}" for share in self.shares)
            raise ConfigError(f"--split must be 2 or 3 shares above 0 that sum to 1, such as 0.9,0.1, not {shown}")

    @staticmethod
    def parse_shares(text: str) -> tuple[float, ...] | None:
        """Return the shares that a text such as ``0.9,0.1`` gives. `None`: it is something else."""
        try:
            return tuple(map(float, text.split(","))) if _SHARES.fullmatch(text) else None
        except ValueError:  # such as 1.2.3
            return None

    def files(self, out: Path) -> tuple[Path, ...]:
        """Return the files: ``train.jsonl`` and ``val.jsonl``, or ``NAME-train.jsonl`` and ``NAME-val.jsonl``.

        Args:
            out: The file that would hold all records.
        """
        before = re.fullmatch(r"(|.*[-_.])train", out.stem)
        begin = before[1] if before else f"{out.stem}-"
        return tuple(out.with_name(f"{begin}{name}{out.suffix}") for name in NAMES[: len(self.shares)])

    def trait(self, name: str, image: Path, max_pixels: int) -> Trait:
        """Return what must be known about a record.

        Args:
            name: Path of its image, as written in the source.
            image: The image file; it is read with ``hash`` only.
            max_pixels: Bound on height x width.

        Raises:
            ImageError: The image cannot be decoded.
        """
        if self.by != "hash":
            return Trait(name)
        return Trait(name, _content(image), look_at(image, max_pixels))

    def groups(self, traits: Sequence[Trait]) -> npt.NDArray[np.int64]:
        """Return the first record of the group that each record is of, int64 (N,)."""
        if self.by == "hash":
            return find_look_alikes(Looks.concatenate([each.looks for each in traits if each.looks is not None]))
        first: dict[bytes, int] = {}
        return np.array([first.setdefault(self._label(each), k) for k, each in enumerate(traits)], np.int64)

    def parts(self, traits: Sequence[Trait]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return the file of each record, int64 (N,), and its group as `groups`.

        A file that would be empty gets the group whose place is nearest to its share.

        Raises:
            ConfigError: There are fewer groups than files.
        """
        group = self.groups(traits)
        _, own, counts = np.unique(group, return_inverse=True, return_counts=True)
        own, num_groups = own.reshape(-1), len(counts)
        if num_groups < len(self.shares):
            raise ConfigError(self._too_few(len(traits), num_groups))
        place = self._places(traits, own, num_groups)
        bounds = np.cumsum(self.shares)[:-1]
        part = np.searchsorted(bounds, place, "right")
        for k, (low, high) in enumerate(zip([0.0, *bounds], [*bounds, 1.0], strict=True)):
            if (part == k).any():
                continue
            free = np.bincount(part, minlength=len(self.shares))[part] > 1
            away = np.where(free, np.maximum(low - place, place - high), np.inf)
            part[np.argmin(away)] = k
        return np.asarray(part[own], np.int64), group

    def _places(self, traits: Sequence[Trait], own: npt.NDArray[np.int64], num_groups: int) -> npt.NDArray[np.float64]:
        """Return the place of each group between 0 and 1, float64 (G,); `own` is the group of each record."""
        least = np.full(num_groups, np.iinfo(np.uint64).max, np.uint64)
        np.minimum.at(least, own, np.array([keyed_hash(self._label(each), self.seed) for each in traits], np.uint64))
        # The least of many hashes is small, so it only chooses the record whose hash counts.
        return np.array([keyed_hash(each.tobytes(), self.seed) / 2.0**64 for each in least])

    def _label(self, trait: Trait) -> bytes:
        """Return what the file of a record follows from."""
        if self.by == "hash":
            return trait.content
        path = trait.name.replace("\\", "/")
        return (path.rpartition("/")[0] if self.by == "folder" else path).encode("utf-8", "surrogatepass")

    def _too_few(self, num_records: int, num_groups: int) -> str:
        files, what = len(self.shares), {"hash": "images that look different", "folder": "folders", "name": "images"}
        text = f"--split must have at least {files} {what[self.by]}, one for each file, not {num_groups}"
        way_out = " Give --by name to divide single images." if self.by != "name" and num_records >= files else ""
        return f"{text}.{way_out}"


def _content(path: Path) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    try:
        with path.open("rb") as file:
            while block := file.read(_BLOCK_BYTES):
                digest.update(block)
    except OSError as error:
        raise ImageError(f"image {path} must be a readable file ({error.strerror})") from None
    return digest.digest()
