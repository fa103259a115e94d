"""The scores of a run as columns: half a million answers under several metrics are millions of scores.

Values are held as arrays; what was read out of each answer is written to the run's scores.jsonl as it comes and held
only where a metric is aggregated by it.
"""

from __future__ import annotations

import json
from array import array
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from json.encoder import encode_basestring
from typing import TYPE_CHECKING, Any, NamedTuple

from evalkit.core.columns import column_values
from evalkit.core.errors import ConfigError
from evalkit.core.packed_samples import PackedSamples
from evalkit.core.types import MetricKey, Prediction, Sample, Score, UnscoredCount
from evalkit.scoring.base import ScoringProtocol
from evalkit.scoring.row_protocol import RowProtocol
from evalkit.stats.labels import LABEL_AGGREGATES
from evalkit.tasks.choice_orders import is_ordered
from evalkit.tasks.draws import is_drawn

if TYPE_CHECKING:
    import numpy as np

# Writes a piece of scores.jsonl.
Write = Callable[[str], Any]
# Rows of one kind get equal results for equal answers: so many results are kept, of answers of so many characters.
_KEPT_RESULTS, _SHORT = 1 << 16, 200


@dataclass(slots=True)
class MetricScores:
    """The scores of one metric: positions of the samples that it covers, values (NaN: unscored), what was extracted.

    extracted: empty unless the metric is aggregated by it.
    """

    _places: array[int] = field(default_factory=lambda: array("i"))
    _values: array[float] = field(default_factory=lambda: array("d"))
    extracted: list[str] = field(default_factory=list)

    def add(self, place: int, value: float | None) -> None:
        """Add the score of the sample at a position."""
        self._places.append(place)
        self._values.append(_UNSCORED if value is None else value)

    @property
    def places(self) -> np.ndarray[Any, Any]:
        """Positions of the covered samples, in the order of scoring."""
        import numpy as np

        return np.frombuffer(self._places, dtype=np.int32)

    @property
    def values(self) -> np.ndarray[Any, Any]:
        """One value a covered sample; NaN where it is unscored."""
        import numpy as np

        return np.frombuffer(self._values, dtype=float)


_UNSCORED = float("nan")


@dataclass(slots=True)
class ScoreTable:
    """The scores of a run by metric, and how often each reason for a missing one occurs."""

    metrics: dict[MetricKey, MetricScores] = field(default_factory=dict)
    reasons: Counter[tuple[str, str, str]] = field(default_factory=Counter)

    @classmethod
    def of(cls, scores: Sequence[Score] | ScoreTable, samples: Sequence[Sample]) -> ScoreTable:
        """The table of some scores of these samples; a table as it is."""
        if isinstance(scores, ScoreTable):
            return scores
        table, place = cls(), {name: k for k, name in enumerate(column_values(samples, "id"))}
        for score in scores:
            table.add(MetricKey(score.protocol, score.metric), place[score.sample_id], score, keep_text=True)
        return table

    def column(self, key: MetricKey) -> MetricScores:
        """The scores of a metric, a new one where there are none yet."""
        found = self.metrics.get(key)
        if found is None:
            found = self.metrics[key] = MetricScores()
        return found

    def add(self, key: MetricKey, place: int, score: Score, *, keep_text: bool) -> None:
        """Add a score of a metric for the sample at a position."""
        column = self.column(key)
        column.add(place, score.value)
        if score.value is None:
            self.reasons[key.protocol, key.metric, score.reason] += 1
        if keep_text:
            column.extracted.append(score.extracted)

    def unscored_counts(self) -> list[UnscoredCount]:
        """Numbers of missing scores by protocol, metric and reason; most frequent first."""
        return [UnscoredCount(protocol=p, metric=m, reason=r, count=n) for (p, m, r), n in self.reasons.most_common()]


class RowKinds(NamedTuple):
    """The samples by what a protocol reads of them.

    of: the number of each sample's kind.  first: the position of the first sample of each kind.
    """

    of: array[int]
    first: list[int]

    @classmethod
    def among(cls, samples: Sequence[Sample]) -> RowKinds:
        """The kinds of samples: two samples of one kind differ in id and images only."""
        packed = PackedSamples.of(samples)
        return cls(packed.kind_of, packed.first)


def is_by_row_content(protocol: ScoringProtocol) -> bool:
    """Whether a protocol is known to read nothing of a sample but its kind: evalkit's own; others may look at ids."""
    return (
        isinstance(protocol, RowProtocol)
        and type(protocol).score is RowProtocol.score
        and type(protocol).__module__.startswith("evalkit.")
    )


