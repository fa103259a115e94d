"""inspect_evals' vqa_rad: the rule for its yes/no rows; its open rows are graded by a model (judge=inspect-evals)."""

from __future__ import annotations

import re
from collections.abc import Mapping

from evalkit.core.types import Metric, Sample
from evalkit.scoring.row_protocol import MetricResult, RowProtocol, references

_LINE = re.compile(r"ANSWER\s*:\s*([^\n]+)\s*\Z", re.IGNORECASE)
_NO_LINE = "its last line does not say ANSWER: as the prompt asks; wrong, as in the authors' code"


class InspectEvals(RowProtocol):
    """Closed rows, whose gold is yes or no: the last line says "ANSWER:" and then the gold, whatever the case."""

    metrics = (Metric(name="closed_accuracy", rows="closed"),)

    rule = "yesno"
    norm = "answer-line"

    def metric_results(self, sample: Sample, answer: str) -> Mapping[str, MetricResult]:
        found = _LINE.search(answer)
        if not found:
            return {"closed_accuracy": MetricResult(value=0.0, note=_NO_LINE)}
        said = found[1].strip().lower()
        hit = any(said == gold.strip().lower() for gold in references(sample))
        return {"closed_accuracy": MetricResult(value=float(hit), extracted=said)}
