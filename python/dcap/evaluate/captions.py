"""Agreement of two captions: equality after normalisation, and the F1 of their tokens."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

_IDEOGRAPH = r"\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff"
# A Han, Hiragana, Katakana or Hangul character is a token of its own: between these, words have no space.
_TOKEN = re.compile(rf"[{_IDEOGRAPH}]|[^\W_{_IDEOGRAPH}]+")


def normalize(caption: str) -> str:
    """Return the caption in Unicode NFKC, case folded, with runs of white space as one space."""
    return " ".join(unicodedata.normalize("NFKC", caption).casefold().split())


def caption_words(caption: str) -> list[str]:
    """Return the words of the normalised caption, without punctuation. Each ideograph is a word."""
    return _TOKEN.findall(normalize(caption))


def token_f1(a: str, b: str) -> float:
    """Return the F1 of two captions as bags of tokens, 0..1; two captions without a token agree when equal.

    Source: Rajpurkar et al., "SQuAD: 100,000+ questions for machine comprehension of text", EMNLP 2016.
    """
    first, second = Counter(caption_words(a)), Counter(caption_words(b))
    total = first.total() + second.total()
    if not total:
        return float(normalize(a) == normalize(b))
    return 2.0 * (first & second).total() / total


def caption_ids(*sides: Sequence[str]) -> list[npt.NDArray[np.int64]]:
    """Return numbers that are equal where captions are, after `normalize`: int64 (N,) for each side of N captions."""
    ids: dict[str, int] = {}
    return [np.array([ids.setdefault(normalize(text), len(ids)) for text in side], np.int64) for side in sides]


def equal_captions(a: Sequence[str], b: Sequence[str]) -> npt.NDArray[np.bool_]:
    """Return for each pair whether the captions are equal after `normalize`, bool (len a, len b)."""
    first, second = caption_ids(a, b)
    return np.asarray(first[:, None] == second, np.bool_)


def same_captions(captions: Sequence[str]) -> Iterator[npt.NDArray[np.int64]]:
    """Yield the indices of each group of at least two captions that are equal after `normalize`, rising."""
    (ids,) = caption_ids(captions)
    order = np.argsort(ids, kind="stable")
    for group in np.split(order, np.flatnonzero(np.diff(ids[order])) + 1):
        if len(group) > 1:
            yield group
