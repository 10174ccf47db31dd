"""Images to 8-bit RGB arrays, by one function for the whole library.

Owns the accepted formats, the order of checks (header before pixels), and the size contract with the record.
ICC profiles are ignored: stored values are used unchanged.

Pillow's own bound on pixels is off while dcap opens an image: the bound of the caller is checked instead, also from the
header. A larger bound than Pillow's would have no effect otherwise.
"""

from __future__ import annotations

import struct
import threading
import warnings
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import Image
from PIL.ExifTags import Base

from dcap.core.errors import ImageError
from dcap.core.files import why_no_file
from dcap.geometry.canvas import MAX_PIXELS, MOST_PIXELS, Canvas
from dcap.records.embedded_image import EmbeddedImage, ImageSource
from dcap.records.record import Origin
from dcap.records.sixteen_bit import DARK, SixteenBit, to_bytes

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF")
"""Accepted formats. Pillow knows more, but some start other programs (EPS) or are no photos. MPO is opened as JPEG:
under its own name Pillow fails, and the formats after it fail too."""
_BROKEN = (
    OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, AttributeError, EOFError, OverflowError,
    NotImplementedError, MemoryError, struct.error, zlib.error,
)  # fmt: skip
"""Errors that Pillow's plugins raise on broken files."""

_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""The operation that turns an image with this EXIF orientation upright."""

GREY = 128
"""Colour behind transparent pixels."""


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """Facts about an image, known before its pixels are decoded."""

    canvas: Canvas
    """Size as displayed."""
    orientation: int
    """EXIF orientation 1..8; 5 to 8 swap the sides."""
    format: str
    """Pillow's name of the file format."""
    mode: str
    """Pillow's name of the pixel format."""
    is_deep: bool = False
    """Whether its values have more than 8 bits."""

    @property
    def stored(self) -> Canvas:
        """Size before the orientation is applied."""
        swap = self.orientation >= 5
        return Canvas(self.canvas.width, self.canvas.height) if swap else self.canvas


def read_header(path: ImageSource, origin: Origin | None = None) -> ImageHeader:
    """Read size and orientation without decoding pixels.

    The orientation is that of the EXIF data before the pixels.

    Args:
        path: Image file, or an image inside another file.
        origin: Record that names the image, for messages.

    Raises:
        ImageError: The file is missing, empty, not a regular file, or not an image of `FORMATS`.
    """
    with _opened(path, origin) as (_, header):
        return header


def check_header(
    path: ImageSource, canvas: Canvas | None, max_pixels: int = MAX_PIXELS, origin: Origin | None = None
) -> ImageHeader:
    """Read the header and compare it with the record's canvas and the pixel bound.

    Raises:
        ImageError: As `read_header`; or the image has more than `max_pixels`, or is not `canvas` in size as
            displayed.
    """
    header = read_header(path, origin)
    _check(path, header, canvas, max_pixels, origin)
    return header


def decode_image(
    path: ImageSource,
    canvas: Canvas | None,
    max_pixels: int = MAX_PIXELS,
    origin: Origin | None = None,
    shrink: int = 1,
    sixteen_bit: SixteenBit = "full",
) -> npt.NDArray[np.uint8]:
    """Decode an image to RGB as displayed.

    The EXIF orientation is applied, the first frame of an animation is taken, every mode becomes RGB by the rule
    that `to_rgb` documents.

    Args:
        path: Image file, or an image inside another file.
        canvas: Size that the record gives, as displayed. `None`: no comparison.
        max_pixels: Bound on height x width, checked from the header before pixels are allocated.
        origin: Record that names the image, for messages.
        shrink: 2, 4 or 8: decode a JPEG this many times smaller, from the low frequencies of its blocks. This
            antialiases and is faster. Other files are decoded in full size, and so are turned images whose sides it
            does not divide.
        sixteen_bit: Range of 16-bit values that becomes 0 to 255; see `dcap.records.sixteen_bit.to_bytes`.

    Returns:
        uint8 (H, W, 3), C-contiguous and read-only; (ceil(H / shrink), ceil(W / shrink), 3) where it was shrunk.

    Raises:
        ImageError: As `check_header`; or the pixels are truncated or damaged.
    """
    with _opened(path, origin) as (image, header):
        _check(path, header, canvas, max_pixels, origin)
        upright = header.format == "TIFF"  # Pillow turns TIFF itself while it loads
        try:
            if shrink > 1 and header.format == "JPEG":
                _shrink(image, header, shrink)
            image.load()
            rgb = to_rgb(image, sixteen_bit)
        except _BROKEN as error:
            raise ImageError(
                f"{_where(origin)}image {path} must be whole, not damaged or truncated ({error}). "
                "Replace the file or remove the record."
            ) from None
        if header.orientation in _TRANSPOSE and not upright:
            rgb = rgb.transpose(_TRANSPOSE[header.orientation])
        return np.asarray(rgb, np.uint8)


