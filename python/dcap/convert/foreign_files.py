"""JSON and XML files of other tools, read with errors that name the place.

Owns the accepted input. JSON may hold the word NaN, which Python's own encoder writes, so that the message can name the
number and not the whole file. Large arrays stay encoded until an item is asked for. XML is read without its dangerous
parts: no document type, so no entities, and a bounded size and depth.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

import msgspec
import numpy as np
import numpy.typing as npt

from dcap.core.errors import RecordError
from dcap.core.files import require_file
from dcap.core.words import show

MAX_XML_BYTES = 16 << 20
MAX_XML_DEPTH = 32
_BOM = b"\xef\xbb\xbf"
_NUMBER_TYPES = frozenset((int, float))


def load_object(path: Path, max_bytes: int | None = None) -> dict[str, Any]:
    """Read a file that holds one JSON object.

    Args:
        path: The file.
        max_bytes: Bound on its size.

    Returns:
        Keys to values that are still encoded (`decoded` reads them), or plain where the file has NaN or Infinity.

    Raises:
        RecordError: The file is missing or too large, or holds no JSON object.
    """
    data = read_bytes(path, max_bytes).removeprefix(_BOM)
    try:
        return msgspec.json.decode(data, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    try:
        value = json.loads(data)
    except json.JSONDecodeError as error:
        text = f"line {error.lineno} column {error.colno}: file must be JSON, found {error.msg}"
        raise RecordError(f"{path}: {text}") from None
    except UnicodeDecodeError as error:
        raise RecordError(f"{path}: file must be UTF-8, not byte 0x{data[error.start]:02x} at {error.start}") from None
    except RecursionError:
        raise RecordError(f"{path}: file must not be nested so deep") from None
    if not isinstance(value, dict):
        raise RecordError(f"{path}: file must hold a JSON object, not {show_short(value)}")
    return value


def read_bytes(path: Path, max_bytes: int | None = None) -> bytes:
    """Read a whole regular file.

    Raises:
        RecordError: It is missing, no regular file, or larger than `max_bytes`.
    """
    require_file(path, "file", RecordError, "Relative paths start at the current folder.")
    size = path.stat().st_size
    if max_bytes is not None and size > max_bytes:
        raise RecordError(f"{path}: file must have at most {max_bytes} bytes, not {size}")
    return path.read_bytes()


def decoded(value: Any) -> Any:
    """Return the plain value of a result of `load_object` or `array`.

    Raises:
        RecordError: It is damaged inside, which is not looked at before: text that is no UTF-8, or a number too large.
    """
    if not isinstance(value, msgspec.Raw):
        return value
    try:
        return msgspec.json.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RecordError(f"value must be JSON, and is damaged inside ({error})") from None


def array(data: dict[str, Any], key: str, required: bool = True) -> list[Any]:
    """Return the items of an array, encoded or plain as `data` is.

    Raises:
        RecordError: The key is missing and `required`, or its value is no array or damaged.
    """
    if key not in data:
        if not required:
            return []
        raise RecordError(f"{key} must be given; the file has {', '.join(sorted(data)) or 'nothing'}")
    value = data[key]
    try:
        items = msgspec.json.decode(value, type=list[msgspec.Raw]) if isinstance(value, msgspec.Raw) else value
    except msgspec.ValidationError:
        items = None
    if not isinstance(items, list):
        raise RecordError(f"{key} must be a list, not {show_short(decoded(value))}")
    return items


def as_object(value: Any, name: str) -> dict[str, Any]:
    """Return the plain JSON object that `value` is.

    Raises:
        RecordError: It is none; the message begins with `name`. Or as `decoded`.
    """
    plain = decoded(value)
    if not isinstance(plain, dict):
        raise RecordError(f"{name} must be an object, not {show_short(plain)}")
    return plain


def show_short(value: Any) -> str:
    """Return a value for a message; a container as its kind only."""
    if isinstance(value, (dict, list)):
        return f"{'an object' if isinstance(value, dict) else 'a list'} of {len(value)}"
    return show(value)


def checked_numbers(values: Any, name: str, limit: float) -> npt.NDArray[np.float64]:
    """Return numbers as float64 (n,).

    Args:
        values: What a file gives as a list of numbers.
        name: Their name for messages: item 3 is ``name[3]``.
        limit: Largest magnitude.

    Raises:
        RecordError: It is no list, or an item is no finite number within the limit.
    """
    if not isinstance(values, list):
        raise RecordError(f"{name} must be a list of numbers, not {show_short(values)}")
    if _NUMBER_TYPES.issuperset(map(type, values)):
        try:
            array = np.array(values, np.float64)
        except OverflowError:  # a whole number beyond 1e308
            array = np.array([np.inf])
        if not len(array) or np.abs(array).max() <= limit:
            return array
    k = next(k for k, value in enumerate(values) if type(value) not in _NUMBER_TYPES or not abs(value) <= limit)
    raise RecordError(f"{name}[{k}] must be a finite number within {limit:g}, not {show_short(values[k])}")


def load_xml(path: Path) -> Element:
    """Read an XML file.

    Raises:
        RecordError: It is missing or larger than `MAX_XML_BYTES`, nested deeper than `MAX_XML_DEPTH`, has a document
            type, or is no XML; the message has line and column but not the file.
    """
    builder = TreeBuilder()
    parser = expat.ParserCreate()
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
        parser.Parse(read_bytes(path, MAX_XML_BYTES), True)
    except expat.ExpatError as error:
        text = expat.ErrorString(error.code)
        raise RecordError(f"line {error.lineno} column {error.offset + 1}: file must be XML, found {text}") from None
    return builder.close()
