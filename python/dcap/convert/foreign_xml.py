"""XML files of other tools, in the encoding that they name, read without the dangerous parts.

Owns the refusal of document types, so of entities, and the bounds on size and depth.
"""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from dcap.convert.foreign_files import read_bytes
from dcap.core.errors import RecordError

MAX_XML_BYTES = 16 << 20
MAX_XML_DEPTH = 32

_XML_ENCODING = re.compile(rb"""(?:\xef\xbb\xbf)?<\?xml[^>]*?\sencoding\s*=\s*["']([A-Za-z][A-Za-z0-9._-]*)["']""")
_UTF_16 = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16", b"<\0": "utf-16-le", b"\0<": "utf-16-be"}
"""Encodings of two bytes, in which a file cannot be searched for the name of its encoding, by the first bytes."""
_WIDER = {"gb2312": "gb18030", "gbk": "gb18030", "shift_jis": "cp932", "big5": "cp950", "euc_kr": "cp949"}
"""What files of an encoding are often written in, with more letters than it has."""
_WORDS = {
    expat.errors.XML_ERROR_NO_ELEMENTS: "ends too early",
    expat.errors.XML_ERROR_UNCLOSED_TOKEN: "has a tag here that does not end",
    expat.errors.XML_ERROR_TAG_MISMATCH: "has an end tag here of another element",
    expat.errors.XML_ERROR_INVALID_TOKEN: "has a character here that is not allowed",
    expat.errors.XML_ERROR_JUNK_AFTER_DOC_ELEMENT: "goes on behind its end",
    expat.errors.XML_ERROR_DUPLICATE_ATTRIBUTE: "gives an attribute twice here",
    expat.errors.XML_ERROR_UNDEFINED_ENTITY: "has an unknown entity here",
    expat.errors.XML_ERROR_PARTIAL_CHAR: "ends within a character",
}
_ASCII_PROBES = (b"\\u0041", b"xn--bcher-kva", bytes(range(32, 127)))
"""Texts that encodings leave alone in which XML can name its encoding; others are no encodings of files."""


def load_xml(path: Path) -> Element:
    """Read an XML file.

    Raises:
        RecordError: It is missing or larger than `MAX_XML_BYTES`, nested deeper than `MAX_XML_DEPTH`, has a document
            type, is no XML, or is not in the encoding that it names; the message has line and column but not the file.
    """
    data = _as_utf8(read_bytes(path, MAX_XML_BYTES))
    builder = TreeBuilder()
    parser = expat.ParserCreate("utf-8")
    depth = 0

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > MAX_XML_DEPTH:
            raise RecordError(f"line {parser.CurrentLineNumber}: file must not be nested deeper than {MAX_XML_DEPTH}")
        builder.start(tag, attributes)

    def end(tag: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(tag)

    def refuse(*_: object) -> None:
        raise RecordError(f"line {parser.CurrentLineNumber}: file must have no DOCTYPE, whose entities are not read")

    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        text = _WORDS.get(expat.ErrorString(error.code), "has a mistake here")
        where = f"line {error.lineno} column {error.offset + 1}"
        raise RecordError(f"{where}: file must be XML{_without_encoding(data)}, and {text}") from None
    return builder.close()


def _as_utf8(data: bytes) -> bytes:
    """Return a file in UTF-8. Expat itself knows four encodings; Python hands it those of one byte per letter only."""
    wide = next((name for head, name in _UTF_16.items() if data.startswith(head)), None)
    named = _XML_ENCODING.match(data)
    name = wide or (named[1].decode("ascii") if named else "utf-8")
    if name.lower() == "utf-8":
        return data
    for each in (name, _WIDER.get(name.lower().replace("-", "_"))):
        try:
            if each and (wide or all(probe.decode(each) == probe.decode("ascii") for probe in _ASCII_PROBES)):
                return data.decode(each).encode("utf-8")
        except LookupError:
            text = f"line 1: encoding must be one that is known, not {name}. Save the file as UTF-8."
            raise RecordError(text) from None
        except UnicodeError:
            continue
    raise RecordError(f"line 1: file must be in the encoding that it names, {name}. Save it as UTF-8.")


def _without_encoding(data: bytes) -> str:
    """Say that a file is not UTF-8 and names no other encoding, where that is so."""
    if _XML_ENCODING.match(data) is None:
        try:
            data.decode("utf-8")
        except UnicodeDecodeError:
            return " in UTF-8, or name its encoding in the first line"
    return ""
