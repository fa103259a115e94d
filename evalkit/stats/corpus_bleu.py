"""Corpus BLEU (Papineni et al. 2002) of answers against one reference each, with an interval over clusters.

The n-gram hits of all answers are added up before they become precisions, unlike a mean of sentence BLEU.  Tokens and
smoothing are those of sacreBLEU's default (Post 2018, "A call for clarity in reporting BLEU scores"; tokens of
mteval-v13a, exponential smoothing), in lower case: its signature is nrefs:1|case:lc|eff:no|tok:13a|smooth:exp.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Hashable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from evalkit.stats.clusters import cluster_codes, cluster_sums
from evalkit.stats.fraction_interval import FEWEST_CLUSTERS
from evalkit.stats.intervals import (
    FEW_CLUSTERS,
    LEVEL,
    NO_ESTIMATE,
    NO_SPREAD,
    ONE_CLUSTER,
    Estimate,
    Interval,
    resampled_weights,
)

if TYPE_CHECKING:
    import numpy as np

ORDERS = 4
RESAMPLES, SEED = 1000, 0
_ENTITIES = {"&quot;": '"', "&amp;": "&", "&lt;": "<", "&gt;": ">"}
# Marks that are always a token.  Full stop, comma and hyphen depend on the digits beside them; an apostrophe is none.
_MARK = re.compile(r"([!-&(-+:-@\[-`{-~/])")
_POINT_AFTER_OTHER = re.compile(r"([^0-9])([.,])")
_POINT_BEFORE_OTHER = re.compile(r"([.,])([^0-9])")
_HYPHEN_AFTER_DIGIT = re.compile(r"([0-9])(-)")


def bleu_tokens(text: str) -> list[str]:
    """The tokens of a text in lower case, as mteval-v13a splits them.

    >>> bleu_tokens("X-ray, 2.5 cm (left).")
    ['x-ray', ',', '2.5', 'cm', '(', 'left', ')', '.']
    """
    line = text.rstrip().lower().replace("<skipped>", "").replace("-\n", "").replace("\n", " ")
    for name, mark in _ENTITIES.items():
        line = line.replace(name, mark)
    line = _MARK.sub(r" \1 ", f" {line} ")
    line = _POINT_AFTER_OTHER.sub(r"\1 \2 ", line)
    line = _POINT_BEFORE_OTHER.sub(r" \1 \2", line)
    return _HYPHEN_AFTER_DIGIT.sub(r"\1 \2 ", line).split()


@lru_cache(maxsize=1 << 16)  # every slice counts the same answers again
def bleu_counts(answer: str, reference: str) -> tuple[int, ...]:
    """Hits and n-grams of the answer for n = 1 to 4, then the lengths of answer and reference, in tokens."""
    found, gold = bleu_tokens(answer), bleu_tokens(reference)
    hits, totals = [], []
    for n in range(1, ORDERS + 1):
        grams = Counter(zip(*(found[k:] for k in range(n)), strict=False))
        wanted = Counter(zip(*(gold[k:] for k in range(n)), strict=False))
        hits.append((grams & wanted).total())
        totals.append(grams.total())
    return (*hits, *totals, len(found), len(gold))


def bleu_of_counts(counts: Sequence[float], *, effective_order: bool = False) -> float:
    """BLEU in [0, 1] from (sums of) `bleu_counts`.

    An order without hits counts as 1 / (2^k n-grams), k the number of such orders so far.  effective_order: orders
    beyond the answer's length are left out, as for single sentences; without it they make the value 0.
    """
    hits, totals, length, gold_length = counts[:ORDERS], counts[ORDERS : 2 * ORDERS], counts[-2], counts[-1]
    if not any(hits):
        return 0.0
    logs, halvings = [], 1.0
    for hit, total in zip(hits, totals, strict=True):
        if total == 0:
            break
        if hit == 0:
            halvings *= 2
        logs.append(math.log(hit / total if hit else 1 / (halvings * total)))
    if len(logs) < ORDERS and not effective_order:
        return 0.0
    brevity = math.exp(1 - gold_length / length) if length < gold_length else 1.0
    return brevity * math.exp(math.fsum(logs) / len(logs))


def corpus_bleu(values: Sequence[float], labels: Sequence[tuple[str, str]], clusters: Sequence[Hashable]) -> Estimate:
    """Corpus BLEU of pairs of reference and answer, with a percentile interval over resampled clusters.

    An answer that failed is an empty text.  1,000 resamples with a fixed seed (Koehn 2004).  None for no pairs; no
    bounds for fewer than five clusters, whose resamples hold too little of the spread, and where all resamples have the
    same value.
    """
    import numpy as np

    del values
    if not labels:
        return NO_ESTIMATE
    rows = np.array([bleu_counts(answer, gold) for gold, answer in labels], dtype=float)
    value = bleu_of_counts(rows.sum(axis=0).tolist())
    codes, k = cluster_codes(labels, clusters)
    if k < FEWEST_CLUSTERS:
        return Estimate(value, Interval(low=None, high=None, method=ONE_CLUSTER if k == 1 else FEW_CLUSTERS))
    sums = np.stack([cluster_sums(column, codes, k) for column in rows.T], axis=1)
    drawn = np.concatenate([_bleus(weights @ sums) for weights in resampled_weights(k, RESAMPLES, SEED)])
    if drawn.min() == drawn.max():
        return Estimate(value, Interval(low=None, high=None, method=NO_SPREAD))
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    bounds = min(float(low), value), max(float(high), value)
    return Estimate(value, Interval(low=bounds[0], high=bounds[1], method=f"cluster bootstrap, {k} clusters"))


def _bleus(counts: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """`bleu_of_counts` of each row."""
    import numpy as np

    return np.array([bleu_of_counts(row) for row in counts.tolist()])
