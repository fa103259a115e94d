"""From judgments to numbers, again whenever wanted: both aggregations, groups, position bias, spread, failures.

Works on the lines of judgments.jsonl alone.  A judgment that failed is never a score: it is counted, left out, and
above `max_failed` there is no number at all.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evalkit import __version__
from evalkit.core.errors import Partial
from evalkit.core.types import Row
from evalkit.judge.config import CANDIDATE_FIRST, REFERENCE_FIRST, RELATIVE
from evalkit.judge.items import ItemResult, item_results, pair_of, preference
from evalkit.judge.journal import Judged, Record
from evalkit.stats import Interval, mean_interval

# A tag with more values than this names samples, not groups.
MOST_VALUES = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One number.  value, low, high: fractions (scores, order effect: points of the scale); None where there is none.

    n: samples that the number should be over; n_unscored: of these, how many it is not over.
    """

    metric: str
    slice: str
    value: float | None
    low: float | None
    high: float | None
    n: int
    n_unscored: int
    n_clusters: int
    value_unscored_wrong: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """All numbers of one plan.

    outcomes: judgments by status, "not asked" among them.  verdicts: correctness only.  reasons: why judgments failed.
    spread: with replicates, the mean within-item standard deviation and the score of each replicate.
    problem: why there are no numbers, or why they are not over everything; empty when all is well.
    """

    judge: str
    judged: str
    plan: str
    figures: tuple[Figure, ...]
    n: int
    n_failed: int
    n_no_answer: int
    n_cannot_tell: int
    outcomes: Mapping[str, int]
    verdicts: Mapping[str, int]
    reasons: Mapping[str, int]
    spread: Mapping[str, Any]
    settings: Mapping[str, str]
    problem: str = ""

    def get(self, metric: str, slice_name: str = "all") -> Figure:
        """The number of a metric and slice; KeyError when there is none."""
        for figure in self.figures:
            if (figure.metric, figure.slice) == (metric, slice_name):
                return figure
        raise KeyError((metric, slice_name))

    def rows(self, *, model: str, task: str, split: str) -> list[Row]:
        """As rows of a result table, under the protocol `judge:NAME`."""
        return [
            Row(
                model=model,
                task=task,
                split=split,
                protocol=f"judge:{self.judge}",
                metric=f.metric,
                slice=f.slice,
                value=f.value,
                value_unscored_wrong=f.value_unscored_wrong,
                low=f.low,
                high=f.high,
                n=f.n,
                n_unscored=f.n_unscored,
                n_clusters=f.n_clusters,
                signature=self.signature(f, task=task, split=split),
            )
            for f in self.figures
        ]

    def signature(self, figure: Figure, *, task: str, split: str) -> str:
        """All that determines the number, in a fixed order, version last."""
        parts = {"task": f"{task}.{split}", "n": str(figure.n), "slice": figure.slice, **self.settings}
        return "|".join([figure.metric, *(f"{k}:{v}" for k, v in parts.items()), f"v:{__version__}"])

    def check(self) -> None:
        """Raise Partial when judging is not complete enough for a number, or was not finished."""
        if self.problem:
            raise Partial(self.problem)


def compute(judged: Judged, *, max_failed: float | None = None, stopped: str = "") -> Figures:
    """Every number of a plan from its lines.

    Args:
        max_failed: instead of the one that the judgments were made under.
        stopped: why the session ended early, for the message.
    """
    plan = judged.plan
    config = plan["config"]
    items = item_results(judged)
    limit = float(config["max_failed"] if max_failed is None else max_failed)
    counts = Counter(item.status for item in items)
    n = int(plan["n_items"])
    unseen = n - len(items)
    failed, asked = counts["failed"] + unseen, n - counts["no_answer"]
    problem = _problem(plan, failed, asked, limit, stopped, _reasons(judged.records, unseen))
    too_many = asked > 0 and failed / asked > limit
    relative = plan["judged"] == RELATIVE
    measures = _relative_figures if relative else _correctness_figures
    return Figures(
        judge=str(plan["judge"]),
        judged=str(plan["judged"]),
        plan=str(plan["plan"]),
        figures=tuple(_sliced(items, unseen, measures, config["order"] == "swap", silent=too_many)),
        n=n,
        n_failed=failed,
        n_no_answer=counts["no_answer"],
        n_cannot_tell=counts["cannot_tell"],
        outcomes=_outcomes(judged.records, int(plan["n_judgments"])),
        verdicts=dict(Counter(str(r["verdict"]) for r in judged.records if r["verdict"])),
        reasons=_reasons(judged.records, unseen),
        spread={} if too_many else _spread(judged.records, relative, int(config["replicates"])),
        settings=settings_of(plan),
        problem=problem,
    )


