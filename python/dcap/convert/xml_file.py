"""XML files of other tools, read without what makes XML dangerous.

Owns the bounds: no document type, hence no entities of any kind; a bounded size and depth.
"""

from __future__ import annotations

from pathlib import Path
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from dcap.convert.json_file import read_bytes
from dcap.core.errors import RecordError

MAX_BYTES = 16 << 20
MAX_DEPTH = 32


def load_xml(path: Path) -> Element:
    """Read an XML file.

    Raises:
        RecordError: It is missing or larger than `MAX_BYTES`, nested deeper than `MAX_DEPTH`, has a document type, or
            is no XML; the message has line and column but not the file.
    """
    builder = TreeBuilder()
    parser = expat.ParserCreate()
    depth = 0

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > MAX_DEPTH:
            raise RecordError(f"line {parser.CurrentLineNumber}: file must not be nested deeper than {MAX_DEPTH}")
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
        parser.Parse(read_bytes(path, MAX_BYTES), True)
    except expat.ExpatError as error:
        text = expat.ErrorString(error.code)
        raise RecordError(f"line {error.lineno} column {error.offset + 1}: file must be XML, found {text}") from None
    return builder.close()
