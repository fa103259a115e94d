"""Metrics over several answers of each sample, for generation.n: pass@k, pass^k, the vote, agreement, flips, spread.

Each is derived from the scores of another metric of the same protocol, whose name it begins with.  The score stands at
a sample's first draw; intervals are clustered by image, as all are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from evalkit.core.types import Metric, MetricKey, MetricValue, Prediction, Sample, Score, worst_score
from evalkit.scoring.aggregate import RunProvenance, tabulate
from evalkit.scoring.base import ScoringProtocol
from evalkit.scoring.score_table import MetricScores, ScoreTable
from evalkit.stats.draws import agreement, expected_best, expected_worst, flip_rate, variance_parts, vote
from evalkit.tasks.draws import DRAW_TAG, drawn_sample

# Aggregates whose value is the mean of scores, so that it can be taken over the draws of each sample first.
_MEANS = ("mean", "unbounded_mean")


class _Answer(NamedTuple):
    """A scored draw: its number, its score, and what counts as its answer in a vote."""

    draw: int
    value: float
    answer: str


class _Derived:
    """A protocol with the metrics of this module alone."""

    def __init__(self, protocol: ScoringProtocol, metrics: tuple[Metric, ...]) -> None:
        self.name, self.version, self.unscored = protocol.name, protocol.version, "exclude"
        self.is_closed, self.settings = protocol.is_closed, protocol.settings
        self.metrics = metrics

    def score(self, sample: Sample, prediction: Prediction) -> list[Score]:
        raise NotImplementedError("a sample's score is made from those of its draws, in `draw_scores`")


def steps_of(n: int) -> list[int]:
    """The numbers k of answers for which pass@k is given: powers of two, and all n.

    >>> steps_of(8), steps_of(5)
    ([2, 4, 8], [2, 4, 5])
    """
    return sorted({2**power for power in range(1, n.bit_length()) if 2**power <= n} | {n})


def derived_metrics(metric: Metric, n: int) -> tuple[Metric, ...]:
    """The metrics over n draws that are derived from a metric."""

    def made(suffix: str, higher: bool, is_secondary: bool = False) -> Metric:
        return Metric(
            name=f"{metric.name}.{suffix}",
            rows=metric.rows,
            aggregate=metric.aggregate,
            higher_is_better=higher,
            is_secondary=is_secondary,
        )

    higher = metric.higher_is_better
    passes = [made(f"pass{mark}{k}", higher, is_secondary=k < n) for mark in "@^" for k in steps_of(n)]
    return (made(f"vote@{n}", higher), *passes, made("flip_rate", False), made("agreement", True, is_secondary=True))


def averaged_metrics(protocol: ScoringProtocol, *, with_secondary: bool = False) -> list[Metric]:
    """The metrics of a protocol whose value is the mean of scores."""
    return [
        m for m in protocol.metrics if not m.of and m.aggregate in _MEANS and (with_secondary or not m.is_secondary)
    ]


def drawn_metrics(protocol: ScoringProtocol, table: ScoreTable, *, with_secondary: bool = False) -> list[Metric]:
    """The metrics of a protocol whose scores are averaged, and which have some."""
    own = averaged_metrics(protocol, with_secondary=with_secondary)
    return [m for m in own if MetricKey(protocol.name, m.name) in table.metrics]


def number_of_draws(samples: Sequence[Sample]) -> int:
    """The number of answers that are drawn of each sample."""
    return 1 + max((int(s.tags[DRAW_TAG]) for s in samples if DRAW_TAG in s.tags), default=0)


def draw_scores(
    samples: Sequence[Sample],
    predictions: Sequence[Prediction],
    table: ScoreTable,
    protocols: Sequence[ScoringProtocol],
) -> Iterator[Score]:
    """The scores of the derived metrics, which are added to the table.

    Args:
        table: scores with the extracted texts.
    """
    n = number_of_draws(samples)
    place = {s.id: k for k, s in enumerate(samples)}
    for protocol in protocols:
        for metric in drawn_metrics(protocol, table):
            key = MetricKey(protocol.name, metric.name)
            for name, answers in _by_sample(samples, predictions, table.metrics[key], protocol, metric).items():
                for score in _scores_of(name, answers, protocol.name, metric, n):
                    table.add(MetricKey(protocol.name, score.metric), place[name], score, keep_text=False)
                    yield score


def _by_sample(
    samples: Sequence[Sample],
    predictions: Sequence[Prediction],
    column: MetricScores,
    protocol: ScoringProtocol,
    metric: Metric,
) -> dict[str, list[_Answer]]:
    """The scored draws of each sample that the metric covers; an unscored one counts where the protocol says wrong."""
    found: dict[str, list[_Answer]] = {}
    for k, value, extracted in zip(column.places.tolist(), column.values.tolist(), column.extracted, strict=True):
        answers = found.setdefault(drawn_sample(samples[k]), [])
        draw = int(samples[k].tags[DRAW_TAG])
        if value == value:
            answers.append(_Answer(draw, value, extracted or " ".join((predictions[k].text or "").lower().split())))
        elif protocol.unscored == "wrong":
            answers.append(_Answer(draw, worst_score(metric.higher_is_better), ""))
    return found


def _scores_of(name: str, answers: Sequence[_Answer], protocol: str, metric: Metric, n: int) -> Iterator[Score]:
    """The score of every derived metric for one sample."""
    values, texts = [a.value for a in answers], [a.answer for a in answers]
    best, worst = (expected_best, expected_worst) if metric.higher_is_better else (expected_worst, expected_best)
    needed: dict[str, int] = {f"vote@{n}": 1, "flip_rate": 2, "agreement": 2}
    for derived in derived_metrics(metric, n):
        kind = derived.name.removeprefix(f"{metric.name}.")
        k = needed.get(kind) or int(kind[5:])
        value: float | None = None
        if len(answers) >= k:
            if kind.startswith("pass"):
                value = (best if kind[4] == "@" else worst)(values, k)
            elif kind.startswith("vote"):
                value = vote(values, texts)
            else:
                value = flip_rate(values) if kind == "flip_rate" else agreement(texts)
        reason = "" if value is not None else f"fewer than {k} of {n} draws are scored"
        yield Score(sample_id=name, protocol=protocol, metric=derived.name, value=value, reason=reason)


def with_draws(
    values: Sequence[MetricValue],
    samples: Sequence[Sample],
    table: ScoreTable,
    protocols: Sequence[ScoringProtocol],
    run: RunProvenance,
) -> list[MetricValue]:
    """The values with those of the derived metrics after the other metrics of each protocol."""
    n = number_of_draws(samples)
    result: list[MetricValue] = []
    for protocol in protocols:
        result += [value for value in values if value.protocol == protocol.name]
        derived = tuple(d for m in drawn_metrics(protocol, table) for d in derived_metrics(m, n))
        result += tabulate(samples, table, [_Derived(protocol, derived)], run)
    return result


def derived_keys(protocols: Sequence[ScoringProtocol], n: int, *, secondary: bool) -> frozenset[MetricKey]:
    """The keys of all derived metrics, or of those that a table leaves out."""
    metrics = ((p.name, d) for p in protocols for m in p.metrics if not m.of for d in derived_metrics(m, n))
    return frozenset(MetricKey(name, d.name) for name, d in metrics if d.is_secondary or not secondary)


def spread(
    samples: Sequence[Sample],
    predictions: Sequence[Prediction],
    table: ScoreTable,
    protocols: Sequence[ScoringProtocol],
) -> dict[str, Any]:
    """What drawing again would change, for the summary: for every metric the value of each draw, and the variances.

    The standard deviation of a draw's value is the spread of `seeds`: of a whole run under another seed.
    """
    entries = []
    for protocol in protocols:
        for metric in drawn_metrics(protocol, table, with_secondary=True):
            column = table.metrics[MetricKey(protocol.name, metric.name)]
            found = _by_sample(samples, predictions, column, protocol, metric)
            entries.append({"protocol": protocol.name, "metric": metric.name, **_spread_of(found, samples)})
    return {"n": number_of_draws(samples), "metrics": entries}


def _spread_of(found: dict[str, list[_Answer]], samples: Sequence[Sample]) -> dict[str, Any]:
    """The values of the draws and the variance parts of one metric."""
    from statistics import fmean, stdev

    image_of = {s.id: s.image_id for s in samples}
    by_draw: dict[int, list[float]] = {}
    images: dict[str, list[list[float]]] = {}
    for name, answers in found.items():
        for answer in answers:
            by_draw.setdefault(answer.draw, []).append(answer.value)
        if answers:
            images.setdefault(image_of[name], []).append([a.value for a in answers])
    values = [fmean(by_draw[draw]) for draw in sorted(by_draw)]
    parts = variance_parts(list(images.values())) if images else None
    return {
        "draws": values,
        "sd": stdev(values) if len(values) > 1 else None,
        "variance": {
            "draws": parts.draws if parts else None,
            "samples": parts.samples if parts else None,
            "images": parts.images if parts else None,
        },
    }