Value = tuple[float | None, Interval | None]
Measure = Callable[[Sequence[ItemResult], Sequence[Hashable]], Value]
Measures = Callable[[bool], dict[str, Measure]]


def mean_of(pick: Callable[[ItemResult], float], *, bounded: bool) -> Measure:
    """Mean over the items, with its clustered interval."""

    def measure(items: Sequence[ItemResult], clusters: Sequence[Hashable]) -> Value:
        values = [pick(item) for item in items]
        if not values:
            return None, None
        return math.fsum(values) / len(values), mean_interval(values, clusters, bounded=bounded)

    return measure


def ratio_of_means(items: Sequence[ItemResult], clusters: Sequence[Hashable]) -> Value:
    """Sum of candidate scores over sum of reference scores; interval by linearisation (delta method)."""
    if not items:
        return None, None
    total = math.fsum(item.reference for item in items)
    ratio = math.fsum(item.candidate for item in items) / total
    mean = total / len(items)
    linear = [ratio + (item.candidate - ratio * item.reference) / mean for item in items]
    return ratio, mean_interval(linear, clusters, bounded=False)


def win(item: ItemResult) -> float:
    """1 where the answer is preferred to the reference, a half for a tie; the mean over the orders."""
    return math.fsum((preference(p) + 1) / 2 for p in item.points.values()) / len(item.points)


def _flipped(item: ItemResult) -> float:
    return float(preference(item.points[REFERENCE_FIRST]) != preference(item.points[CANDIDATE_FIRST]))


def _first_gains(item: ItemResult) -> float:
    """Points that an answer gains over the other by being shown first."""
    one, two = item.points[REFERENCE_FIRST], item.points[CANDIDATE_FIRST]
    return ((one.reference - one.candidate) - (two.reference - two.candidate)) / 2


def _relative_figures(swap: bool) -> dict[str, Measure]:
    measures = {
        "relative_score": mean_of(lambda i: i.candidate / i.reference, bounded=False),
        "relative_score_ratio_of_means": ratio_of_means,
        "reference_score": mean_of(lambda i: i.reference, bounded=False),
        "candidate_score": mean_of(lambda i: i.candidate, bounded=False),
        "win_rate": mean_of(win, bounded=True),
    }
    if swap:
        measures["flip_rate"] = mean_of(_flipped, bounded=True)
        measures["order_effect"] = mean_of(_first_gains, bounded=False)
    return measures


def _correctness_figures(swap: bool) -> dict[str, Measure]:
    measures = {
        "judged_accuracy": mean_of(lambda i: i.reference, bounded=True),
        "judged_credit": mean_of(lambda i: i.candidate, bounded=True),
    }
    if swap:

        def differs(item: ItemResult) -> float:
            one, two = item.points[REFERENCE_FIRST], item.points[CANDIDATE_FIRST]
            return float(abs(one.candidate - two.candidate) > 1e-9)

        def gains(item: ItemResult) -> float:
            return item.points[REFERENCE_FIRST].candidate - item.points[CANDIDATE_FIRST].candidate

        measures["flip_rate"] = mean_of(differs, bounded=True)
        measures["order_effect"] = mean_of(gains, bounded=False)
    return measures


def _sliced(
    items: Sequence[ItemResult],
    unseen: int,
    measures: Callable[[bool], dict[str, Measure]],
    swap: bool,
    *,
    silent: bool,
) -> Iterable[Figure]:
    slices = _slices(items)
    for metric, measure in measures(swap).items():
        for name, mine in slices.items():
            scored = [] if silent else [i for i in mine if i.status == "judged"]
            value, interval = measure(scored, [i.image_id for i in scored])
            n = len(mine) + (unseen if name == "all" else 0)
            pessimistic = metric in ("judged_accuracy", "judged_credit") and value is not None
            yield Figure(
                metric=metric,
                slice=name,
                value=value,
                low=interval.low if interval else None,
                high=interval.high if interval else None,
                n=n,
                n_unscored=n - len(scored),
                n_clusters=len({i.image_id for i in scored}),
                value_unscored_wrong=value * len(scored) / n if pessimistic and value is not None else None,
            )


