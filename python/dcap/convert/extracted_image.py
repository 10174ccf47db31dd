"""Image files of images that are inside a file of records.

Owns their names: nothing of a foreign name but letters, digits, ``-`` and ``_`` becomes part of a path.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path, PurePosixPath

from dcap.core.files import cut_name, written_whole
from dcap.records.embedded_image import EmbeddedImage
from dcap.records.images import read_header

_ENDINGS = {"JPEG": ".jpg", "MPO": ".jpg", "TIFF": ".tif", "JPEG2000": ".jp2"}
_NAME_LENGTH = 40


def images_beside(out: Path) -> Path:
    """Return the folder of the images that come with a new file of records: ``train-images`` for ``train.jsonl``."""
    return out.with_name(f"{cut_name(out.stem, len('-images'))}-images")


def extract_image(image: EmbeddedImage, name: str, folder: Path) -> Path:
    """Write an image, byte by byte as it is, into a folder; return the path of the file, resolved.

    Args:
        image: The image.
        name: Its name in the file that holds it.
        folder: Of the new file, ``NAME-<hash of the content>.jpg``. A file that is there is kept.

    Raises:
        ImageError: It is no image, or too large.
        RecordError: The file that holds it has changed.
        OutputError: The folder or the disk does not allow it.
    """
    header = read_header(image)
    with image.open() as file:
        data = file.read()
    stem = re.sub(r"[^A-Za-z0-9_-]+", "-", PurePosixPath(name).stem)[:_NAME_LENGTH]
    ending = _ENDINGS.get(header.format, f".{header.format.lower()}")
    path = folder.resolve() / f"{stem}-{hashlib.sha256(data).hexdigest()[:16]}{ending}"
    if not path.is_file() or path.stat().st_size != len(data):
        with written_whole(path, sweep=False) as out:
            out.write(data)
    return path
