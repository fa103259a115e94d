"""What stands above and below a run's table: the headline numbers, and why an exact match may be 0."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from evalkit.analysis.sanity_checks.answers import wordiness
from evalkit.core.columns import column_values
from evalkit.core.format import percent, shown_metric
from evalkit.core.types import MetricKey, MetricValue, Prediction, Sample
from evalkit.scoring.base import ScoringProtocol

# The protocol whose numbers most papers on open and closed questions print.
OF_PAPERS = "llava-med"


def secondary_metrics(protocols: Sequence[ScoringProtocol]) -> frozenset[MetricKey]:
    """The metrics that a table leaves out unless all are asked for."""
    return frozenset(MetricKey(p.name, m.name) for p in protocols for m in p.metrics if m.is_secondary)


def headline(values: Sequence[MetricValue], secondary: Collection[MetricKey], reference: str) -> str:
    """One line with the main numbers of the task's reference protocol, or of the first one; "" where none has a value.

    Args:
        reference: the task's reference protocol.
    """
    whole = [v for v in values if v.slice == "all" and v.key not in secondary and v.n and v.value is not None]
    if not whole:
        return ""
    protocol = reference if any(v.protocol == reference for v in whole) else whole[0].protocol
    numbers = ", ".join(f"{shown_metric(v.metric)} {percent(v.value)}" for v in whole if v.protocol == protocol)
    what = ", what most papers print" if protocol == OF_PAPERS else ""
    return f"headline: {numbers} ({protocol}{what})"


def wordy_text(
    values: Sequence[MetricValue], samples: Sequence[Sample], predictions: Sequence[Prediction]
) -> tuple[str, ...]:
    """A line that says why exact matches are 0.00 where answers are sentences; empty for all other runs."""
    exact = [v for v in values if v.slice == "all" and "exact" in v.metric and v.n > v.n_unscored]
    zero = [v for v in exact if percent(v.value) == percent(0.0)]
    words = wordiness(column_values(predictions, "text"), column_values(samples, "references")) if zero else None
    if words is None:
        return ()
    names = ", ".join(dict.fromkeys(f"{v.protocol} {v.metric}" for v in zero))
    return (
        f"exact match 0.00    the answers have {words.said:g} words in the median, the references {words.asked:g}: an "
        f"exact match is the reference and nothing else ({names}).\n"
        "                    Recall and closed accuracy read sentences, and so does a judge (judge=NAME); "
        "task.prompt=short or task.template= asks for a word.\n",
    )
