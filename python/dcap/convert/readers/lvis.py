"""LVIS: COCO's layout, with other names of image files and with categories that were looked for but not found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from dcap.convert.coco_file import CocoFile
from dcap.convert.foreign_files import show_short
from dcap.convert.reader import READERS
from dcap.convert.readers.coco import Coco
from dcap.core.errors import RecordError

_COCO_NAME = len("000000391895.jpg")
_LISTS = {"neg_category_ids": "neg_categories", "not_exhaustive_category_ids": "not_exhaustive_categories"}


@READERS.register("lvis")
@dataclass(frozen=True)
class Lvis(Coco):
    """LVIS: as COCO; images by coco_url, categories that are absent or not exhaustive in the metadata."""

    def image_names(self, image: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the possible paths of an image: by ``coco_url`` with its folder and without, then by ``file_name``.

        ``http://images.cocodataset.org/train2017/000000391895.jpg`` is ``train2017/000000391895.jpg`` or
        ``000000391895.jpg``; of LVIS 0.5's ``COCO_val2014_000000391895.jpg`` the last 16 letters count.

        Raises:
            RecordError: The entry has neither, or ``coco_url`` is no URL.
        """
        url, name = image.get("coco_url"), image.get("file_name")
        names: list[str] = []
        if isinstance(url, str) and url:
            try:
                parts = urlsplit(url).path.strip("/").split("/")
            except ValueError:
                raise RecordError(f"coco_url must be a URL, not {show_short(url)}") from None
            names += ["/".join(parts[-2:]), parts[-1]]
        if isinstance(name, str) and name:
            names += [name, name[-_COCO_NAME:]] if name.startswith("COCO_") else [name]
        if not names:
            raise RecordError("coco_url or file_name must be given")
        return tuple(dict.fromkeys(names))

    def metadata(self, image: Mapping[str, Any], data: CocoFile) -> dict[str, Any]:
        """Return COCO's metadata, with names beside the ids of categories: the ids alone mean nothing in a record.

        Raises:
            RecordError: A list holds what is no category's id.
        """
        found = super().metadata(image, data)
        for key, named in _LISTS.items():
            ids = image.get(key)
            if ids is None:
                continue
            if not isinstance(ids, list) or any(type(k) not in (int, str) or k not in data.categories for k in ids):
                raise RecordError(f"{key} must be a list of ids of the categories")
            found[named] = [data.categories[k]["name"] for k in ids]
        return found
