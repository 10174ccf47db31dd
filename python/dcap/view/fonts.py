"""Fonts for pictures: one for Latin text, one that also has Chinese, Japanese and Korean, from the system."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

from PIL import ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

FOLDERS = (
    Path("/usr/share/fonts"),
    Path("/usr/local/share/fonts"),
    # Unlike Path.home(), this never fails: a container's user may have no home folder.
    Path(os.path.expanduser("~/.local/share/fonts")),
    Path(os.path.expanduser("~/.fonts")),
    Path("/System/Library/Fonts"),
    Path("/Library/Fonts"),
    Path("C:/Windows/Fonts"),
)
# In the order of preference; the wide ones hold Latin letters too.
_LATIN = ("DejaVuSans.ttf", "NotoSans-Regular.ttf", "LiberationSans-Regular.ttf", "Arial.ttf", "arial.ttf")
_WIDE = (
    "NotoSansCJK-Regular.ttc",
    "NotoSansCJKsc-Regular.otf",
    "SourceHanSansSC-Regular.otf",
    "wqy-microhei.ttc",
    "wqy-zenhei.ttc",
    "DroidSansFallbackFull.ttf",
    "DroidSansFallback.ttf",
    "PingFang.ttc",
    "Arial Unicode.ttf",
    "msyh.ttc",
    "simhei.ttf",
)
_NO_GLYPH = "\U0010fffe"


@lru_cache(maxsize=4)
def find_fonts(folders: tuple[Path, ...] = FOLDERS) -> tuple[Path, ...]:
    """Return the font files that dcap draws with, the preferred one first. There may be none.

    Args:
        folders: Folders to search for fonts. The default: the font folders of common systems.
    """
    files = {path.name: path for folder in folders if folder.is_dir() for path in sorted(folder.rglob("*.*"))}
    chosen = [next((files[name] for name in names if name in files), None) for names in (_LATIN, _WIDE)]
    return tuple(path for path in chosen if path)


@lru_cache(maxsize=64)
def load_font(size: int, path: Path | None = None, folders: tuple[Path, ...] = FOLDERS) -> Font:
    """Return a font at `size` pixels.

    Args:
        size: Height in pixels.
        path: Its file. `None`: the first of `find_fonts`, or the font inside Pillow.
        folders: As those of `find_fonts`.
    """
    paths = (path,) if path else find_fonts(folders)
    return ImageFont.truetype(str(paths[0]), size) if paths else ImageFont.load_default(size)


def font_for(text: str, size: int, folders: tuple[Path, ...] = FOLDERS) -> Font | None:
    """Return a font at `size` pixels that has every character of `text`. `None`: there is none.

    Args:
        text: Text to write with it.
        size: Height in pixels.
        folders: As those of `find_fonts`.
    """
    fonts = [load_font(size, path) for path in find_fonts(folders)] or [load_font(size, None, folders)]
    return next((font for font in fonts if all(_has(font, char) for char in set(text))), None)


@lru_cache(maxsize=4096)
def _has(font: Font, char: str) -> bool:
    if char.isspace():
        return True
    return _picture(font, char) != _picture(font, _NO_GLYPH)


def _picture(font: Font, char: str) -> tuple[tuple[int, int], bytes]:
    mask = font.getmask(char, mode="L")
    return mask.size, bytes(mask)
