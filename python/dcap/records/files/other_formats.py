"""Files that are no records: recognised by their first and last bytes, so that the message names what to do.

Owns how annotations of other tools, JSON over several lines and dcap's own reports look.
"""

from __future__ import annotations

import re

from dcap.core.errors import RecordError
from dcap.core.outputs import JSON_MARK
from dcap.records.json_line import decode_line

HEAD_BYTES = 1 << 16
"""Bytes at the beginning of a file that are looked at."""
_LVIS = re.compile(rb'"(?:neg|not_exhaustive)_category_ids"')
_COCO = re.compile(rb'"images"\s*:\s*\[\s*\{|"(?:annotations|categories)"\s*:\s*\[\s*[{\]]')
_LABELME = re.compile(rb'"shapes"\s*:\s*\[')
_OWN = re.compile(rb'\s*\{\s*"(?:dcap"\s*:.*"made_with"|file"\s*:.*"errors?"|name"\s*:.*"plan")', re.DOTALL)
"""What prediction, ``on_bad_record: skip`` and replay write beside their results."""


def refuse_other_formats(path: object, head: bytes, tail: bytes) -> None:
    """Refuse what is JSON and no JSONL records.

    Args:
        path: The file, for the message.
        head: Its first bytes, up to `HEAD_BYTES`.
        tail: Its last bytes.

    Raises:
        RecordError: It is of another tool, a report of dcap, one array, or one object over several lines.
    """
    text, end = head.lstrip(), tail.rstrip()
    # A line that ends in the head is a record if it looks like one, whatever is inside.
    line, found, rest = text.partition(b"\n")
    if not text or (found and _is_record(line)):
        return
    if text.startswith(b"[") and end.endswith(b"]"):
        raise RecordError(
            f"{path}: file must be JSONL, one record per line, not one JSON array. "
            "Convert it: jq -c '.[]' OLD.json > NEW.jsonl"
        )
    if text.startswith(b"<"):
        raise RecordError(f"{path}: file must be JSONL, not XML. dcap convert voc FOLDER reads files of Pascal VOC.")
    if not text.startswith(b"{"):
        return
    if JSON_MARK in head or _OWN.match(head):
        raise RecordError(
            f"{path}: file must be records, and is a report or a list that dcap wrote. Name the files of records; a "
            "pattern such as 'DIR/*.jsonl' takes some files of a folder."
        )
    if name := json_format(head):
        title, source = {"lvis": ("LVIS", path), "coco": ("COCO", path), "labelme": ("Labelme", "FOLDER")}[name]
        raise RecordError(
            f"{path}: file must be JSONL, one record per line, and this looks like {title}. Convert it: dcap "
            f"convert {name} {source} -o NEW.jsonl"
        )
    if found and end.endswith(b"}") and _goes_on(line, rest):
        raise RecordError(
            f"{path}: file must be JSONL, one record per line, not JSON over several lines. "
            "Convert it: jq -c . OLD.json > NEW.jsonl"
        )


def json_format(head: bytes) -> str | None:
    """Return the format of another tool, ``coco``, ``lvis`` or ``labelme``, that a JSON file looks like.

    Args:
        head: Its first bytes, up to `HEAD_BYTES`.
    """
    formats = ((_LVIS, "lvis"), (_COCO, "coco"), (_LABELME, "labelme"))
    return next((name for pattern, name in formats if pattern.search(head)), None)


def _is_record(line: bytes) -> bool:
    try:
        images = decode_line(line).get("images")
    except RecordError:
        return False
    return isinstance(images, list) and all(isinstance(image, str) for image in images)


def _goes_on(line: bytes, rest: bytes) -> bool:
    """Whether an object begins in the first line and goes on in the next, which no line of its own would look like."""
    return line.rstrip().endswith((b"{", b",", b"[", b":")) and rest.lstrip()[:1] in (b'"', b"{", b"[", b"}")