def _slices(items: Sequence[ItemResult]) -> dict[str, list[ItemResult]]:
    """`all`, then one group a tag value; a tag that names samples, or that all share, is no slice."""
    seen: dict[str, set[str]] = {}
    for item in items:
        for tag, name in item.tags.items():
            seen.setdefault(tag, set()).add(name)
    groups: dict[str, list[ItemResult]] = {}
    for item in items:
        for tag, name in item.tags.items():
            if len(seen[tag]) <= MOST_VALUES:
                groups.setdefault(f"{tag}={name}", []).append(item)
    return {"all": list(items), **{k: groups[k] for k in sorted(groups) if len(groups[k]) < len(items)}}


def _problem(plan: Record, failed: int, asked: int, limit: float, stopped: str, reasons: Mapping[str, int]) -> str:
    """The paragraph for Partial; empty when every judgment is there, or few enough failed."""
    if not failed:
        return ""
    why = f" Judging stopped early: {stopped}." if stopped else ""
    share = failed / asked
    top = next(iter(reasons.items()), None)
    most = f" Most frequent reason: {top[0]} ({top[1]})." if top else ""
    end = " What is judged is kept; the same command asks for what has no reply yet and pays for nothing twice."
    if share > limit:
        return (
            f"Judge {plan['judge']!r} gave no usable judgment for {failed} of {asked} answers ({share:.1%}), more than "
            f"judge.max_failed={limit:g} allows, so no number is given.{why}{most}{end}"
        )
    if stopped:
        return f"{failed} of {asked} answers are not judged and not in the values above.{why}{end}"
    return ""


def _reasons(records: Sequence[Record], unseen: int) -> dict[str, int]:
    counted = Counter(
        f"{r['status']}: {r['why']}" for r in records if r["status"] in ("refused", "unreadable", "error")
    )
    if unseen:
        counted["not asked"] = unseen
    return dict(counted.most_common())


def _outcomes(records: Sequence[Record], expected: int) -> dict[str, int]:
    counted = Counter(str(r["status"]) for r in records)
    missing = expected - sum(n for status, n in counted.items() if status != "no_answer")
    return {**counted, **({"not asked": missing} if missing else {})}


def _spread(records: Sequence[Record], relative: bool, replicates: int) -> dict[str, Any]:
    """How much the judge disagrees with itself: per item and order, and in the score of each replicate as a whole."""
    if replicates < 2:
        return {}
    cells: dict[tuple[str, str], list[float]] = {}
    by_replicate: dict[int, dict[str, list[tuple[float, float]]]] = {}
    for record in records:
        pair = pair_of(record, relative) if record["status"] == "judged" else None
        if pair is None:
            continue
        cells.setdefault((record["sample_id"], record["order"]), []).append(pair[1])
        by_replicate.setdefault(int(record["replicate"]), {}).setdefault(record["sample_id"], []).append(pair)
    variances = [_variance(v) for v in cells.values() if len(v) > 1]
    scores = [_replicate_score(by_replicate[k], relative) for k in sorted(by_replicate)]
    return {
        "replicates": replicates,
        "within_item_sd": math.sqrt(math.fsum(variances) / len(variances)) if variances else None,
        "scores": scores,
        "scores_sd": math.sqrt(_variance(scores)) if len(scores) > 1 else None,
    }


def _replicate_score(samples: Mapping[str, Sequence[tuple[float, float]]], relative: bool) -> float:
    values = []
    for pairs in samples.values():
        reference, candidate = (math.fsum(column) / len(pairs) for column in zip(*pairs, strict=True))
        values.append(candidate / reference if relative else reference)
    return math.fsum(values) / len(values)


def _variance(values: Sequence[float]) -> float:
    mean = math.fsum(values) / len(values)
    return math.fsum((v - mean) ** 2 for v in values) / (len(values) - 1)


def settings_of(plan: Record) -> dict[str, str]:
    """All that determines a plan's judgments, for signatures."""
    config = plan["config"]
    parameters = ",".join(f"{k}={v}" for k, v in sorted(config["parameters"].items()))
    return {
        "judge": f"{plan['judge']}.{plan['model_requested']}"
        + (f"@{config['revision']}" if config["revision"] else ""),
        "prompt": f"{plan['prompt']}@{str(plan['prompt_sha256'])[:8]}",
        "style": str(plan["style"]),
        "order": str(config["order"]),
        "replicates": str(config["replicates"]),
        "images": "sent" if config["send_images"] else "none",
        "parameters": parameters or "default",
    }
