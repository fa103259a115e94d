"""Rules of models that choose from a list: the answer counts as the answer of the list that is most alike."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Self

from evalkit.core.types import CLOSED, OPEN, Sample, digest_json
from evalkit.scoring.protocols.other_harnesses import one_line
from evalkit.scoring.row_protocol import ACCURACIES, MetricResult, RowProtocol, all_accuracies, best_of, references
from evalkit.scoring.text.nearest import nearest

ALL = "ALL"
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
        made.labels = self._lists(samples)
        made._known = {}
        return made

    def _lists(self, samples: Sequence[Sample]) -> Mapping[str, Sequence[str]]:
        """The lists by kind of row, in order of first appearance."""
        kinds = {CLOSED: True, OPEN: False}
        return {
            kind: tuple(dict.fromkeys(g for s in samples if self.is_closed(s) is closed for g in references(s)))
            for kind, closed in kinds.items()
        }

    def settings(self) -> dict[str, str]:
        listed = (
            f"{sum(map(len, self.labels.values()))}@{digest_json(dict(self.labels))[:8]}" if self.labels else "unknown"
        )
        return super().settings() | {"labels": listed}

    def _kind(self, sample: Sample) -> str | None:
        """The list that a row's answer is compared with; None for a row that has none."""
        return {True: CLOSED, False: OPEN}.get(self.is_closed(sample))  # type: ignore[arg-type]

    def _cleaned(self, text: str) -> str:
        """An answer or a gold as it is compared."""
        return text

    def metric_results(self, sample: Sample, answer: str) -> Mapping[str, MetricResult]:
        kind = self._kind(sample)
        if not self.labels or kind is None:
            why = "the row is neither open nor closed" if self.labels else _NO_LABELS
            return {metric.name: MetricResult(value=None, reason=why) for metric in self.metrics}
        key = (kind, self._cleaned(answer))
        if key not in self._known:
            place = nearest(self.labels[kind], key[1])
            self._known[key] = "" if place is None else self.labels[kind][place]
        found = self._known[key]
        hits = (float(bool(found) and found == self._cleaned(gold)) for gold in references(sample))
        return best_of((all_accuracies(hit) for hit in hits), found)


class NearestAnswer(NearestLabel):
    """M2I2's and MUMC's choice from an answer list, for models that write: the answer of the list most alike to it.

    Both sides are cleaned as in `vqa-official`, whose equality then decides.  There is one list for all rows, the
    answers of the rows that are scored; an answer that is in it stands for itself.
    """

    norm = "vqa2"

    def gold_form(self, gold: str) -> str:
        return one_line(gold)

    def _lists(self, samples: Sequence[Sample]) -> Mapping[str, Sequence[str]]:
        return {ALL: tuple(dict.fromkeys(text for s in samples for g in references(s) if (text := one_line(g))))}

    def _kind(self, sample: Sample) -> str | None:
        del sample  # one list for all rows
        return ALL

    def _cleaned(self, text: str) -> str:
        return one_line(text)
