"""Texts: what is said about a sample, and how it is said once the sample is augmented."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from dcap.augment.config import Completeness
from dcap.augment.lexicon import Lexicon, WordsFound
from dcap.augment.turn import NO_TURN, Turn

Change = tuple[str, str]
"""A word of the source, and what it became."""


@dataclass(frozen=True, eq=False, slots=True)
class Texts:
    """The texts of a sample as they are in the source.

    What they become is a function of these texts, of the turn from source to final canvas, and of what the crops left
    of each object; the order of the ops does not matter.

    Args:
        captions: N texts, one per object of the source.
        attributes: N values of JSON, or none.
        summary: Text about the whole image, where the sample has one.
        completeness: What is rewritten in texts of objects that are only partly visible.
        lexicon: The words that a turn changes. `None`: none.
    """

    captions: tuple[str, ...]
    attributes: tuple[Any, ...] = ()
    summary: str | None = None
    completeness: Completeness | None = None
    lexicon: Lexicon | None = None

    def find(self, lexicon: Lexicon) -> WordsFound:
        """Return the words of all texts that an augmentation could make false."""
        # Most samples have no such word: one look at all captions says so.
        hinted = lexicon.hints_in("\n".join(self.captions).lower())
        found = [lexicon.find(text) for text in self.captions] if hinted else []
        found += [_found_in(value, lexicon) for value in self.attributes if value is not None]
        if self.summary is not None:
            found.append(lexicon.find(self.summary))
        return WordsFound.all_of(found)

    def captions_of(self, objects: Sequence[int], partial: Sequence[bool], turn: Turn) -> tuple[str, ...]:
        """Return the captions of some objects in the final image.

        Args:
            objects: Index of each.
            partial: Whether a crop left too little of it to be called complete.
            turn: From the source to the final image.
        """
        captions = self.captions
        if self._keeps(partial, turn):
            return tuple([captions[i] for i in objects])
        return tuple([self._changed(captions[i], part, turn) for i, part in zip(objects, partial, strict=True)])

    def attributes_of(self, objects: Sequence[int], partial: Sequence[bool], turn: Turn) -> tuple[Any, ...]:
        """Return the attributes of some objects in the final image; arguments as those of `captions_of`."""
        if not self.attributes:
            return ()
        values = [self.attributes[i] for i in objects]
        if self._keeps(partial, turn):
            return tuple(values)
        return tuple([self._changed_value(v, part, turn) for v, part in zip(values, partial, strict=True)])

    def summary_of(self, turn: Turn) -> str | None:
        """Return the summary of the final image."""
        return None if self.summary is None else self._changed(self.summary, False, turn)

    def changes(self, objects: Sequence[int], turn: Turn) -> Counter[Change]:
        """Count the words that a turn changes in all texts about some objects, and in the summary."""
        counts: Counter[Change] = Counter()
        lexicon = self.lexicon
        if lexicon is None or turn == NO_TURN:
            return counts

        texts = [self.captions[i] for i in objects]
        if self.attributes:
            inner = (_texts_in(self.attributes[i], lexicon.text_keys) for i in objects)
            texts += [text for each in inner for text, is_quoted in each if not is_quoted]
        if self.summary is not None:
            texts.append(self.summary)
        for text in texts:
            counts.update(lexicon.turned(text, turn).changes)
        return counts

    def _keeps(self, partial: Sequence[bool], turn: Turn) -> bool:
        turns = self.lexicon is not None and turn != NO_TURN
        return not turns and (self.completeness is None or not any(partial))

    def _changed(self, text: str, partial: bool, turn: Turn) -> str:
        if partial and self.completeness is not None:
            text = self.completeness.rewrite(text)
        return text if self.lexicon is None else self.lexicon.turned(text, turn).text

    def _changed_value(self, value: Any, partial: bool, turn: Turn) -> Any:
        keys = frozenset[str]() if self.lexicon is None else self.lexicon.text_keys
        return _mapped(value, lambda text: self._changed(text, partial, turn), keys)


def _found_in(value: Any, lexicon: Lexicon) -> WordsFound:
    """Return the words in the texts of a value of JSON. Those below a key such as ``text`` are quoted."""
    texts = list(_texts_in(value, lexicon.text_keys))
    quoted = WordsFound(quoted=tuple(text for text, is_quoted in texts if is_quoted and text.strip()))
    return WordsFound.all_of([quoted, *(lexicon.find(text) for text, is_quoted in texts if not is_quoted)])


def _texts_in(value: Any, keys: frozenset[str], is_quoted: bool = False) -> Iterator[tuple[str, bool]]:
    """Yield the texts of a value of JSON, each with whether it is below one of some keys."""
    if isinstance(value, str):
        yield value, is_quoted
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _texts_in(each, keys, is_quoted)
    elif isinstance(value, dict):
        for key, each in value.items():
            yield from _texts_in(each, keys, is_quoted or _is_key(key, keys))
    elif is_quoted and value is not None and value is not False:
        yield json.dumps(value), True  # a number, as on a house, or `true`: there is writing


def _mapped(value: Any, change: Callable[[str], str], kept: frozenset[str]) -> Any:
    """Return a value of JSON with its texts changed, but for those below a key of `kept`."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list | tuple):
        return [_mapped(each, change, kept) for each in value]
    if isinstance(value, dict):
        return {key: each if _is_key(key, kept) else _mapped(each, change, kept) for key, each in value.items()}
    return value


def _is_key(key: Any, keys: frozenset[str]) -> bool:
    return isinstance(key, str) and key.lower() in keys