def score_table(
    samples: Sequence[Sample],
    predictions: Sequence[Prediction],
    protocols: Sequence[ScoringProtocol],
    kinds: RowKinds,
    write: Write,
) -> ScoreTable:
    """Score every answer under every protocol; `write` gets the lines of scores.jsonl.

    Of questions in several orders, and of several draws, the table has what was extracted, by which they are compared.

    Raises:
        ConfigError: see `checked_scores`.
    """
    table, keep_texts = ScoreTable(), is_ordered(samples) or is_drawn(samples)
    for protocol in protocols:
        results = _Results(protocol, table, keep_texts)
        said = zip(*(column_values(predictions, name) for name in ("text", "error", "raw")), strict=True)
        ids = column_values(samples, "id")
        for place, (sample_id, kind, (text, error, raw)) in enumerate(zip(ids, kinds.of, said, strict=True)):
            key = (kind, text, error) if raw is None else None
            found = results.known.get(key) or results.new(key, samples[place], predictions[place])
            for scores, value in found.values:
                scores.add(place, value)
            for reason in found.reasons:
                table.reasons[reason] += 1
            for scores, extracted in found.texts:
                scores.extracted.append(extracted)
            write(f'{{"sample_id": {encode_basestring(sample_id)}, '.join(found.lines))
    return table


def score_line(score: Score) -> str:
    """A line of scores.jsonl; empty fields are left out.

    >>> score_line(Score(sample_id="1", protocol="p", metric="m", value=None, reason="unread")).strip()
    '{"sample_id": "1", "protocol": "p", "metric": "m", "value": null, "reason": "unread"}'
    """
    return f'{{"sample_id": {encode_basestring(score.sample_id)}, {_after_id(score)}'


def _after_id(score: Score) -> str:
    """The line of a score behind its id, which scores of equal answers share."""
    value = score.value
    text = "null" if value is None else float.__repr__(value) if isinstance(value, float) else json.dumps(value)
    for name, more in (("extracted", score.extracted), ("reason", score.reason), ("note", score.note)):
        if more:
            text += f', "{name}": {encode_basestring(more)}'
    protocol, metric = encode_basestring(score.protocol), encode_basestring(score.metric)
    return f'"protocol": {protocol}, "metric": {metric}, "value": {text}}}\n'


class _Result(NamedTuple):
    """The scores of an answer, as what is added for them.

    values: to the columns of the metrics.  reasons: of those that are missing.  texts: what was extracted, where it is
    held.  lines: "", and what each line of scores.jsonl has behind the id; empty without scores.
    """

    values: tuple[tuple[MetricScores, float | None], ...]
    reasons: tuple[tuple[str, str, str], ...]
    texts: tuple[tuple[MetricScores, str], ...]
    lines: tuple[str, ...]


class _Results:
    """The results of a protocol; those of a kind of row and a short answer are made once.

    known: by kind, text and error of the answer.
    """

    def __init__(self, protocol: ScoringProtocol, table: ScoreTable, keep_texts: bool) -> None:
        self.protocol = protocol
        self.table = table
        self.keep_texts = keep_texts
        self.known: dict[tuple[int, str | None, str | None] | None, _Result] = {}
        self.by_content = is_by_row_content(protocol)
        labels = {m.of or m.name for m in protocol.metrics if m.aggregate in LABEL_AGGREGATES}
        self.by_label = frozenset(labels)

    def new(self, key: tuple[int, str | None, str | None] | None, sample: Sample, prediction: Prediction) -> _Result:
        """The scores from the protocol; kept under the key where another answer with the key has the same ones."""
        scored = checked_scores(self.protocol, sample, prediction)
        columns = [self.table.column(MetricKey(s.protocol, s.metric)) for s in scored]
        found = _Result(
            values=tuple((column, s.value) for column, s in zip(columns, scored, strict=True)),
            reasons=tuple((s.protocol, s.metric, s.reason) for s in scored if s.value is None),
            texts=tuple(
                (column, s.extracted)
                for column, s in zip(columns, scored, strict=True)
                if self.keep_texts or s.metric in self.by_label
            ),
            lines=("", *map(_after_id, scored)) if scored else (),
        )
        if self.by_content and key is not None and len(prediction.text or "") <= _SHORT:
            if len(self.known) >= _KEPT_RESULTS:
                self.known.clear()
            self.known[key] = found
        return found


def checked_scores(protocol: ScoringProtocol, sample: Sample, prediction: Prediction) -> list[Score]:
    """A protocol's scores of an answer.

    Raises:
        ConfigError: it returned a metric twice, or one that it does not define.
    """
    scored = protocol.score(sample, prediction)
    returned = [s.metric for s in scored]
    names = {m.name for m in protocol.metrics}
    if len(set(returned)) != len(returned) or not names.issuperset(returned):
        raise ConfigError(
            f"The protocol {protocol.name} returned the metrics {', '.join(returned)} for sample {sample.id}; "
            f"expected each at most once, and only those that it defines: {', '.join(sorted(names))}. Correct its "
            "class."
        )
    return scored


def column_of(table: ScoreTable, key: MetricKey, n: int) -> np.ndarray[Any, Any]:
    """The values of a metric, one a sample of n; NaN where it is unscored or not covered."""
    import numpy as np

    found = table.metrics[key]
    values = np.full(n, np.nan)
    values[found.places] = found.values
    return values
