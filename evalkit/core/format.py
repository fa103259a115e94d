"""Numbers as text: fractions as percentages, intervals, in every table, page and message."""

from __future__ import annotations

import re

MISSING = "–"
# Every BLEU of a protocol but `corpus_bleu`: the authors score each answer and take the mean.
_SENTENCE_BLEU = re.compile(r"bleu(?:_\d)?")


def shown_metric(name: str) -> str:
    """The name of a metric in tables; it says of BLEU that it is not the one of the corpus.

    >>> shown_metric("open_recall"), shown_metric("bleu_1"), shown_metric("corpus_bleu")
    ('open_recall', 'bleu_1 (mean of sentences)', 'corpus_bleu')
    """
    return f"{name} (mean of sentences)" if _SENTENCE_BLEU.fullmatch(name) else name


def percent(value: float | None, digits: int = 2, *, signed: bool = False) -> str:
    """A fraction as a percentage without its sign; – for None.

    >>> percent(0.5), percent(0.1234, 1, signed=True), percent(None)
    ('50.00', '+12.3', '–')
    """
    return MISSING if value is None else f"{100 * value:{'+' if signed else ''}.{digits}f}"


def interval(low: float | None, high: float | None, digits: int = 2, *, signed: bool = False) -> str:
    """Two bounds as percentages in brackets; – where one of them is None.

    >>> interval(0.25, 0.5, 1), interval(None, 0.5), interval(-0.01, 0.02, signed=True)
    ('[25.0, 50.0]', '–', '[-1.00, +2.00]')
    """
    if low is None or high is None:
        return MISSING
    return f"[{percent(low, digits, signed=signed)}, {percent(high, digits, signed=signed)}]"