def _shrink(image: Image.Image, header: ImageHeader, factor: int) -> None:
    """Make a JPEG decode `factor` times smaller, if its border blocks stay in place when displayed."""
    width, height = image.size
    whole = width % factor == 0 and height % factor == 0
    if min(width, height) >= factor and (whole or header.orientation == 1):
        image.draft(None, (width // factor, height // factor))


def _where(origin: Origin | None) -> str:
    return f"{origin}: " if origin else ""


@contextmanager
def _opened(path: ImageSource, origin: Origin | None) -> Iterator[tuple[Image.Image, ImageHeader]]:
    """Open an image and close it again; Pillow's warnings and its bound on pixels are off meanwhile."""
    where = _where(origin)
    with ExitStack() as stack:
        if isinstance(path, EmbeddedImage):
            file: BinaryIO | Path = stack.enter_context(_embedded(path, where))
        else:
            file = _checked_file(Path(path), origin)
        stack.enter_context(_QUIET)
        try:
            image = stack.enter_context(Image.open(file, formats=FORMATS))
        except PermissionError:
            raise ImageError(f"{where}image {path} must be readable, but permission is denied") from None
        except _BROKEN:
            raise ImageError(
                f"{where}image {path} must be one of {', '.join(FORMATS)}, not something else or damaged in its header"
            ) from None
        yield image, _header(image)


def _embedded(image: EmbeddedImage, where: str) -> BinaryIO:
    try:
        return image.open()
    except ImageError as error:
        raise ImageError(f"{where}{error}") from None


def _checked_file(path: Path, origin: Origin | None) -> Path:
    where = _where(origin)
    if problem := why_no_file(path):
        hint = ". Paths in a record start at the folder of its file." if origin and problem == "missing" else ""
        raise ImageError(f"{where}image {path} must be a readable file, not {problem}{hint}")
    if path.stat().st_size == 0:
        raise ImageError(f"{where}image {path} must be a file with an image in it, not an empty one")
    return path


def _header(image: Image.Image) -> ImageHeader:
    try:
        # Not image.getexif(): for PNG it decodes all pixels first, to read what follows them.
        value = Image.Image.getexif(image).get(Base.Orientation, 1)
    except _BROKEN:
        value = 1
    orientation = value if isinstance(value, int) and 1 <= value <= 8 else 1
    turned = orientation >= 5 and image.format != "TIFF"  # Pillow gives a TIFF's size as displayed
    width, height = image.size[::-1] if turned else image.size
    return ImageHeader(Canvas(height, width), orientation, image.format or "", image.mode, _is_deep(image))


def _is_deep(image: Image.Image) -> bool:
    # 16-bit colour has an ordinary mode; how its values are stored is told by the raw mode, such as RGB;16B.
    raw = [str(tile[3]) for tile in getattr(image, "tile", ())]
    return _is_sixteen_bit_grey(image.mode) or image.mode == "F" or any(";16" in mode for mode in raw)


def _check(
    path: ImageSource, header: ImageHeader, canvas: Canvas | None, max_pixels: int, origin: Origin | None
) -> None:
    if header.canvas.num_pixels > min(max_pixels, MOST_PIXELS):
        raise _too_large(path, header, min(max_pixels, MOST_PIXELS), origin)
    if canvas is None or canvas == header.canvas:
        return
    shown = header.canvas
    text = f"{_where(origin)}width, height must be the size of {path} as displayed, {_size(shown)}, not {_size(canvas)}"
    if canvas == header.stored:
        raise ImageError(
            f"{text}: that is the stored size, before its EXIF orientation {header.orientation} is applied. "
            f"Write width {shown.width}, height {shown.height} and give the shapes in the displayed frame, "
            "or save the image without the orientation."
        )
    raise ImageError(f"{text}. Correct the record, or check that it names the right file.")


def _size(canvas: Canvas) -> str:
    return f"{canvas.width} x {canvas.height}"


def _too_large(path: ImageSource, header: ImageHeader, max_pixels: int, origin: Origin | None) -> ImageError:
    raised = ", or raise the bound (data.max_image_pixels, validate --max-pixels)" if max_pixels < MOST_PIXELS else ""
    return ImageError(
        f"{_where(origin)}image {path} must have at most {max_pixels} pixels, not {_size(header.canvas)} = "
        f"{header.canvas.num_pixels}. Shrink it{raised}."
    )


def find_darkness(pixels: npt.NDArray[np.uint8], path: ImageSource) -> str | None:
    """Return why a decoded image is nearly black though its file may not be. `None`: it is not.

    Args:
        pixels: From `decode_image`.
        path: Its source.

    Raises:
        ImageError: As `read_header`.
    """
    most = int(pixels.max(initial=0))
    if most >= DARK:
        return None
    header = read_header(path)
    if not header.is_deep:
        return None
    # Of 16-bit colour Pillow keeps the high byte, before anyone can choose a range.
    way = "Set data.sixteen_bit: minmax or percentile" if _is_sixteen_bit_grey(header.mode) else "Save it with 8 bits"
    return f"decodes to a nearly black picture: no value is above {most} of 255, since few of its bits are used. {way}."


def to_rgb(image: Image.Image, sixteen_bit: SixteenBit = "full") -> Image.Image:
    """Return a loaded image as mode RGB.

    =====================  =========================================================================
    mode                   rule
    =====================  =========================================================================
    RGB                    unchanged (of 16-bit colour Pillow keeps the high byte)
    1, L                   red = green = blue; 1-bit is 0 and 255
    P, PA                  colours looked up in the palette
    LA, La, RGBA, RGBa     composed on mid grey 128; so is any mode with a transparent colour
    I;16, I;16B, I;16L, I  16 bit: by `sixteen_bit`; I is first clipped to 0..65535
    F                      clipped to 0..255 and rounded half to even; NaN is 0
    CMYK, YCbCr, HSV       Pillow's conversion, without ICC profiles
    LAB                    D50 L*a*b* to sRGB, by Pillow's LittleCMS
    =====================  =========================================================================

    Args:
        image: Loaded image, first frame.
        sixteen_bit: Range of 16-bit grey values that becomes 0 to 255.

    Raises:
        ValueError: Another mode.
    """
    mode = image.mode
    if _is_sixteen_bit_grey(mode):
        values = np.clip(np.asarray(image), 0, 65535).astype(np.uint16)
        return Image.fromarray(to_bytes(values, sixteen_bit)).convert("RGB")
    if mode == "F":
        values = np.nan_to_num(np.asarray(image), nan=0.0, posinf=255.0, neginf=0.0)
        return Image.fromarray(np.rint(np.clip(values, 0, 255)).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        return _on_grey(image)
    return image if mode == "RGB" else image.convert("RGB")


def _is_sixteen_bit_grey(mode: str) -> bool:
    return mode.startswith("I")


def _on_grey(image: Image.Image) -> Image.Image:
    rgba = _straight_alpha(image)
    out = Image.new("RGB", rgba.size, (GREY, GREY, GREY))
    out.paste(rgba, mask=rgba.getchannel("A"))
    return out


def _straight_alpha(image: Image.Image) -> Image.Image:
    if image.mode == "La":
        image = image.convert("LA")
    return image if image.mode == "RGBA" else image.convert("RGBA")


class _Quiet:
    """Turns off Pillow's warnings (such as corrupt EXIF) and its bound on pixels while at least one thread decodes.

    `warnings.catch_warnings` alone is not safe here: two threads that overlap would leave the filter in place.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._depth = 0
        self._catch: warnings.catch_warnings[None] | None = None
        self._bound: int | None = None

    def __enter__(self) -> None:
        with self._lock:
            if self._depth == 0:
                self._catch = warnings.catch_warnings()
                self._catch.__enter__()
                warnings.filterwarnings("ignore", module=r"PIL\.")
                self._bound, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
            self._depth += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._depth -= 1
            if self._depth == 0 and self._catch is not None:
                self._catch.__exit__(None, None, None)
                self._catch = None
                Image.MAX_IMAGE_PIXELS = self._bound


_QUIET = _Quiet()
