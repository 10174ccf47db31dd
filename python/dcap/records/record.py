"""Records: one annotated image each, typed and immutable, checked once at this border.

Owns the record contract (fields, rules, messages). Reading files is in `dcap.records.files`, pixels in
`dcap.records.images`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from dcap.core.errors import GeometryError, RecordError
from dcap.core.words import printable, show
from dcap.geometry.canvas import MAX_ASPECT_RATIO, Canvas, check_aspect
from dcap.geometry.shapes import ShapeArray
from dcap.geometry.tiling import TileWindow
from dcap.records.conversation import Message, is_conversation, read_messages
from dcap.records.embedded_image import EmbeddedImage, ImageSource
from dcap.records.json_line import Problem, decode_line
from dcap.records.keys import key_hint
from dcap.records.objects import check_text, read_objects
from dcap.records.plain import read_plain

MAX_SIDE = 2**31 - 1
COMPRESSIONS = (".gz", ".zst")
"""Endings that a file's name may have behind the one of its kind."""
_OWN_KEYS = frozenset(("images", "width", "height", "objects", "summary", "metadata"))


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a record was read: ``str(origin)`` is ``"train.jsonl:1841"``."""

    file: str
    """File, as the user named it."""
    line: int
    """Line from 1, blank ones counted; of a Parquet file the row, of a tar shard the sample, from 1."""

    def __str__(self) -> str:
        return printable(f"{Path(self.file).name}:{self.line}")


@dataclass(frozen=True, slots=True)
class Record:
    """One image with its located objects.

    ::

        shapes      [box,    line,   box ]     in displayed pixels, inside the canvas
        captions    ("cup",  "road", "cup")    one per shape
        attributes  (None,   {...},  None)     one per shape

    Raises:
        RecordError: `captions`, `attributes` or `extras` have another length than `shapes`.
    """

    image: str
    """Path as written in the record, see `image_path`; or the name of the `embedded` image."""
    canvas: Canvas
    """The image as displayed, its EXIF orientation applied."""
    shapes: ShapeArray
    """Shapes without repeated points, clipped exactly to the canvas; pixel-edge frame."""
    captions: tuple[str, ...]
    """``desc`` of each shape."""
    attributes: tuple[Any, ...]
    """``attributes`` of each shape. `None`: the shape has none."""
    summary: str | None
    """Description of the whole image."""
    metadata: Mapping[str, Any]
    """The record's ``metadata``."""
    origin: Origin
    """File and line."""
    clipped: tuple[int, ...] = ()
    """Objects that are partly outside the canvas in the file, by their index there."""
    other_parts: tuple[tuple[int, ShapeArray], ...] = ()
    """For each object that the border of the image splits, such as a line that enters it twice: its index in the file,
    and all its parts but the largest, which is the one in `shapes`."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Keys of the record that dcap does not know, kept as they are."""
    extras: tuple[Mapping[str, Any], ...] = ()
    """The same for each object; empty when no object has any."""
    embedded: EmbeddedImage | None = None
    """The image inside the record's own file. `None`: `image` is a path."""
    window: TileWindow | None = None
    """The tile that a sample of the record shows. `None`: all of the image. Shapes are those of the whole image."""
    messages: tuple[Message, ...] = ()
    """A conversation. Such a record has no image, no shapes and a canvas of one pixel; others have no messages."""

    @property
    def name(self) -> str:
        """Its file and line, and of a tile the window: ``train.jsonl:1841 1024x1024 at (820, 0)``."""
        return f"{self.origin}" if self.window is None else f"{self.origin} {self.window}"

    def __post_init__(self) -> None:
        n = len(self.shapes)
        for name in ("captions", "attributes"):
            if len(getattr(self, name)) != n:
                raise RecordError(f"{self.origin}: {name} must have one entry per shape, {n}, "
                                  f"not {len(getattr(self, name))}")  # fmt: skip
        if len(self.extras) not in (0, n):
            raise RecordError(f"{self.origin}: extras must have one entry per shape, {n}, not {len(self.extras)}")


def parse_record(line: bytes, origin: Origin, embedded: EmbeddedImage | None = None) -> Record:
    """Read one line of JSONL.

    A shape partly outside the image is clipped exactly. If the border splits it, its largest (longest) part stays, and
    `with_all_parts` gives the others. A key that is given twice is an error, never a silent loss.

    Args:
        line: UTF-8 JSON without its line end.
        origin: File and line, for messages and for the path of the image.
        embedded: The image, where the record's file holds it.

    Raises:
        RecordError: The first thing that breaks the contract, as ``train.jsonl:1841: objects[3].poly ...``;
            `check_records` names everything in a file that breaks it.
    """
    try:
        record, problems = _read(line, origin, embedded)
    except RecordError as error:
        raise RecordError(f"{origin}: {error}") from None
    if record is None:
        raise RecordError(f"{origin}: {problems[0]}")
    return record


