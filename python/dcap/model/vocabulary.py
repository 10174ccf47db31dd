"""The tokens of a tokenizer as bytes: which may be inside of a caption, and which ones go together.

A sequence of tokens is *canonical* if it is what the tokenizer makes of its text. That is so if each two neighbours are
canonical: no merge reaches over a border between pieces, and within a piece it depends on neighbours alone.

Source: canonical sequences of byte-pair encodings by their pairs, Vieira et al., "Language Models over Canonical
Byte-Pair Encodings", 2025.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from itertools import chain

import numpy as np
import numpy.typing as npt

from dcap.data.encode import Tokenizer
from dcap.demo.vocabulary import byte_letters

_UTF8 = (
    rb"[\xc2-\xdf][\x80-\xbf]|\xe0[\xa0-\xbf][\x80-\xbf]|[\xe1-\xec\xee\xef][\x80-\xbf]{2}|\xed[\x80-\x9f][\x80-\xbf]"
    rb"|\xf0[\x90-\xbf][\x80-\xbf]{2}|[\xf1-\xf3][\x80-\xbf]{3}|\xf4[\x80-\x8f][\x80-\xbf]{2}"
)
_ESCAPE = rb'\\(?:["\\bfnrt]|u00(?:0[0-7bef]|1[0-9a-f]))'
_CHAR = re.compile(rb"[ !#-\[\]-\x7f]|" + _UTF8 + b"|" + _ESCAPE)
_CHARS = re.compile(b"(?:" + _CHAR.pattern + b")*+")
_PARTIAL = re.compile(
    rb"[\xc2-\xdf\xe0-\xef\xf0-\xf4]|\xe0[\xa0-\xbf]|[\xe1-\xec\xee\xef][\x80-\xbf]|\xed[\x80-\x9f]"
    rb"|\xf0[\x90-\xbf][\x80-\xbf]?|[\xf1-\xf3][\x80-\xbf]{1,2}|\xf4[\x80-\x8f][\x80-\xbf]?|\\(?:u(?:0(?:0[01]?)?)?)?"
)


@dataclass(frozen=True, slots=True)
class CaptionPiece:
    """What a token would add to a caption."""

    chars: int
    """Characters of the caption that begin in it."""
    pending: bytes
    """The beginning of a character that the next token must complete."""
    end: int | None = None
    """Place of the quote that ends the caption, in the token's bytes. `None`: the caption goes on."""


def read_caption(pending: bytes, data: bytes) -> CaptionPiece | None:
    """Return what bytes add to a caption, as it is written in JSON. `None`: they cannot be in a caption.

    Args:
        pending: The beginning of a character, from the token before.
        data: The bytes that come next. Behind a quote that ends the caption, anything may follow.
    """
    whole = pending + data
    end = _CHARS.match(whole).end()  # type: ignore[union-attr] # it matches the empty text
    count, rest = len(_CHAR.findall(whole, 0, end)) - bool(pending), whole[end:]
    if not rest:
        return CaptionPiece(count, b"")
    if rest[0] == ord('"'):
        return CaptionPiece(count, b"", end - len(pending)) if end or not pending else None
    return CaptionPiece(count + 1, rest) if _PARTIAL.fullmatch(rest) else None


@dataclass(frozen=True, slots=True, eq=False)
class CaptionTokens:
    """The tokens that may follow in a caption."""

    inner: npt.NDArray[np.bool_]
    """bool (V,): tokens within the caption."""
    chars: npt.NDArray[np.uint8]
    """uint8 (V,): characters that begin in each of them."""
    closing: tuple[tuple[int, CaptionPiece], ...]
    """Tokens that end the caption."""


