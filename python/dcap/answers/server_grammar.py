r"""The grammar of an answer profile in the languages that servers take: EBNF and JSON Schema.

Both bound every list and text, since a model under an open one may go on for ever. EBNF says all that a context-free
grammar can: the texts of the format to the blank, counts that equal the points behind them, numbers in range. It leaves
to the parser whether corners are in order, points differ, and the counts of a prefix hold; `AnswerGrammar` decides that
in the process itself. JSON Schema says less, see `to_json_schema`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from dcap.answers.formats import JsonFormat
from dcap.answers.grammar import COUNT, AnswerGrammar
from dcap.core.errors import ConfigError
from dcap.geometry.shapes import KEY_OF_KIND, MIN_POINTS, GeometryKind

_CHAR = r'[^"\\\x00-\x1f] | "\\" (["\\bfnrt] | "u00" ("0" [0-7bef] | "1" [0-9a-f]))'


def to_ebnf(grammar: AnswerGrammar) -> str:
    r"""Return the grammar in EBNF, as ``structured_outputs: {"grammar": ...}`` of vLLM takes it.

    ::

        root ::= ("[]" | ("[[" box caption | "[[" polygon caption | "[[\"l\"," line caption) rest)
        box ::= box_point ("," box_point){1,1} ",\""
        ...
    """
    pieces, most = grammar.pieces, grammar.bounds
    ends = [pieces.ends[kind] for kind in GeometryKind]
    end = _common_end(ends)
    own = {kind: text.removesuffix(end) for kind, text in pieces.ends.items()}
    first = {kind: pieces.starts[kind] for kind in GeometryKind}
    joints = [
        {kind: pieces.joints[GeometryKind.BOX, kind][k].removeprefix(own[GeometryKind.BOX]) for kind in GeometryKind}
        for k in range(most.objects - 1)
    ]
    rules = {"root": f"{_prefix(grammar)}({_text(grammar.empty)} | {_objects(grammar, first)} rest)"}
    if joints and all(joint == joints[0] for joint in joints):
        rules["rest"] = f"({_objects(grammar, joints[0])}){{0,{len(joints)}}} {_text(end)}"
    else:
        names = ["rest", *[f"rest_{k}" for k in range(2, most.objects + 1)]]
        for name, then, joint in zip(names, names[1:], joints, strict=False):
            rules[name] = f"{_text(end)} | {_objects(grammar, joint)} {then}"
        rules[names[-1]] = _text(end)
    for kind in GeometryKind:
        rules |= _shape_rules(grammar, kind, own[kind])
    rules |= {"x": _range(grammar.span[0]), "y": _range(grammar.span[1])}
    rules |= {"caption": f"char{{1,{most.caption}}}", "char": _CHAR}
    if grammar.prefix:
        rules["number"] = _range(most.objects)
    return "".join([f"{name} ::= {rule}\n" for name, rule in rules.items()])


def _prefix(grammar: AnswerGrammar) -> str:
    return "".join(
        [f"{_text(text)} {'number ' if name else ''}" if text or name else "" for text, name in grammar.prefix]
    )


def _objects(grammar: AnswerGrammar, before: dict[GeometryKind, str]) -> str:
    """Return the choice of an object of each kind with the text before it, its end excluded."""
    if grammar.pieces.text_first:
        inner = [f"{_text(text.partition(COUNT)[0])} {_name(kind)}" for kind, text in grammar.pieces.inner.items()]
        return f"{_text(before[GeometryKind.BOX])} caption {_choice(inner)}"
    return _choice(f"{_text(text.partition(COUNT)[0])} {_name(kind)} caption" for kind, text in before.items())


def _shape_rules(grammar: AnswerGrammar, kind: GeometryKind, end: str) -> dict[str, str]:
    """Return the rules of a shape, from its count or first number to the text behind its last number."""
    of_point, of_shape = grammar.pieces.layout.between(kind)
    name, behind = _name(kind), grammar.pieces.behind_count(kind)
    end = end if grammar.pieces.text_first else grammar.pieces.inner[kind]
    tail = f" {_text(end)}" if end else ""
    more = f"({_text(of_shape)} {name}_point)"
    low, high = (MIN_POINTS[kind], 2 if kind is GeometryKind.BOX else grammar.bounds.points)
    if behind is None:
        shape = f"{name}_point {more}{{{low - 1},{high - 1}}}{tail}"
    else:
        counts = range(low, high + 1)
        shape = _choice(f"{_text(f'{n}{behind}')} {name}_point {more}{{{n - 1}}}{tail}" for n in counts)
    return {name: shape, f"{name}_point": f"x {_text(of_point)} y"}


def _name(kind: GeometryKind) -> str:
    return kind.name.lower()


def _choice(ways: Iterable[str]) -> str:
    return f"({' | '.join(ways)})"


def _common_end(texts: list[str]) -> str:
    """Return the longest text that all of them end with."""
    shortest = min(texts, key=len)
    return next(shortest[k:] for k in range(len(shortest) + 1) if all(text.endswith(shortest[k:]) for text in texts))


def _text(text: str) -> str:
    """Return a fixed text in EBNF."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _range(most: int) -> str:
    """Return the whole numbers from 0 to `most`, without zeros in front."""
    text = str(most)
    ways = ['"0"', *[f"[1-9]{_digits(n)}" for n in range(len(text) - 1)]]
    for k, digit in enumerate(text):
        low = 1 if k == 0 else 0
        if int(digit) > low:
            ways.append(f"{_text(text[:k]) + ' ' if k else ''}[{low}-{int(digit) - 1}]{_digits(len(text) - 1 - k)}")
    return " | ".join([*ways, f'"{text}"'] if most else ways)


