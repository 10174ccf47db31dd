r"""Constrained answers: an answer grammar in tokens, which says what may come next and what must.

::

    text      {"object_1": {"bbox_2d": [417, 494, 491, 702], "desc": "cup"}}
    tokens    {" object _ 1 ":  {" bbox _ 2 d ":  [ 4 1 7 ,   4 9 4 ,   ...
    forced    ^^^^^^^^^^^^^^^^^^^       ^^^^^^^^^^^      ^^^^      ^^^^

What is forced needs no forward pass of its own. Links are written in the tokens that training has for them: those that
the tokenizer makes of the whole text. Within a caption, any tokens may be written. A token over the border of a caption
may come only where it is canonical, see `dcap.model.vocabulary`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from dcap.answers.grammar import AnswerGrammar, Links, Numbers, Place
from dcap.answers.profile import AnswerProfile
from dcap.core.errors import AnswerError, ConfigError
from dcap.data.encode import END, Encoder, Tokenizer
from dcap.geometry.canvas import Canvas
from dcap.model.decoding import Decoding
from dcap.model.repeat_stop import RepeatStop
from dcap.model.vocabulary import CaptionPiece, Vocabulary, read_caption, vocabulary_of

_DIGITS = "0123456789"
_CHAR_BYTES = 4
_PLACES = 256


@dataclass(eq=False, slots=True)
class LinkNode:
    """A place in a tree of links: the tokens of some that begin alike."""

    children: dict[int, LinkNode] = field(default_factory=dict)
    """What comes behind each token."""
    closing: dict[int, LinkNode] = field(default_factory=dict)
    """The same of tokens that hold a whole caption, and the beginning of the link behind it."""
    text: str | None = None
    """The link that is complete here."""
    token: int = -1
    """The last token."""
    inside: CaptionPiece | None = None
    """What the last token adds to the caption behind the link, `text`."""
    tail: bytes = b""
    """The last bytes that it adds."""

    def add(self, tokens: Iterable[int]) -> LinkNode:
        """Return the place behind some tokens; make it where it is not there."""
        node = self
        for token in tokens:
            node = node.children.setdefault(token, LinkNode(token=token))
        return node


_Kind = tuple[str, str]
"""A link, and what comes behind it, as `Place.next`."""


class LinkTokens:
    """The tokens of links.

    Args:
        vocabulary: The tokens.
        end: The token that ends an answer.
    """

    def __init__(self, vocabulary: Vocabulary, end: int) -> None:
        self.vocabulary, self._end = vocabulary, end
        self.tree = lru_cache(1 << 14)(self._tree)
        self.tree_behind = lru_cache(1 << 14)(self._tree_behind)
        self.closing = lru_cache(1 << 10)(self._closing)
        self._cut = lru_cache(1 << 14)(self._cut_link)
        self._opening = lru_cache(1 << 10)(self._find_opening)

    def _tree(self, links: tuple[_Kind, ...], before: tuple[int, ...] = ()) -> LinkNode:
        """Return the tokens of links at the beginning or behind a number.

        Args:
            links: The links.
            before: Tokens that come before them.
        """
        root = LinkNode()
        for text, then in links:
            if then != "caption":
                first, behind = self._cut(text, then)
                root.add([*before, *self.vocabulary.merged(first), *behind]).text = text
                continue
            whole, openings = self._opening(text)
            root.add([*before, *whole]).text = text
            for head, token, piece, inside in openings:
                node = root.add([*before, *head])
                into = node.children if piece.end is None else node.closing
                into[token] = LinkNode(text=text, token=token, inside=piece, tail=inside)
        return root

    def _cut_link(self, text: str, then: str) -> tuple[str, tuple[int, ...]]:
        """Return the first piece of a link before a number or the end, and the tokens behind that."""
        is_last = then == "end"
        pieces = self.vocabulary.pieces(text + ("" if is_last else "0"))
        if not is_last:
            pieces.pop()
        end = (self._end,) if is_last else ()
        first = pieces[0] if pieces else ""  # a prefix may begin with a number
        return first, tuple([token for piece in pieces[1:] for token in self.vocabulary.merged(piece)]) + end

    def _find_opening(
        self, text: str
    ) -> tuple[tuple[int, ...], list[tuple[tuple[int, ...], int, CaptionPiece, bytes]]]:
        """Return the tokens of a link to a caption, and those of it with a last token that goes on behind it.

        Of each of those: the tokens before, the last one, what that adds to the caption, and its bytes there.
        """
        vocabulary = self.vocabulary
        *fixed, opening, _ = vocabulary.pieces(f"{text}a")
        before = tuple([token for piece in fixed for token in vocabulary.merged(piece)])
        found = []
        for k in range(len(opening)):
            head = vocabulary.merged(opening[:k])
            for token in vocabulary.starting_with(opening[k:]):
                inside = vocabulary.bytes[token][len(opening) - k :]
                piece = read_caption(b"", inside)
                letters = vocabulary.letters[token]
                if piece is not None and vocabulary.merged(opening[:k] + letters) == (*head, token):
                    found.append(((*before, *head), token, piece, inside))
        return (*before, *vocabulary.merged(opening)), found

    def _closing(self, links: tuple[_Kind, ...], pending: bytes) -> tuple[tuple[int, CaptionPiece], ...]:
        """Return the tokens that may end a caption and begin one of the links.

        Args:
            links: The links behind the caption.
            pending: The beginning of the caption's last character, from the token before.
        """
        return tuple(
            (token, piece)
            for token, piece in self.vocabulary.caption_tokens(pending).closing
            if piece.end is not None and self.tree_behind(links, token, piece.end) is not None
        )

    def _tree_behind(self, links: tuple[_Kind, ...], token: int, quote: int) -> LinkNode | None:
        """Return the tokens that may follow one that ends a caption. `None`: it does not begin a link as training does.

        Args:
            links: The links behind the caption.
            token: The token that ends the caption.
            quote: Place of the quote in its letters, where the link begins.
        """
        root = LinkNode(token=token)
        letters = self.vocabulary.letters[token]
        written = letters[quote:]
        for text, then in links:
            first, behind = self._cut(text, then)
            if first.startswith(written):
                merged = self.vocabulary.merged(letters + first[len(written) :])
                if merged[0] == token:
                    root.add([*merged[1:], *behind]).text = text
        return root if root.children or root.text is not None else None


@lru_cache(maxsize=4)
def _link_tokens(tokenizer: Tokenizer) -> LinkTokens:
    return LinkTokens(vocabulary_of(tokenizer), tokenizer.convert_tokens_to_ids(END))


@lru_cache(maxsize=1 << 14)
def _next_digits(numbers: Numbers, text: str) -> str:
    """Return the digits that may follow those of a number."""
    return "" if text == "0" else "".join([digit for digit in _DIGITS if numbers.begin_with(text + digit)])


@dataclass(frozen=True, slots=True)
class _Digits:
    """Within a number, or in front of it."""

    place: Place
    text: str = ""


@dataclass(frozen=True, slots=True)
class _Caption:
    """Within a caption, or in front of it."""

    place: Place
    left: int
    """Characters that it may still have."""
    token: int
    """The token before."""
    tail: bytes
    """The last bytes that were written."""
    pending: bytes = b""
    """The beginning of a character."""
    is_empty: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class _Link:
    """Within one of some links."""

    links: Mapping[str, Place]
    node: LinkNode


_State = _Digits | _Caption | _Link


class TokenGrammar:
    """An answer grammar in the tokens of a model.

    Args:
        grammar: The texts.
        encoder: Writes them as tokens.

    Raises:
        ConfigError: The tokenizer joins digits.
    """

    def __init__(self, grammar: AnswerGrammar, encoder: Encoder) -> None:
        if not encoder.counts_outlines:
            raise ConfigError(
                "the tokenizer must make a token of each digit, as that of Qwen3-VL does, for answers with a grammar. "
                "Leave the grammar out"
            )
        self._grammar = grammar
        self._tokens = _link_tokens(encoder.tokenizer)
        self._vocabulary = self._tokens.vocabulary
        self._before = tuple(encoder.reasoning_end.tolist())
        self._digits = {self._vocabulary.tokens(digit)[0]: digit for digit in _DIGITS}
        self._digit_tokens = {digit: token for token, digit in self._digits.items()}
        # A place is asked about for each token of a caption, and both for what is forced and for what was written.
        self._after_caption = lru_cache(_PLACES)(self._links_after_caption)
        self._behind_number = lru_cache(_PLACES)(self._links_behind_number)

    def constraint(self, fast_forward: bool = True) -> AnswerConstraint:
        """Return the constraint of one answer, at its beginning.

        Args:
            fast_forward: Write what is forced without asking the model. False: ask it, with one token to choose from;
                the answer is the same.
        """
        links = self._grammar.start()
        return AnswerConstraint(self, _Link(links, self._tokens.tree(_kinds(links), self._before)), fast_forward)

    def few_choices(self, state: _State) -> list[int] | None:
        """Return the tokens that may come next. `None`: a caption, with very many."""
        if isinstance(state, _Caption):
            return None
        if isinstance(state, _Link):
            return self._link_choices(state)
        numbers = self._grammar.numbers(state.place)
        found = [self._digit_tokens[digit] for digit in _next_digits(numbers, state.text)]
        if state.text and int(state.text) in numbers:
            found += self._link_choices(self._behind_number(state))
        return found

    def _link_choices(self, state: _Link) -> list[int]:
        node, most = state.node, self._grammar.bounds.caption
        found = [t for t, child in node.children.items() if child.inside is None or child.inside.chars <= most]
        for token, child in node.closing.items():
            if self._behind_opening(state.links, child) is not None:
                found.append(token)
        if node.text is not None:
            found += self.few_choices(self._at(state.links, node)) or []
        return found

    def _links_behind_number(self, state: _Digits) -> _Link:
        links = self._grammar.after_number(state.place, int(state.text))
        return _Link(links, self._tokens.tree(_kinds(links)))

    def _links_after_caption(self, place: Place) -> tuple[Links, tuple[_Kind, ...]]:
        links = self._grammar.after_caption(place)
        return links, _kinds(links)

    def mask(self, state: _State) -> npt.NDArray[np.bool_]:
        """Return the tokens that may come next, bool (V,)."""
        few = self.few_choices(state)
        if few is not None or not isinstance(state, _Caption):
            out = np.zeros(self._vocabulary.size, np.bool_)
            out[few or []] = True
            return out
        tokens = self._vocabulary.caption_tokens(state.pending)
        inner = self._vocabulary.inner_behind(state.token) if state.is_empty else tokens.inner
        out = inner & (tokens.chars <= state.left)
        found = self._tokens.closing(self._after_caption(state.place)[1], state.pending)
        closing = [token for token, piece in found if state.is_empty <= piece.chars <= state.left]
        char = _last_char(state.tail)
        canonical = [token for token in closing if self._vocabulary.are_neighbours(state.token, char, token)]
        # At the very end of the room for a caption, no token may be canonical. The text is right with another one.
        out[canonical if canonical or out.any() else closing] = True
        return out

    def behind(self, state: _State, token: int) -> _State | None:
        """Return the state behind one more token. `None`: it must not come."""
        if isinstance(state, _Caption):
            return self._behind_in_caption(state, token)
        if isinstance(state, _Link):
            return self._behind_in_link(state, token)
        if (digit := self._digits.get(token)) is not None:
            return replace(state, text=state.text + digit) if token in (self.few_choices(state) or ()) else None
        if not state.text or int(state.text) not in self._grammar.numbers(state.place):
            return None
        return self._behind_in_link(self._behind_number(state), token)

    def _behind_in_link(self, state: _Link, token: int) -> _State | None:
        links, node = state.links, state.node
        child = node.children.get(token) or node.closing.get(token)
        if child is None:
            return None if node.text is None else self.behind(self._at(links, node), token)
        if child.inside is not None:
            return self._behind_opening(links, child)
        return self._at(links, child) if child.text is not None and not child.children else _Link(links, child)

    def _behind_opening(self, links: Mapping[str, Place], node: LinkNode) -> _State | None:
        """Return the state behind a token that begins in a link and goes on in the caption behind it."""
        piece, place = node.inside, links[node.text or ""]
        most = self._grammar.bounds.caption
        if piece is None or piece.chars > most:
            return None
        if piece.end is None:
            return _Caption(place, most - piece.chars, node.token, node.tail[-_CHAR_BYTES:], piece.pending)
        quote = len(self._vocabulary.bytes[node.token]) - len(node.tail) + piece.end
        return self._behind_closing(place, node.token, quote) if piece.chars else None

    def _behind_in_caption(self, state: _Caption, token: int) -> _State | None:
        if token >= len(self._vocabulary.bytes):
            return None
        data = self._vocabulary.bytes[token]
        piece = read_caption(state.pending, data)
        if piece is None or piece.chars > state.left:
            return None
        if piece.end is not None:
            return self._behind_closing(state.place, token, piece.end) if piece.chars or not state.is_empty else None
        tail = (state.tail + data)[-_CHAR_BYTES:]
        return _Caption(state.place, state.left - piece.chars, token, tail, piece.pending)

    def _behind_closing(self, place: Place, token: int, quote: int) -> _State | None:
        links, kinds = self._after_caption(place)
        node = self._tokens.tree_behind(kinds, token, quote)
        if node is None:
            return None
        return self._at(links, node) if node.text is not None and not node.children else _Link(links, node)

    def _at(self, links: Mapping[str, Place], node: LinkNode) -> _State:
        """Return the state behind a link that is complete."""
        place = links[node.text or ""]
        if place.next == "end":
            return _Link({}, LinkNode())
        if place.next == "caption":
            return _Caption(place, self._grammar.bounds.caption, node.token, b'"', is_empty=True)
        return _Digits(place)


def constraint_of(
    decoding: Decoding, profile: AnswerProfile, canvas: Canvas, encoder: Encoder
) -> AnswerConstraint | RepeatStop | None:
    """Return what `Decoding.grammar` and `Decoding.stop_repeats` make of one answer. `None`: it may be anything.

    Args:
        decoding: How answers are written.
        profile: Their format.
        canvas: The canvas that the model sees.
        encoder: The tokens.

    Raises:
        ConfigError: `decoding` asks for a grammar, and the format or the tokenizer has none.
    """
    inner = None
    if decoding.grammar:
        grammar = TokenGrammar(AnswerGrammar(profile, canvas), encoder)
        inner = grammar.constraint(decoding.fast_forward)
    if decoding.stop_repeats is None:
        return inner
    return RepeatStop(profile, decoding.stop_repeats, encoder, inner)


class AnswerConstraint:
    """What one answer may be: a `dcap.model.generation.Constraint`, which `TokenGrammar.constraint` makes."""

    def __init__(self, grammar: TokenGrammar, state: _State, fast_forward: bool) -> None:
        self._grammar, self._state, self._fast_forward = grammar, state, fast_forward

    def forced(self) -> Sequence[int]:
        """Return the tokens that must come next. Empty: there is a choice."""
        found: list[int] = []
        state: _State | None = self._state
        while self._fast_forward and state is not None:
            few = self._grammar.few_choices(state)
            if few is None or len(few) != 1:
                break
            found += few
            state = self._grammar.behind(state, few[0])
        return found

    def allowed(self) -> npt.NDArray[np.bool_]:
        """Return which tokens may come next, bool (V,)."""
        return self._grammar.mask(self._state)

    def advance(self, tokens: Sequence[int]) -> None:
        """Take note of tokens that were written.

        Raises:
            AnswerError: One of them may not come there.
        """
        for token in tokens:
            state = self._grammar.behind(self._state, token)
            if state is None:
                raise AnswerError(f"token must be one that the grammar of answers allows, not {token}")
            self._state = state


def _kinds(links: Links) -> tuple[_Kind, ...]:
    return tuple(
        [(text, place.next if place.next in ("caption", "end") else "number") for text, place in links.items()]
    )


def _last_char(tail: bytes) -> str:
    """Return the last character of some bytes. Empty: only its beginning is there."""
    text = tail.decode("utf-8", "replace")[-1:]
    return "" if text == "\ufffd" else text
