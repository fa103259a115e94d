"""Numbers as text: fractions as percentages, intervals, in every table, page and message."""

from __future__ import annotations

import re
from collections.abc import Iterable

MISSING = "–"
# Every BLEU of a protocol but `corpus_bleu`: the authors score each answer and take the mean.  A protocol may stand
# before the metric, a slice after it.
_SENTENCE_BLEU = re.compile(r"((?:\S+ )?bleu(?:_\d)?)(, .*)?")


def shown_metric(name: str, *, is_stated: bool = True) -> str:
    """The name of a metric in tables; it says of BLEU that it is not the one of the corpus.

    name: METRIC, `PROTOCOL METRIC`, or either of them with `, SLICE` behind it.
    is_stated: False where a paper does not say which BLEU its figure is.

    >>> shown_metric("open_recall"), shown_metric("bleu_1"), shown_metric("corpus_bleu")
    ('open_recall', 'bleu_1 (mean of sentences)', 'corpus_bleu')
    >>> shown_metric("nocandi bleu, organ=lung"), shown_metric("bleu_1", is_stated=False)
    ('nocandi bleu (mean of sentences), organ=lung', 'bleu_1 (kind not stated)')
    """
    found = _SENTENCE_BLEU.fullmatch(name)
    if found is None:
        return name
    return f"{found[1]} ({'mean of sentences' if is_stated else 'kind not stated'}){found[2] or ''}"


# Beside a table with such a column.
SENTENCE_BLEU_NOTE = (
    "bleu is the mean of sentence BLEU over the answers, as the authors' code computes it; corpus BLEU (sacreBLEU's): "
    "protocol=corpus-bleu"
)


def has_sentence_bleu(names: Iterable[str]) -> bool:
    """Whether a metric's name alone would not tell that it is a mean of sentence BLEU.

    >>> has_sentence_bleu(["open_f1", "bleu_2"]), has_sentence_bleu(["corpus_bleu", "sentence_bleu"])
    (True, False)
    """
    return any(shown_metric(name) != name for name in names)


# Below this effective number of clusters an interval is marked, and the number is printed beside it.
FEW_CLUSTERS = 20.0
FEW_CLUSTERS_NOTE = (
    "eff: effective number of clusters (images), where it is below 20: so few carry the rows, and the interval rests "
    "on them"
)


def percent(value: float | None, digits: int = 2, *, signed: bool = False) -> str:
    """A fraction as a percentage without its sign; – for None.

    >>> percent(0.5), percent(0.1234, 1, signed=True), percent(None)
    ('50.00', '+12.3', '–')
    """
    return MISSING if value is None else f"{100 * value:{'+' if signed else ''}.{digits}f}"


def interval(
    low: float | None, high: float | None, digits: int = 2, *, signed: bool = False, effective: float | None = None
) -> str:
    """Two bounds as percentages in brackets, with the effective number of clusters where it is small; – without bounds.

    >>> interval(0.25, 0.5, 1), interval(None, 0.5), interval(-0.01, 0.02, signed=True)
    ('[25.0, 50.0]', '–', '[-1.00, +2.00]')
    >>> interval(0.25, 0.5, 1, effective=4.31), interval(0.25, 0.5, 1, effective=88.0)
    ('[25.0, 50.0] eff 4.3', '[25.0, 50.0]')
    """
    if low is None or high is None:
        return MISSING
    mark = f" eff {effective:.1f}" if is_few(effective) else ""
    return f"[{percent(low, digits, signed=signed)}, {percent(high, digits, signed=signed)}]{mark}"


def is_few(effective: float | None) -> bool:
    """Whether an interval is marked: its effective number of clusters is known and small.

    >>> is_few(19.9), is_few(20.0), is_few(None)
    (True, False, False)
    """
    return effective is not None and effective < FEW_CLUSTERS


def worst_case(value: float | None, low: float | None, high: float | None, digits: int = 2) -> str:
    """A value that counts unscored rows as the worst score, with its interval where there is one.

    >>> worst_case(0.4, 0.3, 0.5, 1), worst_case(0.4, None, None, 1)
    ('40.0 [30.0, 50.0]', '40.0')
    """
    return percent(value, digits) if low is None else f"{percent(value, digits)} {interval(low, high, digits)}"
