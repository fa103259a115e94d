"""MedVInT's rule (PMC-VQA): the answer counts as the label of the split that is most alike."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Self

from evalkit.core.types import CLOSED, OPEN, Sample, digest_json
from evalkit.scoring.row_protocol import ACCURACIES, MetricResult, RowProtocol, all_accuracies, best_of, references
from evalkit.scoring.text.nearest import nearest

_NO_LABELS = "the labels of the split are not known before all rows are scored"


class NearestLabel(RowProtocol):
    """Right where the label most alike to the answer (difflib) is the gold; open and closed rows have labels apart.

    The labels are the answers of the rows that are scored, as the authors take them from the test split: a limit makes
    the list shorter and the task easier, so its digest is part of the signature.  An answer that is like none is wrong.
    """

    metrics = ACCURACIES
    norm = "none"

    def __init__(self, **common: object) -> None:
        super().__init__(**common)  # type: ignore[arg-type]
        self.labels: Mapping[str, Sequence[str]] = {}
        self._known: dict[tuple[str, str], str] = {}

    def with_rows(self, samples: Sequence[Sample]) -> Self:
        """The protocol with the labels of these rows, in order of first appearance."""
        made = copy.copy(self)
        kinds = {CLOSED: True, OPEN: False}
        made.labels = {
            kind: tuple(dict.fromkeys(g for s in samples if self.is_closed(s) is closed for g in references(s)))
            for kind, closed in kinds.items()
        }
        made._known = {}
        return made

    def settings(self) -> dict[str, str]:
        listed = (
            f"{sum(map(len, self.labels.values()))}@{digest_json(dict(self.labels))[:8]}" if self.labels else "unknown"
        )
        return super().settings() | {"labels": listed}

    def metric_results(self, sample: Sample, answer: str) -> Mapping[str, MetricResult]:
        kind = {True: CLOSED, False: OPEN}.get(self.is_closed(sample))  # type: ignore[arg-type]
        if not self.labels or kind is None:
            why = "the row is neither open nor closed" if self.labels else _NO_LABELS
            return {metric.name: MetricResult(value=None, reason=why) for metric in self.metrics}
        key = (kind, answer)
        if key not in self._known:
            place = nearest(self.labels[kind], answer)
            self._known[key] = "" if place is None else self.labels[kind][place]
        found = self._known[key]
        hits = (float(bool(found) and found == gold) for gold in references(sample))
        return best_of((all_accuracies(hit) for hit in hits), found)
