"""An image inside an annotation file, as text in base64: its format, its likeness to a file, and writing it out."""

from __future__ import annotations

import base64
import binascii
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import cv2
import numpy as np
import numpy.typing as npt

from dcap.convert.foreign_files import show_short
from dcap.core.errors import RecordError
from dcap.core.files import why_no_file, written_whole
from dcap.geometry.canvas import MAX_PIXELS
from dcap.records.embedded_image import EmbeddedImage, ImageSource
from dcap.records.images import decode_image, read_header

_HEADS = {
    b"\xff\xd8": ".jpg",
    b"\x89PNG": ".png",
    b"BM": ".bmp",
    b"RIFF": ".webp",
    b"II*\0": ".tif",
    b"MM\0*": ".tif",
    b"GIF8": ".gif",
}
"""Ending of an image file by its first bytes."""
_THUMB = 16
_LIKE = 8.0
"""Mean difference, of 255, up to which small copies of two images show the same; writing a JPEG again makes less."""


@dataclass(frozen=True)
class InsideImage:
    """The bytes of an image file that another file holds."""

    data: bytes
    ending: str
    """Ending of a file of its format."""

    @classmethod
    def of(cls, text: Any, name: str) -> InsideImage:
        """Decode the text.

        Args:
            text: In base64.
            name: Its key, for messages.

        Raises:
            RecordError: It is no base64, or holds no image.
        """
        data = from_base64(text, name)
        ending = next((end for head, end in _HEADS.items() if data.startswith(head)), None)
        if ending is None:
            raise RecordError(f"{name} must be an image of {', '.join(dict.fromkeys(_HEADS.values()))}")
        return cls(data, ending)

    def open_image(self, _: int) -> BinaryIO:
        """Open the bytes; this makes a container of one image."""
        return io.BytesIO(self.data)

    def shows(self, path: Path) -> bool:
        """Return whether a file shows the same picture, if perhaps in another format or quality.

        Raises:
            ImageError: One of the two cannot be decoded.
        """
        if path.stat().st_size == len(self.data) and path.read_bytes() == self.data:
            return True
        inside = EmbeddedImage("inside the file", self, 0)
        if read_header(inside).canvas != read_header(path).canvas:
            return False
        return bool(np.abs(_thumb(inside) - _thumb(path)).mean() <= _LIKE)

    def write(self, folder: Path, names: tuple[str, ...]) -> str:
        """Write the image below a folder and return its name there, with the ending of its format.

        A file that is there and shows the same picture is kept; where it shows another one, ``-inside`` is added to the
        name.

        Args:
            folder: Folder of the images.
            names: Possible names; the first is used.

        Raises:
            ImageError: The bytes are no image, or a file in the way is none.
            RecordError: The name cannot be written, or both names show other pictures.
            OutputError: The folder or the disk does not allow it.
        """
        name = Path(names[0])
        same = name.suffix.lower() in (self.ending, ".jpeg" if self.ending == ".jpg" else self.ending)
        name = name if same else name.with_name(f"{name.name}{self.ending}")
        read_header(EmbeddedImage("inside the file", self, 0))
        for each in (name, name.with_name(f"{name.stem}-inside{name.suffix}")):
            target = folder / each
            if not target.resolve().is_relative_to(folder.resolve()):
                raise RecordError(f"image must be written inside {folder}, and {each} leads out of it by a link")
            problem = why_no_file(target)
            if problem == "missing":
                with written_whole(target, sweep=False) as file:
                    file.write(self.data)
            elif problem:
                raise RecordError(f"image must have a name that can be written, not {each}: it is {problem}")
            elif not self.shows(target):
                continue
            return each.as_posix()
        raise RecordError(f"{target} must show the picture that the file holds, and shows another one. Move it away.")


def from_base64(text: Any, name: str) -> bytes:
    """Return the bytes of a text in base64.

    Raises:
        RecordError: It is none; the message begins with `name`.
    """
    if not isinstance(text, str):
        raise RecordError(f"{name} must be a text in base64, not {show_short(text)}")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise RecordError(f"{name} must be a text in base64, and is damaged") from None


def _thumb(source: ImageSource) -> npt.NDArray[np.float32]:
    pixels = decode_image(source, None, MAX_PIXELS, shrink=8)
    small: Any = cv2.resize(pixels, (_THUMB, _THUMB), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.float32)
