"""How `strict` reads text: words, numbers, aliases with an audit trail, lists without order."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import NamedTuple

from evalkit.scoring.text.aliases import GROUPS, NUMBERS
from evalkit.scoring.text.normalise import CACHE, strip_role

_QUOTES = str.maketrans({"\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"', "\u2013": "-", "\u2014": "-"})
_HAN = "\u3400-\u4dbf\u4e00-\u9fff"
# a number with its decimals, a word with its apostrophe, one Chinese character
_WORD = re.compile(rf"\d+(?:\.\d+)?|h&e|[^\W\d_{_HAN}]+(?:'[^\W\d_{_HAN}]+)?\d*|[{_HAN}]")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_LIST = re.compile(r",|;|\band\b|&(?!e\b)|、|，|；|\n|和")
_IGNORED = frozenset({"a", "an", "the", "and"})


class Reading(NamedTuple):
    """The words of a text after aliases, and which aliases were used, as "from -> to"."""

    words: tuple[str, ...]
    used: tuple[str, ...]


def tidy(text: str) -> str:
    """Case, width and quotes made one; the speaker's name off.

    >>> tidy("Assistant: It’s ＣＴ")
    "it's ct"
    """
    return unicodedata.normalize("NFKC", strip_role(text)).translate(_QUOTES).casefold().strip()


def plain_words(text: str) -> tuple[str, ...]:
    """Words of tidied text: numbers as digits, no articles, no "and", no punctuation; a Chinese character is a word.

    >>> plain_words("two of the 5.5-cm masses")
    ('2', 'of', '5.5', 'cm', 'masses')
    """
    words = _WORD.findall(_THOUSANDS.sub("", text))
    return tuple(NUMBERS.get(word, word) for word in words if word not in _IGNORED)


def _alias_table() -> dict[tuple[str, ...], tuple[str, ...]]:
    return {plain_words(phrase): plain_words(group[0]) for group in GROUPS for phrase in group}


_ALIAS_OF = _alias_table()
_LONGEST = max(map(len, _ALIAS_OF))
_FIRST_WORDS = frozenset(phrase[0] for phrase in _ALIAS_OF)


def _merge(words: tuple[str, ...]) -> Reading:
    """One pass from the left, the longest alias first."""
    merged: list[str] = []
    used: list[str] = []
    place = 0
    while place < len(words):
        sizes = range(min(_LONGEST, len(words) - place), 0, -1) if words[place] in _FIRST_WORDS else ()
        size = next((n for n in sizes if words[place : place + n] in _ALIAS_OF), 0)
        if size:
            phrase, standard = words[place : place + size], _ALIAS_OF[words[place : place + size]]
            merged.extend(standard)
            if phrase != standard:
                used.append(f"{' '.join(phrase)} -> {' '.join(standard)}")
        else:
            merged.append(words[place])
        place += max(size, 1)
    return Reading(tuple(merged), tuple(used))


@lru_cache(maxsize=CACHE)
def read_words(text: str) -> Reading:
    """The words of a raw text, each alias replaced by the form that stands for its group.

    >>> read_words("Magnetic resonance imaging").words, read_words("X ray").words, read_words("MRI").used
    (('mri',), ('xray',), ())
    """
    return _merge(plain_words(tidy(text)))


@lru_cache(maxsize=CACHE)
def read_list(text: str) -> tuple[frozenset[tuple[str, ...]], tuple[str, ...]]:
    """The items of a raw text that lists things, without order, and the aliases used.

    >>> read_list("Spinal cord, lung")[0] == read_list("lung and spinal cord")[0]
    True
    >>> read_list("left lung, right kidney")[0] == read_list("right lung, left kidney")[0]
    False
    """
    items = [_merge(plain_words(part)) for part in _LIST.split(_THOUSANDS.sub("", tidy(text)))]
    return frozenset(item.words for item in items if item.words), tuple(use for item in items for use in item.used)


def find_phrase(words: tuple[str, ...], phrase: tuple[str, ...]) -> list[int]:
    """Where the phrase begins among the words, as whole words."""
    size = len(phrase)
    return [at for at in range(len(words) - size + 1) if words[at : at + size] == phrase] if size else []
