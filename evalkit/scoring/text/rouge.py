"""ROUGE as two libraries have it: `rouge` (MedEvalKit), and Google's (HELM), which torchmetrics follows."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from functools import cache
from typing import Any

_NOT_ASCII_WORD = re.compile(r"[^a-z0-9]+")
_EPSILON = 1e-8
_NO_STEM = 3  # words of so many letters are not stemmed


def rouge_of_sets(answer: str, gold: str) -> dict[str, float] | None:
    """The library `rouge`, F1 over sets: rouge_1, rouge_2, and rouge_l over the unions of its sentences' subsequences.

    A full stop ends a sentence, also inside a number.  None where a text has no sentence, for which it raises.

    >>> rouge_of_sets("left left lung", "left lung")["rouge_1"]
    0.999999995
    >>> rouge_of_sets("...", "lung")
    """
    said, wanted = _sentences(answer), _sentences(gold)
    if not said or not wanted:
        return None
    words, gold_words = ([word for sentence in text for word in sentence] for text in (said, wanted))
    found = {
        f"rouge_{n}": _f1_of_sets(len(a), len(b), len(a & b))
        for n in (1, 2)
        for a, b in [(_ngram_set(words, n), _ngram_set(gold_words, n))]
    }
    common: set[str] = set()
    for sentence in wanted:
        for other in said:
            common.update(_common_words(sentence, other))
    return found | {"rouge_l": _f1_of_sets(len(set(words)), len(set(gold_words)), len(common))}


def _sentences(text: str) -> list[list[str]]:
    """The words of each sentence; one of white space alone has the empty word."""
    return [" ".join(part.split()).split(" ") for part in text.split(".") if part]


def _ngram_set(words: Sequence[str], n: int) -> set[tuple[str, ...]]:
    return set(zip(*(words[k:] for k in range(n)), strict=False))


def _f1_of_sets(n_said: int, n_gold: int, hits: int) -> float:
    precision = hits / n_said if n_said else 0.0
    recall = hits / n_gold if n_gold else 0.0
    return 2.0 * ((precision * recall) / (precision + recall + _EPSILON))


def _common_words(one: Sequence[str], other: Sequence[str]) -> set[str]:
    """The words of the longest common subsequence that the library finds: among equal ones, that which ends first."""
    table = [[0] * (len(other) + 1)]
    for word in one:
        above, row = table[-1], [0]
        for k, second in enumerate(other):
            row.append(above[k] + 1 if word == second else max(above[k + 1], row[k]))
        table.append(row)
    found: set[str] = set()
    i, j = len(one), len(other)
    while i and j:
        if one[i - 1] == other[j - 1]:
            i, j = i - 1, j - 1
            found.add(one[i])
        elif table[i - 1][j] > table[i][j - 1]:
            i -= 1
        else:
            j -= 1
    return found


def rouge_words(text: str, *, stemmed: bool = False) -> list[str]:
    """The words of Google's ROUGE: ASCII letters and digits in lower case.

    stemmed: words of more than three letters are reduced to their stem (Porter, as nltk has it), which imports nltk.

    >>> rouge_words("The T2-weighted X-Rays"), rouge_words("The T2-weighted X-Rays", stemmed=True)
    (['the', 't2', 'weighted', 'x', 'rays'], ['the', 't2', 'weight', 'x', 'ray'])
    """
    words = _NOT_ASCII_WORD.sub(" ", text.lower()).split()
    return [_stemmer().stem(word) if len(word) > _NO_STEM else word for word in words] if stemmed else words


@cache
def _stemmer() -> Any:
    from nltk.stem.porter import PorterStemmer

    return PorterStemmer()


def rouge_n(words: Sequence[str], gold_words: Sequence[str], n: int) -> float:
    """F1 over n-grams, each counted as often as it occurs in both; 0 where a text has none.

    >>> rouge_n(["left", "left", "lung"], ["left", "lung"], 1)
    0.8
    """
    said, wanted = (Counter(zip(*(text[k:] for k in range(n)), strict=False)) for text in (words, gold_words))
    hits = (said & wanted).total()
    return 2 * hits / (said.total() + wanted.total()) if hits else 0.0
