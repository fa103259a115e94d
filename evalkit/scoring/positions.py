"""The share of multiple-choice questions whose answer hangs on the order of the options, for choices.shuffle."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from evalkit.core.types import LETTERS, Metric, MetricKey, MetricValue, Prediction, Sample, Score
from evalkit.scoring.aggregate import RunProvenance, tabulate
from evalkit.scoring.base import ScoringProtocol
from evalkit.scoring.choice_protocol import METRIC
from evalkit.scoring.score_table import MetricScores, ScoreTable
from evalkit.tasks.choice_orders import question_of

# Of a question 1 where two orders of its options lead to different options, else 0; the answer of every order must be
# read.  The score stands at the question's first sample, which has the order of the data.
DEPENDENCE = Metric(name="position_dependence", rows="choice", higher_is_better=False)
UNREAD = "the option is not known in every order"


class _OneMetric:
    """A protocol with the metric of this module alone."""

    metrics: tuple[Metric, ...] = (DEPENDENCE,)

    def __init__(self, protocol: ScoringProtocol) -> None:
        self.name, self.version, self.unscored = protocol.name, protocol.version, "exclude"
        self.is_closed, self.settings = protocol.is_closed, protocol.settings

    def score(self, sample: Sample, prediction: Prediction) -> list[Score]:
        raise NotImplementedError("a question's score is made from those of its samples, in `dependence`")


def dependence(samples: Sequence[Sample], table: ScoreTable, protocols: Sequence[ScoringProtocol]) -> Iterator[Score]:
    """The scores of every protocol that reads options, which are added to the table.

    Args:
        table: scores with the extracted texts.
    """
    place = {s.id: k for k, s in enumerate(samples)}
    for protocol in protocols:
        column = table.metrics.get(MetricKey(protocol.name, METRIC))
        if column is None:
            continue
        for question, options in _chosen(samples, column).items():
            known = all(options)
            score = Score(
                sample_id=question,
                protocol=protocol.name,
                metric=DEPENDENCE.name,
                value=float(len(set(options)) > 1) if known else None,
                reason="" if known else UNREAD,
            )
            table.add(MetricKey(protocol.name, DEPENDENCE.name), place[question], score, keep_text=False)
            yield score


def _chosen(samples: Sequence[Sample], column: MetricScores) -> dict[str, list[frozenset[str]]]:
    """For each question that has several orders the texts of the options chosen in each; empty where it is not read."""
    found: dict[str, list[frozenset[str]]] = {}
    scored = (column.values == column.values).tolist()
    for k, is_scored, extracted in zip(column.places.tolist(), scored, column.extracted, strict=True):
        sample = samples[k]
        letters = extracted.split(",") if is_scored and extracted else []
        places = [LETTERS.find(letter) if len(letter) == 1 else -1 for letter in letters]
        is_read = all(0 <= p < len(sample.choices) for p in places)
        texts = frozenset(sample.choices[p] for p in places) if is_read else frozenset()
        found.setdefault(question_of(sample), []).append(texts)
    return {question: options for question, options in found.items() if len(options) > 1}


def with_dependence(
    values: Sequence[MetricValue],
    samples: Sequence[Sample],
    table: ScoreTable,
    protocols: Sequence[ScoringProtocol],
    run: RunProvenance,
) -> list[MetricValue]:
    """The values with the shares of every protocol after its other metrics."""
    result: list[MetricValue] = []
    for protocol in protocols:
        result += [value for value in values if value.protocol == protocol.name]
        if MetricKey(protocol.name, DEPENDENCE.name) in table.metrics:
            result += tabulate(samples, table, [_OneMetric(protocol)], run)
    return result
