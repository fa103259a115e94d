"""Plain exact match, and BiomedGPT's: equality after hardly any normalisation."""

from __future__ import annotations

import string
from collections.abc import Mapping
from typing import Any

from evalkit.core.types import Metric, Sample
from evalkit.scoring.row_protocol import (
    ACCURACIES,
    MetricResult,
    RowProtocol,
    all_accuracies,
    best_of,
    one_of,
    references,
)

_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
_NAMES = ("exact_match", "closed_exact_match", "open_exact_match")


class ExactMatch(RowProtocol):
    """Correct if the answer equals a reference after lower-casing and stripping outer white space.

    punctuation: "delete" first removes every ASCII punctuation mark ("x-ray" equals "xray"), "keep" does not.
    """

    metrics = (
        Metric(name="exact_match"),
        Metric(name="closed_exact_match", rows="closed", is_secondary=True),
        Metric(name="open_exact_match", rows="open", is_secondary=True),
    )
    rule = "yesno"

    def __init__(self, *, punctuation: str = "delete", **common: Any) -> None:
        super().__init__(**common)
        self.punctuation = one_of("punctuation", punctuation, ("delete", "keep"))
        self.norm = f"lower-strip-{self.punctuation}-punctuation"

    def metric_results(self, sample: Sample, answer: str) -> Mapping[str, MetricResult]:
        normalised = self._normalise(answer)
        hits = (float(normalised == self._normalise(reference)) for reference in references(sample))
        return best_of((dict.fromkeys(_NAMES, hit) for hit in hits), normalised)

    def gold_form(self, gold: str) -> str:
        return self._normalise(gold)

    def _normalise(self, text: str) -> str:
        text = text.lower()
        return (text.translate(_NO_PUNCTUATION) if self.punctuation == "delete" else text).strip()


class BiomedGpt(RowProtocol):
    """BiomedGPT (and OFA): the decoded text is an entry of the row's dictionary, which holds the gold alone.

    The gold is lower-cased, tabs taken out and stripped when the authors' files are made; of the answer only outer
    white space is removed.  Its models choose among the answers of a list (docs/protocols.md).
    """

    metrics = ACCURACIES
    norm = "gold-lower"

    def metric_results(self, sample: Sample, answer: str) -> Mapping[str, MetricResult]:
        said = answer.strip()
        hits = (float(said == self.gold_form(gold)) for gold in references(sample))
        return best_of((all_accuracies(hit) for hit in hits), said)

    def gold_form(self, gold: str) -> str:
        return gold.replace("\t", "").lower().strip()
