"""Lexicon: finds words of direction and colour and quoted texts, and turns the words of direction.

Pure functions of a text. Whole words only, exceptions stay, and two flips give the text back, whatever it is. The
words next to a word decide whether it is an exception. What a sentence means is not known: "the bag left in the car"
and "the man left in the picture" both stay.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from itertools import chain, product
from typing import Any, Final, NamedTuple

from dcap.augment.config import WordsConfig
from dcap.augment.turn import NO_TURN, Direction, Turn
from dcap.augment.word_tables import WORD_TABLES, Words, WordTable

_CACHED_TEXTS: Final = 1 << 16
_CJK: Final = "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
"""Letters of scripts without blanks between words."""
_LETTER: Final = rf"[^\W_{_CJK}]"
"""A letter or digit of any other script."""
_BOUND: Final = f"(?:(?<!{_LETTER})|(?!{_LETTER}))"
"""Begin or end of a whole word: no letter is on both sides."""
_ALONE: Final = r"(?:(?<![^\W_])|(?![^\W_]))"
"""The same, for a word that letters of any script may not touch."""
_TOKEN: Final = re.compile(rf"[^\W\d_{_CJK}]+")
_NO_LETTERS: Final = {code: " " for code in range(128) if not chr(code).isalpha()}
_BLANK: Final = re.compile("[ _-]")
_NO_ARTICLE: Final = r"(?<!\bthe[ _-])"
_PAUSE: Final = r"\s*(?:[.,;!?)]|\Z)"
"""End of a clause."""
_END: Final = r"[ ]*[.!?]?\s*\Z"
"""End of a text."""
# An opening mark is not in its own text: else each one would look through all that follow it.
_QUOTES: Final = (
    r'(?<!\d)"[^"\n]+"', "“[^“”\n]+”", "‘[^‘’\n]+’", r"(?<!\w)'[^'\n]+'(?!\w)", "「[^「」\n]+」", "『[^『』\n]+』",
    "《[^《》\n]+》", "«[^«»\n]+»",
)  # fmt: skip
_NO_WRITING: Final = "\"'“”‘’「」『』《》«» \t:=："
"""Marks around what is written. A quote of nothing else is none."""
_QUOTE_CHARACTERS: Final = "\"'“‘「『《«"

_Place = tuple[Words, Direction]


class WordsFound(NamedTuple):
    """What a text says that an augmentation could make false; each word once, in lower case.

    Attributes:
        across: Words of left and right.
        upright: Words of top and bottom.
        flips_only: Those of the first two that have no word for a quarter turn.
        colours: Names of colours.
        quoted: What it quotes: writing that the image shows.
    """

    across: tuple[str, ...] = ()
    upright: tuple[str, ...] = ()
    flips_only: tuple[str, ...] = ()
    colours: tuple[str, ...] = ()
    quoted: tuple[str, ...] = ()

    @property
    def directions(self) -> tuple[str, ...]:
        """All words of direction."""
        return self.across + self.upright

    @classmethod
    def all_of(cls, found: Iterable[WordsFound]) -> WordsFound:
        """Return the words of several texts."""
        some = [each for each in found if each is not NOTHING_FOUND]
        if not some:
            return NOTHING_FOUND
        return cls(*(tuple(dict.fromkeys(chain(*words))) for words in zip(*some, strict=True)))


NOTHING_FOUND: Final = WordsFound()


class TurnedText(NamedTuple):
    """A text as it is true of the turned image, and each change: the word in lower case, and what it became."""

    text: str
    changes: tuple[tuple[str, str], ...] = ()


class Lexicon:
    """The words of some languages and of a config. `lexicon_of` makes each once.

    Args:
        config: The ``augmentation.words`` section.
    """

    def __init__(self, config: WordsConfig) -> None:
        self.config = config
        tables = [WORD_TABLES[language] for language in config.languages]
        sides = [row for table in tables for row in table.sides]
        sides += [Words(left, right, None, None) for left, right in config.left_right]
        sides += [Words(None, None, top, bottom) for top, bottom in config.top_bottom]
        self._words = _by_word(sides)
        self._corners = _by_word([row for table in tables for row in table.corners])
        keys = [*(key for table in tables for key in table.text_keys), *config.text_keys]
        self.text_keys = frozenset(key.lower() for key in keys)
        colours = [*(word for table in tables for word in table.colours), *config.colours]
        marks = [word for table in tables for word in table.text_marks]
        exceptions = self._closed([*(text for table in tables for text in table.exceptions), *config.exceptions])
        quotes = "|".join(_QUOTES)
        after_keys = f"{_BOUND}{_any_of(keys)}[ ]*[:=：][^,;，；\n]*"
        alone = {word for table in tables for word in table.alone}
        relations = {word for table in tables for word in table.relations}
        words = [word for word in self._words if word not in alone | relations]
        across = _any_of(word for word, (_, side) in self._corners.items() if not side.is_vertical)
        upright = _any_of(word for word, (_, side) in self._corners.items() if side.is_vertical)
        corner = _any_of(self._corners)
        phrases = "|".join(self._phrases(table, across) for table in tables) or "(?!)"
        self._direction = re.compile(
            f"{quotes}|{after_keys}|{_BOUND}(?:{_any_of(exceptions)}|{phrases}"
            f"|(?={upright}[ _-]?{across}|{across}[ _-]?{upright})"
            f"(?P<first>{corner})(?P<blank>[ _-]?)(?!{_any_of(exceptions)}{_BOUND})(?P<second>{corner})"
            f"|(?P<word>{_NO_ARTICLE}{_any_of(relations)}|{_any_of(words)}|{_ALONE}{_any_of(alone)}{_ALONE})){_BOUND}",
        )
        others = [*(text for table in tables for text in table.colour_exceptions), *exceptions]
        self._colour = re.compile(f"{_BOUND}(?:{_any_of(others)}|(?P<word>{_any_of(colours)})){_BOUND}")
        self._quoted = re.compile(f"{quotes}|(?P<key>{after_keys})|{_BOUND}{_any_of(marks)}{_BOUND}")
        corner_words = map("".join, product(self._corners, repeat=2))
        self._hints, characters = _hints([*self._words, *corner_words, *colours, *keys, *marks])
        self._marks = re.compile(f"[{re.escape(characters)}]")
        self._ascii_marks = [each for each in characters if each.isascii()]
        self.find = lru_cache(_CACHED_TEXTS)(self._find)
        self.turned = lru_cache(_CACHED_TEXTS)(self._turned)

    def __reduce__(self) -> tuple[Any, ...]:
        return lexicon_of, (self.config,)

    def hints_in(self, text: str) -> bool:
        """Whether a text in lower case may have words that `find` finds. Many times faster, and seldom wrong."""
        if text.isascii():
            tokens, marked = text.translate(_NO_LETTERS).split(), any(mark in text for mark in self._ascii_marks)
        else:
            tokens, marked = _TOKEN.findall(text), self._marks.search(text) is not None
        return marked or not self._hints.isdisjoint(tokens)

    def _find(self, text: str) -> WordsFound:
        """Return what a text says that an augmentation could make false."""
        low = _lowered(text)
        if not self.hints_in(low):
            return NOTHING_FOUND
        matches = self._direction.finditer(low)
        places = {word: place for found in matches for word, place in self._places(found, text)}
        quoted = next((each.span() for each in self._quoted.finditer(low) if _says(each)), None)
        found = WordsFound(
            across=tuple(word for word, (_, side) in places.items() if not side.is_vertical),
            upright=tuple(word for word, (_, side) in places.items() if side.is_vertical),
            flips_only=tuple(word for word, (row, _) in places.items() if None in row),
            colours=tuple(dict.fromkeys(each["word"] for each in self._colour.finditer(low) if each["word"])),
            quoted=() if quoted is None else (text[slice(*quoted)],),
        )
        return found if any(found) else NOTHING_FOUND

    def spans(self, text: str, words: Iterable[str]) -> list[tuple[int, int]]:
        """Return where a text has some words of direction, given in lower case with blanks."""
        wanted = set(words)
        matches = self._direction.finditer(_lowered(text))
        return [found.span() for found in matches if _key(found[0]) in wanted and self._places(found, text)]

    def _places(self, found: re.Match[str], text: str) -> list[tuple[str, _Place]]:
        """Return the words of a match with their places in the tables; none of what stays."""
        words, places = ("word",) if found["word"] else ("first", "second") if found["first"] else (), []
        for name in words:
            if not _like(text[slice(*found.span(name))], "x"):
                return []
            key = _BLANK.sub(" ", found[name])
            places.append((key, (self._words if name == "word" else self._corners)[key]))
        return places

    def _turned(self, text: str, turn: Turn) -> TurnedText:
        """Return a text as it is true of the turned image."""
        if turn == NO_TURN or not self.find(text).directions:
            return TurnedText(text)
        made, changes, end = [], [], 0
        for found in self._direction.finditer(_lowered(text)):
            places = [place for _, place in self._places(found, text)]
            new = _new_words(places, turn)
            if None in new or not new:
                continue
            old = text[slice(*found.span())]
            if found["word"]:
                words = [_like(old, str(new[0]))]
            else:
                olds = (text[slice(*found.span(name))] for name in ("first", "second"))
                words = [_like(each, str(word)) for each, word in zip(olds, new, strict=True)]
            changed = found["blank"].join(words) if found["first"] else words[0]
            made += [text[end : found.start()], changed]
            end = found.end()
            if changed != old:
                changes.append((_key(old), _key(changed)))
        return TurnedText("".join([*made, text[end:]]), tuple(changes))

    def _phrases(self, table: WordTable, across: str) -> str:
        """Return the pattern of exceptions that depend on the words around them.

        Args:
            table: Of one language.
            across: Pattern of the words of left and right.
        """
        adverbs, no_place = _any_of(self._closed(table.adverbs)), _not_after(table.places)
        ways = [f"(?={adverbs}){no_place}{adverbs}"]
        for texts, followers in table.endings:
            ways.append(f"{_any_of(self._closed(texts))}(?=[ _-]{_any_of(followers)}{_BOUND}|{_PAUSE})")
        amounts, other = _any_of(table.amounts), f"(?!{_any_of([*self._words, *table.places])}{_BOUND})[^\\W_]+"
        starts = "|".join([r"(?<!.)", r"(?<=[.!?;][ ])", *(rf"(?<=\b{word}[ ])" for word in table.before_amounts)])
        ways.append(f"(?={amounts})(?:{starts}){amounts}(?:[ ]{other}){{1,2}}[ ]{across}(?={_END})")
        return "|".join(ways)

    def _closed(self, texts: Iterable[str]) -> list[str]:
        """Return exceptions with those that flips make of them, so that a flipped text has the same exceptions.

        ``right angle`` keeps ``left angle`` as it is: else the second flip would not find it.
        """
        word = re.compile(_any_of(self._words))
        closed: dict[str, None] = {}
        for text in map(str.lower, texts):
            pieces, places = word.split(text), [self._words[_key(each)] for each in word.findall(text)]
            for words in product(*((str(row[side]), str(row[side.opposite])) for row, side in places)):
                closed["".join(chain(*zip(pieces, [*words, ""], strict=True)))] = None
        return list(closed)


@lru_cache(maxsize=8)
def lexicon_of(config: WordsConfig) -> Lexicon:
    """Return the lexicon of a config."""
    return Lexicon(config)


def _by_word(rows: Iterable[Words]) -> dict[str, _Place]:
    """Return the first row of each word, and its side there."""
    places: dict[str, _Place] = {}
    for row in rows:
        for side in Direction:
            if (word := row[side]) is not None:
                places.setdefault(_key(word), (row, side))
    return places


def _key(word: str) -> str:
    return _BLANK.sub(" ", word.lower())


def _says(quote: re.Match[str]) -> bool:
    """Whether a quote, or what follows a key, holds any writing."""
    return bool((re.split("[:=：]", quote[0], maxsplit=1)[1] if quote["key"] else quote[0]).strip(_NO_WRITING))


def _not_after(words: Iterable[str]) -> str:
    """Return the pattern of a place that is after none of some words."""
    return "".join(rf"(?<!\b{_BLANK.sub('[ _-]', word)}[ _-])" for word in words)


def _new_words(places: list[_Place], turn: Turn) -> list[str | None]:
    """Return the words of a turned image for one word, or for the two of a corner.

    In a corner, the word of top and bottom stays in its place: a quarter turn of ``top left`` is ``top right``.
    """
    rows, sides = [row for row, _ in places], [turn[side] for _, side in places]
    if turn.is_quarter and len(places) == 2:
        rows, sides = [next(row for row, side in places if side.is_vertical)] * 2, sides[::-1]
    return [row[side] for row, side in zip(rows, sides, strict=True)]


def _any_of(words: Iterable[str]) -> str:
    """Return the pattern of some words in lower case, which takes the longest one. Without words, it fits nowhere."""
    tree: dict[str, Any] = {}
    for word in words:
        node = tree
        for character in _BLANK.sub(" ", word.lower()):
            node = node.setdefault(character, {})
        node[""] = {}
    return _branches(tree) if tree else "(?!)"


def _branches(tree: dict[str, Any]) -> str:
    """Return the pattern of a tree of characters: many times faster than one word after the other."""
    of_character = {character: _branches(rest) for character, rest in tree.items() if character}
    ways = [("[ _-]" if c == " " else re.escape(c)) + rest for c, rest in of_character.items()]
    if not ways:
        return ""
    return f"(?:{'|'.join(ways)})" + ("?" if "" in tree else "")


def _lowered(text: str) -> str:
    """Return a text in lower case, character by character."""
    low = text.lower()
    return low if len(low) == len(text) else "".join(c.lower() if len(c.lower()) == 1 else c for c in text)


def _like(old: str, new: str) -> str:
    """Return a word written as another one, word by word: small, CAPITAL or Capitalised. Empty: it is none of these."""
    olds, news = _BLANK.split(old), _BLANK.split(new)
    same = len(olds) == len(news)
    made = [_cased(each, like) for each, like in zip(news, olds if same else [olds[0]] * len(news), strict=True)]
    if not all(made):
        return ""
    blanks = iter(_BLANK.findall(old if same else new))
    return "".join(chain(*zip(made, [*blanks, ""], strict=True)))


def _cased(word: str, like: str) -> str:
    if like == like.lower():
        return word.lower()
    if like == like.upper():
        return word.upper()
    return word.capitalize() if like == like.capitalize() else ""


def _hints(words: Iterable[str]) -> tuple[frozenset[str], str]:
    """Return what a text must hold for any of the words to be in it: one of some tokens or characters."""
    tokens, characters = set[str](), set(_QUOTE_CHARACTERS)
    for of_word, word in sorted(
        ((_TOKEN.findall(word.lower()), word) for word in words), key=lambda each: len(each[0])
    ):
        if not of_word:
            characters.add(word[0])
        elif tokens.isdisjoint(of_word):
            tokens.add(max(of_word, key=len))
    return frozenset(tokens), "".join(sorted(characters))
