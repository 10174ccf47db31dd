"""JSON files of other tools, read with errors that name the place.

Owns the accepted input. JSON may hold the word NaN, which Python's own encoder writes, so that the message can name the
number and not the whole file. Large arrays stay encoded until an item is asked for.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from dcap.core.errors import RecordError
from dcap.core.files import require_file
from dcap.core.words import show
from dcap.records.json_line import (
    MAX_DEPTH,
    count_key_ends,
    fault_of,
    num_keys,
    refuse_repeated_keys,
    with_unique_keys,
)

_BOM = b"\xef\xbb\xbf"
_NUMBER_TYPES = frozenset((int, float))
_MOST_DIGITS = 4300
"""Of a whole number, as Python reads it."""
_NUMBER = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
_KEY = re.compile(rb'[ \t\r\n]*,?[ \t\r\n]*("(?:[^"\\]|\\.)*+")[ \t\r\n]*:[ \t\r\n]*')
_ARCHIVES = {
    b"PK": "a zip archive",
    b"\x1f\x8b": "a gzip file",
    b"\x28\xb5\x2f\xfd": "a zstd file",
    b"Rar!": "a rar archive",
}
"""What a file is, by its first bytes; JSON begins with none of them."""


def load_object(path: Path, max_bytes: int | None = None) -> dict[str, Any]:
    """Read a file that holds one JSON object.

    Args:
        path: The file.
        max_bytes: Bound on its size.

    Returns:
        Keys to values that are still encoded (`decoded` reads them), or plain where the file has NaN or Infinity.

    Raises:
        RecordError: The file is missing or too large, holds no JSON object, or gives a key of it twice.
    """
    data = read_bytes(path, max_bytes).removeprefix(_BOM)
    if kind := next((kind for head, kind in _ARCHIVES.items() if data.startswith(head)), None):
        raise RecordError(f"{path}: file must be JSON, not {kind}. Unpack it, and give the .json file.")
    try:
        found = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return _plain_object(path, data, error)
    try:
        if not _each_once(data, found):
            refuse_repeated_keys(data)
    except RecordError as error:
        raise RecordError(f"{path}: {error}") from None
    return found


def _plain_object(path: Path, data: bytes, error: Exception) -> dict[str, Any]:
    """Read a file that the fast decoder does not take: as JSON that may hold NaN and Infinity."""
    try:
        value = json.loads(data, object_pairs_hook=with_unique_keys, parse_int=_whole_number)
    except RecordError as found:
        raise RecordError(f"{path}: {found}") from None
    except (ValueError, RecursionError) as bad:
        if _is_jsonl(data, bad):
            text = "file must hold one JSON object, not one in each line. dcap convert jsonl reads records of dcap."
            raise RecordError(f"{path}: {text}") from None
        place, text = fault_of(data, error if isinstance(error, RecursionError) else bad, "file")
        before = data.decode("utf-8", "replace")[:place]
        line, column = before.count("\n") + 1, place - before.rfind("\n")
        raise RecordError(f"{path}: line {line} column {column}: {text}{_recode(text)}") from None
    if not isinstance(value, dict):
        raise RecordError(f"{path}: file must hold a JSON object, not {show_short(value)}")
    return value


def _each_once(data: bytes, found: Mapping[str, msgspec.Raw]) -> bool:
    """Return whether a JSON object holds the keys and values found in it, and no others, such as those of a key again.

    Only lengths are compared, so that a file of gigabytes takes no time.
    """
    place = data.index(b"{") + 1
    for key, value in found.items():
        name = _KEY.match(data, place)
        if name is None or msgspec.json.decode(name[1]) != key:
            return False
        place = name.end() + memoryview(value).nbytes
    return data[place:].strip() == b"}"


def _is_jsonl(data: bytes, error: Exception) -> bool:
    """Return whether the first line is a JSON object of its own, with more behind it."""
    if not isinstance(error, json.JSONDecodeError) or error.msg != "Extra data":
        return False
    first = data.split(b"\n", 1)[0].strip()
    return first.startswith(b"{") and first.endswith(b"}") and error.lineno > 1


def _whole_number(text: str) -> float:
    if len(text) > _MOST_DIGITS:
        raise RecordError(f"number must fit float64, not {text[:20]}... of {len(text)} digits")
    return int(text)


def _recode(text: str) -> str:
    return " iconv -f latin1 -t utf-8 OLD > NEW does so." if "must be UTF-8" in text else ""


def read_bytes(path: Path, max_bytes: int | None = None) -> bytes:
    """Read a whole regular file.

    Raises:
        RecordError: It is missing, no regular file, or larger than `max_bytes`.
    """
    require_file(path, "file", RecordError, "Relative paths start at the current folder.")
    size = path.stat().st_size
    if max_bytes is not None and size > max_bytes:
        raise RecordError(f"{path}: file must have at most {max_bytes} bytes, not {size}")
    try:
        return path.read_bytes()
    except OSError as error:
        raise RecordError(f"{path}: file must be readable ({error.strerror})") from None


def is_sidecar(name: str) -> bool:
    """Return whether a file is what macOS keeps beside ``NAME`` on foreign disks and in archives: ``._NAME``."""
    return name.startswith("._")


def files_below(folder: Path, ending: str) -> list[Path]:
    """Return the files of one ending below a folder, in any case, sorted, without those of `is_sidecar`."""
    found = (path for path in folder.rglob("*") if path.suffix.lower() == ending and not is_sidecar(path.name))
    return sorted(path for path in found if path.is_file())


def decoded(value: Any) -> Any:
    """Return the plain value of a result of `load_object` or `array`.

    Raises:
        RecordError: It is damaged inside, which is not looked at before: text that is no UTF-8, a number too large, a
            key that is given twice, or too many levels.
    """
    if not isinstance(value, msgspec.Raw):
        return value
    data = bytes(value)
    try:
        plain = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        _, text = fault_of(data, error, "value")
        raise RecordError(text + _recode(text)) from None
    try:
        count = num_keys(plain, MAX_DEPTH)
    except RecordError:
        raise RecordError(f"value must not be nested deeper than {MAX_DEPTH} levels") from None
    if count_key_ends(data) > count:
        refuse_repeated_keys(data)
    return plain


def array(data: dict[str, Any], key: str, required: bool = True) -> list[Any]:
    """Return the items of an array, encoded or plain as `data` is.

    Raises:
        RecordError: The key is missing and `required`, or its value is no array or damaged.
    """
    if key not in data:
        if not required:
            return []
        given = ", ".join(sorted(data)) or "no key"
        raise RecordError(f"{key} must be given; the file has {given}{other_format(data)}")
    value = data[key]
    try:
        items = msgspec.json.decode(value, type=list[msgspec.Raw]) if isinstance(value, msgspec.Raw) else value
    except msgspec.ValidationError:
        items = None
    if not isinstance(items, list):
        raise RecordError(f"{key} must be a list, not {show_short(decoded(value))}")
    return items


def other_format(data: Mapping[str, Any]) -> str:
    """Return the name of the format that has these keys, as a hint."""
    names = ((("objects",), "jsonl"), (("shapes", "imagePath"), "labelme"), (("annotations", "categories"), "coco"))
    name = next((name for keys, name in names if all(key in data for key in keys)), None)
    return f". It looks like the format {name}: dcap convert {name}" if name else ""


def named(value: Any, name: str) -> Any:
    """Return the plain value, as `decoded` does.

    Raises:
        RecordError: As `decoded`; the message begins with `name`.
    """
    try:
        return decoded(value)
    except RecordError as error:
        raise RecordError(f"{name}: {error}") from None


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
    text = f"{name}[{k}] must be a finite number within {limit:g}, not {show_short(values[k])}"
    raise RecordError(text + unquoted(values[k]))


def unquoted(value: Any) -> str:
    """Return the way out where a number is given as a text."""
    return ". Write the number without quotes." if isinstance(value, str) and _NUMBER.fullmatch(value.strip()) else ""


def number_of(text: str) -> float:
    """Return the number that a text is. Python's own reader takes ``1_000`` and ``nan`` for numbers too.

    Raises:
        ValueError: It is none.
    """
    if _NUMBER.fullmatch(text) is None:
        raise ValueError(text)
    return float(text)