class Vocabulary:
    """The tokens of a byte-level tokenizer, without its control tokens.

    Tokens are spelt in letters, one per byte, as the tokenizer itself does.

    Args:
        tokenizer: From `dcap.data.encode.load_tokenizer`.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        backend = tokenizer.backend_tokenizer
        self._model, self._pre = backend.model, backend.pre_tokenizer
        byte_of = {letter: byte for byte, letter in enumerate(byte_letters())}
        self.letters: list[str] = [
            backend.id_to_token(k) for k in range(backend.get_vocab_size(with_added_tokens=False))
        ]
        """Of each token."""
        self.bytes: list[bytes] = [bytes(map(byte_of.__getitem__, letters)) for letters in self.letters]
        """Of each token."""
        self.size: int = backend.get_vocab_size(with_added_tokens=True)
        """Number of tokens, with control tokens."""
        self.merged = lru_cache(1 << 16)(self._merged)
        self.caption_tokens = cache(self._caption_tokens)
        self.are_neighbours = lru_cache(1 << 18)(self._are_neighbours)
        self._is_cut = lru_cache(1 << 16)(self._is_cut_behind)
        self.inner_behind = cache(self._inner_behind)

    def pieces(self, text: str) -> list[str]:
        """Return the pieces, in letters, that a text is cut into before it is tokenised."""
        return [piece for piece, _ in self._pre.pre_tokenize_str(text)]

    def _merged(self, piece: str) -> tuple[int, ...]:
        """Return the tokens of one piece in letters."""
        return tuple([token.id for token in self._model.tokenize(piece)]) if piece else ()

    def tokens(self, text: str) -> tuple[int, ...]:
        """Return the tokens of a text."""
        return tuple([token for piece in self.pieces(text) for token in self.merged(piece)])

    @cached_property
    def _by_first_byte(self) -> list[list[int]]:
        found: list[list[int]] = [[] for _ in range(256)]
        for token, data in enumerate(self.bytes):
            found[data[0]].append(token)
        return found

    def starting_with(self, letters: str) -> Iterator[int]:
        """Return the tokens that begin with some letters and are longer."""
        words, ids = self._sorted
        k = bisect_left(words, letters)
        while k < len(words) and words[k].startswith(letters):
            if len(words[k]) > len(letters):
                yield ids[k]
            k += 1

    @cached_property
    def _sorted(self) -> tuple[list[str], list[int]]:
        ids = sorted(range(len(self.letters)), key=self.letters.__getitem__)
        return [self.letters[k] for k in ids], ids

    def _are_neighbours(self, last: int, char: str, token: int) -> bool:
        """Return whether a token is canonical behind another one.

        Args:
            last: The token before.
            char: The last character before `token`. Empty: only its beginning is written.
            token: The token. It is not blank and begins with no letter: where the tokenizer cuts before those depends
                on more than one character.
        """
        if char and self._is_cut(char, self.bytes[token]):
            return True
        return self.merged(self.letters[last] + self.letters[token]) == (last, token)

    def _is_cut_behind(self, char: str, data: bytes) -> bool:
        """Return whether the tokenizer cuts a text between a character and the bytes that come next."""
        try:
            pieces = self.pieces(char + data.decode())
        except UnicodeDecodeError:
            return True  # the token begins a character, which another one completes
        return len(pieces[0]) == len(char.encode())

    def _caption_tokens(self, pending: bytes) -> CaptionTokens:
        """Return the tokens that may follow in a caption, behind the beginning of a character or b""."""
        inner, chars = np.zeros(self.size, np.bool_), np.zeros(self.size, np.uint8)
        closing = []
        first_bytes = [byte for byte in range(256) if read_caption(pending, bytes([byte])) is not None]
        for token in chain.from_iterable([self._by_first_byte[byte] for byte in first_bytes]):
            found = read_caption(pending, self.bytes[token])
            if found is None:
                continue
            if found.end is None:
                inner[token], chars[token] = True, found.chars
            else:
                closing.append((token, found))
        inner.setflags(write=False)
        return CaptionTokens(inner, chars, tuple(closing))

    def _inner_behind(self, last: int) -> npt.NDArray[np.bool_]:
        """Return the tokens that are canonical in a caption whose opening quote ends the token `last`, bool (V,)."""
        inner = self.caption_tokens(b"").inner.copy()
        for token in np.flatnonzero(inner).tolist():
            first = self.bytes[token][:1]
            if first.isascii() and not first.isalnum() and not first.isspace():
                inner[token] = self.are_neighbours(last, '"', token)
        inner.setflags(write=False)
        return inner


@lru_cache(maxsize=4)
def vocabulary_of(tokenizer: Tokenizer) -> Vocabulary:
    """Return the vocabulary of a tokenizer; the same one is read once."""
    return Vocabulary(tokenizer)