def _digits(count: int) -> str:
    return f" [0-9]{{{count}}}" if count else ""


def to_json_schema(grammar: AnswerGrammar) -> dict[str, Any]:
    """Return the grammar as a JSON Schema, for ``response_format`` of any server.

    A schema knows no blanks and no equality: to the parser it leaves blanks, gaps in the numbers of objects, whether a
    count equals the points behind it, corners, and points that differ. In ``rows`` it also leaves the order within a
    row.

    Raises:
        ConfigError: The profile has a prefix or a text for no objects, which is not JSON.
    """
    for name in ("prefix", "empty"):
        text = getattr(grammar.profile, name)
        if text is not None:
            what = "a prefix" if name == "prefix" else "this text"
            raise ConfigError(
                f"answer.{name} must be null for a JSON Schema, not {text!r}: {what} is not JSON. Use the grammar in "
                "EBNF"
            )
    layout, most = grammar.pieces.layout, grammar.bounds
    defs: dict[str, Any] = {
        "caption": {"type": "string", "minLength": 1, "maxLength": most.caption},
        "x": {"type": "integer", "minimum": 0, "maximum": grammar.span[0]},
        "y": {"type": "integer", "minimum": 0, "maximum": grammar.span[1]},
    }
    if not isinstance(layout, JsonFormat):
        number = {"type": "integer", "minimum": 0, "maximum": max(grammar.span)}
        items = {"anyOf": [number, defs.pop("caption")]}
        row = {"type": "array", "minItems": 5, "maxItems": 2 * most.points + 2, "items": items}
        return {"type": "array", "maxItems": most.objects, "items": row}
    defs["point"] = _list([_ref("x"), _ref("y")])
    defs["object"] = {"anyOf": [_object(grammar, layout, kind) for kind in GeometryKind]}
    if layout.numbered:
        objects = {f"object_{k}": _ref("object") for k in range(1, most.objects + 1)}
        return {"type": "object", "properties": objects, "additionalProperties": False, "$defs": defs}
    return {"type": "array", "maxItems": most.objects, "items": _ref("object"), "$defs": defs}


def _object(grammar: AnswerGrammar, layout: JsonFormat, kind: GeometryKind) -> dict[str, Any]:
    key, least, most = KEY_OF_KIND[kind], MIN_POINTS[kind], grammar.bounds.points
    shape: dict[str, Any] = {"type": "array", "minItems": least, "maxItems": most, "items": _ref("point")}
    if kind is GeometryKind.BOX:
        shape = _list([_ref("x"), _ref("y")] * 2)
    members: dict[str, Any] = {}
    if key in layout.counted:
        members[f"{key}_points"] = {"type": "integer", "minimum": least, "maximum": most}
    members[key] = shape
    text = {layout.text_key: _ref("caption")}
    members = text | members if layout.text_first else members | text
    return {"type": "object", "properties": members, "required": list(members), "additionalProperties": False}


def _list(items: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a list of exactly these items."""
    return {"type": "array", "prefixItems": items, "items": False, "minItems": len(items), "maxItems": len(items)}


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/$defs/{name}"}
