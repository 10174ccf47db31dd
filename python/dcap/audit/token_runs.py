"""Token runs: the text of a sample, cut at its tokens and shown in full, with nothing hidden.

In ``shown``, blanks and newlines are marks, and the placeholders of an image are one run. A character that several
tokens share comes with the bytes of each token, or as bytes alone, ``⟦0x 9f|a6⟧``, if it cannot be printed. Other
characters that cannot be printed, and the marks themselves, are numbers. So the text can be read back, and no caption
can act on the terminal or page that shows it::

    ⟦<|image_pad|> x 588⟧<|vision_end|>List·it.<|im_end|>↵
    <|im_start|>assistant↵
    {"object_1":·{"bbox_2d":·[10,·20,·30,·40],·"desc":·"⟦猫 e7 8c|ab⟧⟦U+200B⟧"}}<|im_end|>
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from dcap.data.encode import IGNORE_INDEX, Tokenizer, token_bytes
from dcap.data.sample import Sample
from dcap.data.tokens import TokenKind

_MARKS = {" ": "·", "\n": "↵\n", "\t": "→"}
_RESERVED = frozenset("·↵→⟦⟧")


@dataclass(frozen=True, slots=True)
class TokenRun:
    """One token. The placeholders of an image, and tokens that share a character, are one run too.

    Args:
        ids: Token ids.
        pieces: Bytes of each token, UTF-8 when joined.
        kind: Kind of its first token.
        supervised: Whether it carries a label.
    """

    ids: tuple[int, ...]
    pieces: tuple[bytes, ...]
    kind: TokenKind
    supervised: bool

    @property
    def raw(self) -> bytes:
        """The exact text, in UTF-8."""
        return b"".join(self.pieces)

    @property
    def shown(self) -> str:
        """The text as it is shown; see the module."""
        if self.kind is TokenKind.IMAGE:
            return f"⟦{visible(self.pieces[0].decode())} x {len(self.ids)}⟧"
        text, pieces = self._visible(), "|".join(piece.hex(" ") for piece in self.pieces)
        if ("⟦" in text and len(self.pieces) > 1) or not text:
            return f"⟦0x {pieces}⟧"
        return text if len(self.pieces) == 1 else f"⟦{text} {pieces}⟧"

    @property
    def about(self) -> str:
        """Kind, label and ids in words."""
        ids = " ".join(map(str, dict.fromkeys(self.ids) if len(set(self.ids)) == 1 else self.ids))
        return f"{self.kind.name.lower()}{', supervised' if self.supervised else ''}, id {ids}"

    def _visible(self) -> str:
        """Return the visible text; empty where the bytes are none."""
        try:
            return visible(self.raw.decode())
        except UnicodeDecodeError:
            return ""


def visible(text: str) -> str:
    """Return text with marks for blanks, and numbers for what cannot be printed or is a mark itself."""
    return "".join(_MARKS.get(char) or _printed(char) for char in text)


def _printed(char: str) -> str:
    return char if char.isprintable() and char not in _RESERVED else f"⟦U+{ord(char):04X}⟧"


def token_runs(sample: Sample, tokenizer: Tokenizer) -> list[TokenRun]:
    """Return the tokens of a sample in order. Tokens that cannot be shown alone are joined.

    Args:
        sample: An encoded sample.
        tokenizer: What encoded it.
    """
    return list(_joined(_single_runs(sample, tokenizer)))


def _single_runs(sample: Sample, tokenizer: Tokenizer) -> Iterator[TokenRun]:
    kinds, labels = sample.token_kinds.tolist(), sample.labels.tolist()
    for token, kind, label in zip(sample.input_ids.tolist(), kinds, labels, strict=True):
        yield TokenRun((token,), (token_bytes(tokenizer, token),), TokenKind(kind), label != IGNORE_INDEX)


def _joined(runs: Iterator[TokenRun]) -> Iterator[TokenRun]:
    held: TokenRun | None = None
    for run in runs:
        if held is not None and _belongs(held, run):
            held = TokenRun(held.ids + run.ids, held.pieces + run.pieces, held.kind, held.supervised)
            continue
        if held is not None:
            yield held
        held = run
    if held is not None:
        yield held


def _belongs(held: TokenRun, run: TokenRun) -> bool:
    """Whether `run` goes on with an image, or with a character that `held` has only begun."""
    if held.kind is TokenKind.IMAGE or run.kind is TokenKind.IMAGE:
        return held.kind is run.kind and held.ids[0] == run.ids[0]
    return held.supervised == run.supervised and _ends_early(held.raw)


def _ends_early(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError as error:
        return error.reason == "unexpected end of data"
    return False