def read_or_explain(
    line: bytes, origin: Origin, embedded: EmbeddedImage | None = None, *, text: bool = False
) -> tuple[Record | None, tuple[Problem, ...]]:
    """Read one line as `parse_record` does, but return all its problems instead of raising.

    Args:
        line: UTF-8 JSON without its line end.
        origin: File and line.
        embedded: As `parse_record`.
        text: Read a conversation, and nothing else.
    """
    try:
        record, problems = _read_conversation(line, origin) if text else _read(line, origin, embedded)
    except RecordError as error:
        return None, (Problem.of(str(error)),)
    return record, tuple(problems)


def read_without_objects(line: bytes, origin: Origin, embedded: EmbeddedImage | None = None) -> Record | None:
    """Return a record with its image, its size and no objects, whatever is wrong with those it has.

    `None`: the line is no JSON object, or image or size break the contract.
    """
    try:
        data = decode_line(line)
    except RecordError:
        return None
    problems: list[Problem] = []
    image, canvas = _image(data, problems), _canvas(data, problems)
    if problems or image is None or canvas is None:
        return None
    extra = {k: v for k, v in data.items() if k not in _OWN_KEYS}
    none = ShapeArray.from_objects(())
    return Record(image, canvas, none, (), (), None, {}, origin, extra=extra, embedded=embedded)


def _read(line: bytes, origin: Origin, embedded: EmbeddedImage | None) -> tuple[Record | None, list[Problem]]:
    plain = read_plain(line, MAX_SIDE)
    if plain is not None and max(plain.width, plain.height) <= MAX_ASPECT_RATIO * min(plain.width, plain.height):
        size = Canvas(height=plain.height, width=plain.width)
        return Record(
            plain.image, size, plain.shapes, plain.captions, plain.attributes, plain.summary, plain.metadata, origin,
            embedded=embedded,
        ), []  # fmt: skip
    data = decode_line(line)
    problems: list[Problem] = []
    if is_conversation(data):
        text = "must be in a data set of data.mixture with text: true; any other record has images and objects"
        return None, [Problem("messages", text)]
    image = _image(data, problems)
    canvas = _canvas(data, problems)
    summary = data.get("summary")
    if summary is not None:
        problem = check_text(summary, "summary")
        problems += [problem] if problem else []
    metadata = data.get("metadata")
    if not isinstance(metadata, dict | None):
        problems.append(Problem("metadata", f"must be an object, not {show(metadata)}"))
    if "objects" not in data:
        problems.append(Problem("objects", _not_given(data, "objects", "; an image without objects has an empty list")))
        return None, problems
    objects = read_objects(data["objects"], canvas, problems)
    if problems or objects is None or image is None or canvas is None:
        return None, problems
    record = Record(
        image=image, canvas=canvas, shapes=objects.shapes, captions=objects.captions,
        attributes=objects.attributes, summary=summary, metadata=metadata or {}, origin=origin,
        clipped=objects.clipped, other_parts=objects.other_parts,
        extra={k: v for k, v in data.items() if k not in _OWN_KEYS},
        extras=objects.extras if any(objects.extras) else (), embedded=embedded,
    )  # fmt: skip
    return record, problems


def _read_conversation(line: bytes, origin: Origin) -> tuple[Record | None, list[Problem]]:
    data, problems = decode_line(line), list[Problem]()
    if not is_conversation(data):
        text = "must be given, without images and objects, as the data set has text: true"
        return None, [Problem("messages", text)]
    messages = read_messages(data["messages"], problems)
    if problems:
        return None, problems
    extra = {key: value for key, value in data.items() if key != "messages"}
    shapes = ShapeArray.from_objects(())
    return Record(
        "", Canvas(1, 1), shapes, (), (), None, {}, origin, extra=extra, messages=messages
    ), problems  # fmt: skip


def _image(data: Mapping[str, Any], problems: list[Problem]) -> str | None:
    images = data.get("images")
    if not isinstance(images, list) or len(images) != 1:
        text = f"must be a list of one path, not {show(images)}" if "images" in data else _not_given(data, "images")
        problems.append(Problem("images", text))
        return None
    path = images[0]
    if not isinstance(path, str) or not path.strip() or "\0" in path:
        problems.append(Problem("images[0]", f"must be a path, not {show(path)}"))
        return None
    return path


