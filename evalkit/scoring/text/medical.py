"""Text reading of the `strict` protocol: words, numbers, aliases with an audit trail, unordered lists."""

from __future__ import annotations

import re
import unicodedata
from typing import NamedTuple

from evalkit.core.remembered import remembered
from evalkit.scoring.text.aliases import GROUPS, NUMBERS
from evalkit.scoring.text.normalise import strip_role
from evalkit.scoring.text.traditional_chinese import SIMPLIFIED

_QUOTES = {"\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"', "\u2013": "-", "\u2014": "-"}
_UNIFIED = str.maketrans(_QUOTES) | SIMPLIFIED
_HAN = "\u3400-\u4dbf\u4e00-\u9fff"
# a number with its decimals, a word with its apostrophe, or a single Chinese character
_WORD = re.compile(rf"\d+(?:\.\d+)?|h&e|[^\W\d_{_HAN}]+(?:'[^\W\d_{_HAN}]+)?\d*|[{_HAN}]")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_LIST_SEPARATOR = re.compile(r",|;|\band\b|&(?!e\b)|、|，|；|\n|和")
_IGNORED = frozenset({"a", "an", "the", "and"})


class Reading(NamedTuple):
    """The words of a text after alias replacement, and the replacements, each as "from -> to"."""

    words: tuple[str, ...]
    replaced: tuple[str, ...]


class ListReading(NamedTuple):
    """The items of a text that lists things (a set, each item its words), and the replacements as "from -> to"."""

    items: frozenset[tuple[str, ...]]
    replaced: tuple[str, ...]


def fold(text: str) -> str:
    """The text with the role prefix removed and with case, width, quotes and Chinese characters (simplified) unified.

    >>> fold("Assistant: It’s ＣＴ"), fold("沒有腫塊")
    ("it's ct", '没有肿块')
    """
    return unicodedata.normalize("NFKC", strip_role(text)).translate(_UNIFIED).casefold().strip()


def plain_words(text: str) -> tuple[str, ...]:
    """Words of folded text: numbers as digits, no articles, no "and", no punctuation; each Chinese character is a word.

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


def _replace_aliases(words: tuple[str, ...]) -> Reading:
    """Replace aliases in one pass from the left, trying the longest first."""
    merged: list[str] = []
    replaced: list[str] = []
    place = 0
    while place < len(words):
        sizes = range(min(_LONGEST, len(words) - place), 0, -1) if words[place] in _FIRST_WORDS else ()
        size = next((n for n in sizes if words[place : place + n] in _ALIAS_OF), 0)
        if size:
            phrase, canonical = words[place : place + size], _ALIAS_OF[words[place : place + size]]
            merged.extend(canonical)
            if phrase != canonical:
                replaced.append(f"{' '.join(phrase)} -> {' '.join(canonical)}")
        else:
            merged.append(words[place])
        place += max(size, 1)
    return Reading(tuple(merged), tuple(replaced))


@remembered
def read_words(text: str) -> Reading:
    """The words of a raw text, each alias replaced by the canonical form of its group.

    >>> read_words("Magnetic resonance imaging").words, read_words("X ray").words, read_words("MRI").replaced
    (('mri',), ('xray',), ())
    """
    return _replace_aliases(plain_words(fold(text)))


@remembered
def read_list(text: str) -> ListReading:
    """The items of a raw text that lists things, as a set.

    >>> read_list("Spinal cord, lung").items == read_list("lung and spinal cord").items
    True
    >>> read_list("left lung, right kidney").items == read_list("right lung, left kidney").items
    False
    """
    items = [_replace_aliases(plain_words(part)) for part in _LIST_SEPARATOR.split(_THOUSANDS.sub("", fold(text)))]
    return ListReading(
        items=frozenset(item.words for item in items if item.words),
        replaced=tuple(alias for item in items for alias in item.replaced),
    )


def find_phrase(words: tuple[str, ...], phrase: tuple[str, ...]) -> list[int]:
    """Indices at which the phrase starts in the list of words (whole-word matches)."""
    size = len(phrase)
    return [at for at in range(len(words) - size + 1) if words[at : at + size] == phrase] if size else []
