"""Reading and drawing texts by a grammar of answers."""

from __future__ import annotations

import json
from collections.abc import Iterator

from hypothesis import strategies as st

from dcap.answers.grammar import AnswerGrammar, Links, Place


def accepts(grammar: AnswerGrammar, text: str) -> bool:
    """Whether a grammar has this text, by trying every way through it."""
    ways = list(_behind(grammar.start(), text, 0))
    while ways:
        place, at = ways.pop()
        if place.next == "end":
            if at == len(text):
                return True
        elif place.next == "caption":
            ways += _behind_caption(grammar, place, text, at)
        else:
            numbers, end = grammar.numbers(place), at
            while text[end : end + 1].isdigit():
                end += 1
                value = text[at:end]
                if not numbers.begin_with(value):
                    break
                if int(value) in numbers:
                    ways += _behind(grammar.after_number(place, int(value)), text, end)
    return False


def _behind(links: Links, text: str, at: int) -> Iterator[tuple[Place, int]]:
    return ((place, at + len(link)) for link, place in links.items() if text.startswith(link, at))


def _behind_caption(grammar: AnswerGrammar, place: Place, text: str, at: int) -> Iterator[tuple[Place, int]]:
    try:
        caption, end = json.decoder.scanstring(text, at)  # type: ignore[attr-defined]
    except ValueError:
        return iter(())
    if not 1 <= len(caption) <= grammar.bounds.caption or json.dumps(caption, ensure_ascii=False)[1:] != text[at:end]:
        return iter(())
    return _behind(grammar.after_caption(place), text, end - 1)


@st.composite
def texts_of(draw: st.DrawFn, grammar: AnswerGrammar) -> str:
    """Any text that a grammar has, of a few objects."""
    text, links = "", grammar.start()
    while True:
        link = draw(st.sampled_from(sorted(links)))
        text, place = text + link, links[link]
        if place.next == "end":
            return text
        if place.next == "caption":
            caption = draw(st.text(st.characters(codec="utf-8"), min_size=1, max_size=grammar.bounds.caption))
            text, links = text + json.dumps(caption, ensure_ascii=False)[1:-1], grammar.after_caption(place)
            continue
        numbers, value = grammar.numbers(place), ""
        while True:
            more = [digit for digit in "0123456789" if value != "0" and numbers.begin_with(value + digit)]
            is_whole = value != "" and int(value) in numbers
            digit = draw(st.sampled_from([*more, *([""] if is_whole else [])]))
            if not digit:
                break
            value += digit
        text, links = text + value, grammar.after_number(place, int(value))