def _not_given(data: Mapping[str, Any], name: str, advice: str = "") -> str:
    return "must be given" + (key_hint(data, (name,)) or advice)


def _canvas(data: Mapping[str, Any], problems: list[Problem]) -> Canvas | None:
    sides: dict[str, int] = {}
    for name in ("width", "height"):
        value = data.get(name)
        if type(value) is float and value.is_integer():
            value = int(value)
        if name not in data:
            problems.append(Problem(name, _not_given(data, name)))
        elif type(value) is not int or not 1 <= value <= MAX_SIDE:
            problems.append(Problem(name, f"must be a whole number of pixels >= 1, not {show(data[name])}"))
        else:
            sides[name] = value
    if len(sides) != 2:
        return None
    canvas = Canvas(**sides)
    try:
        check_aspect(canvas)
    except GeometryError as error:
        problems.append(Problem.of(str(error)))
    return canvas


def with_all_parts(record: Record) -> Record:
    """Return a record as it was read, but with every part of its split objects as an object of its own.

    The parts of an object follow each other, the largest first, with equal captions.
    """
    if not record.other_parts:
        return record
    others = dict(record.other_parts)
    index = [i for i in range(len(record.shapes)) for _ in range(1 + len(others.get(i, ())))]
    pieces = [part for i in range(len(record.shapes)) for part in (record.shapes.take([i]), others.get(i)) if part]
    return replace(
        record,
        shapes=ShapeArray.concatenate(pieces),
        captions=tuple(record.captions[i] for i in index),
        attributes=tuple(record.attributes[i] for i in index),
        extras=tuple(record.extras[i] for i in index) if record.extras else (),
        other_parts=(),
    )


def has_fractions(record: Record) -> bool:
    """Whether all coordinates are at most 1 although the image is larger: they look like shares of its sides."""
    small = len(record.shapes) > 0 and bool((record.shapes.xy <= 1.0).all())
    return small and min(record.canvas.width, record.canvas.height) > 1


def image_path(record: Record, root: str | Path | None = None) -> Path:
    """Return the path of the record's image.

    Args:
        record: Relative paths start at the folder of its file. Where a line of a prediction file has no image there,
            they start at the folder of the record that it answers.
        root: Folder that the path must stay in after ``..`` and symbolic links are followed. `None`: any path.

    Raises:
        RecordError: The path leaves `root`, or cannot be resolved.
    """
    path = Path(record.origin.file).parent / record.image
    answered = record.extra.get("source")
    file = answered.get("file") if isinstance(answered, Mapping) else None
    if isinstance(file, str) and "\0" not in file and not os.path.exists(path):
        path = Path(file).parent / record.image
    if root is None:
        return path
    try:
        inside, resolved = Path(root).resolve(), path.resolve()
    except (OSError, RuntimeError, ValueError) as error:
        text = f"images[0] must be a path that resolves, not {show(record.image)} ({error})"
        raise RecordError(f"{record.origin}: {text}") from None
    if not resolved.is_relative_to(inside):
        raise RecordError(
            f"{record.origin}: images[0] must stay inside data.root ({inside}), not lead to {resolved}. "
            "Move the image there, or give a folder that holds it (data.root, --root)."
        )
    return resolved


def image_source(record: Record, root: str | Path | None = None) -> ImageSource:
    """Return the source of the record's image: its own file, or the file that also holds the record.

    Args:
        record: Whose image.
        root: As `image_path`. It does not matter for an image inside the record's file.

    Raises:
        RecordError: As `image_path`.
    """
    return record.embedded or image_path(record, root)


def to_dict(record: Record) -> dict[str, Any]:
    """Return the record as plain JSON data that `parse_record` reads back to the same record.

    Keys that dcap does not know are kept; shapes are written as they are now (cleaned and clipped).
    """
    objects: list[dict[str, Any]] = []
    for i, shape in enumerate(record.shapes.to_objects()):
        item: dict[str, Any] = {"desc": record.captions[i], **shape}
        if record.attributes[i] is not None:
            item["attributes"] = record.attributes[i]
        objects.append({**item, **(record.extras[i] if record.extras else {})})
    if record.messages:
        return {"messages": [message._asdict() for message in record.messages], **record.extra}
    data: dict[str, Any] = {"images": [record.image], "width": record.canvas.width, "height": record.canvas.height}
    data["objects"] = objects
    if record.summary is not None:
        data["summary"] = record.summary
    if record.metadata:
        data["metadata"] = dict(record.metadata)
    return {**data, **record.extra}
