"""The verdicts: one per metric of each pair of runs, all p values under one Holm adjustment, and one for the gate."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from evalkit.analysis.compare import metric_keys
from evalkit.analysis.gate.family import near_copies
from evalkit.analysis.gate.inputs import RunPair
from evalkit.analysis.paired import ASSUMED_DISCORDANCE, Paired, incompatibilities, pair
from evalkit.analysis.run_scores import RunScores, incomplete
from evalkit.core.errors import ConfigError, DataError, did_you_mean
from evalkit.core.types import MetricKey
from evalkit.judge.metric_definitions import metric_bounds
from evalkit.stats import holm, paired_minimum_detectable_effect

# The share of wrong passes, wrong fails and wrong improvements that a gate promises not to exceed.
ALPHA = 0.05
# The nominal level of the bound that decides on a pass.  Where few answers change, any such test errs up to a quarter
# more often than its level (benchmarks/gate_simulation.py: 6 % at a nominal 5 %); at 3.5 % it errs in less than 5 % of
# all settings.
BOUND = 0.035
PASS, IMPROVED, FAIL, INCONCLUSIVE = "pass", "improved", "fail", "inconclusive"


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricVerdict:
    """The verdict of one metric.

    margin: how much worse is accepted, in the metric's direction.  paired.interval: two-sided 93 %, that is two
    one-sided bounds of level BOUND.  p_worse, p_better: one-sided p values of "not worse at all" and "not better at
    all", each Holm-adjusted over all metrics of the gate.
    """

    key: MetricKey
    verdict: str
    margin: float
    paired: Paired
    p_worse: float
    p_better: float


@dataclass(frozen=True, slots=True, kw_only=True)
class GateComparison:
    """A baseline and its candidate.  changed_answers: positions in the baseline of the answers whose text differs."""

    baseline: RunScores
    candidate: RunScores
    verdicts: tuple[MetricVerdict, ...]
    changed_answers: tuple[int, ...]


def decide(
    pairs: Sequence[RunPair], metrics: Sequence[Sequence[MetricKey]], margin_of: Mapping[MetricKey, float]
) -> list[GateComparison]:
    """The verdict of each metric of each pair of runs.

    Better and worse follow each metric's direction.  pass: the lower bound of the gain is above -margin, or not one
    answer differs.  improved: significantly better than equal.  fail: the point estimate is worse by more than the
    margin, and significantly worse than equal.  inconclusive: anything else.  The gate as a whole passes when every
    metric does, which needs no correction because all of them must pass; it fails when one fails, so the p values of
    "worse" (and of "better", where one is news too) are Holm-adjusted over all of its metrics.

    Args:
        pairs: the runs.
        metrics: of each pair, as `choose_metrics` gives them.
        margin_of: how much worse each metric may be, as a fraction; as `margins_of` gives it.

    Raises:
        DataError: two runs are not comparable, or one is incomplete; names every difference of every pair.
    """
    matches = list(zip(pairs, metrics, strict=True))
    if found := [text for match, keys in matches for text in _obstacles(match, keys)]:
        raise DataError(
            f"Runs are not comparable: {'; '.join(found)}. The gate needs complete runs over the same samples, prompts "
            "and protocol versions on both sides; make a new baseline if the change is intended."
        )
    drafts = [_draft(match, keys, margin_of) for match, keys in matches]
    flat = [v for draft in drafts for v in draft.verdicts]
    worse, better = iter(holm([v.p_worse for v in flat])), iter(holm([v.p_better for v in flat]))
    return [
        replace(
            d,
            verdicts=tuple(_decided(replace(v, p_worse=next(worse), p_better=next(better)), d) for v in d.verdicts),
        )
        for d in drafts
    ]


def default_metrics(run: RunScores) -> list[MetricKey]:
    """The metrics that a gate checks when none are named: every accuracy, recall and exact match that has samples.

    Incomplete ones are among them, so that they are refused and not passed over.
    """
    found = [*(k for k, c in run.columns.items() if c.n), *run.refused]
    return [k for k in found if k.metric.endswith(("accuracy", "recall", "exact_match"))]


def distinct_metrics(run: RunScores, named: Collection[str] = ()) -> list[MetricKey]:
    """`default_metrics` without those that nearly copy an earlier one, unless they have a margin of their own."""
    found = default_metrics(run)
    copies = near_copies(run, found)
    return [key for key in found if key not in copies or str(key) in named]


def choose_metrics(
    matches: Sequence[Sequence[RunScores]], wanted: Sequence[str] | None, named: Collection[str] = ()
) -> list[list[MetricKey]]:
    """The metrics to gate of each match (a baseline, or a baseline and its candidate).

    wanted: `PROTOCOL METRIC` each; a metric counts for the matches in which one side has it, so that tasks may have
    different ones, and `decide` refuses the side that lacks it.  None: `default_metrics` of each baseline, without
    those that nearly copy another one (`near_copies`).  named: metrics with a margin of their own, which stay.

    Raises:
        ConfigError: a name is invalid, no side of any match has the metric, or a match has nothing to gate.
    """
    known = [{k for run in match for k in (*run.columns, *run.refused)} for match in matches]
    every = {str(k): k for keys in known for k in keys}
    if unknown := [name for name in wanted or () if name not in every]:
        raise ConfigError(f"No run here has the metric {unknown[0]!r}. {did_you_mean(unknown[0], every)}")
    keys = metric_keys(wanted or ())
    found = []
    for (baseline, *_), available in zip(matches, known, strict=True):
        found.append(distinct_metrics(baseline, named) if wanted is None else [k for k in keys if k in available])
        if not found[-1]:
            none = "no accuracy or recall" if wanted is None else f"none of {', '.join(wanted)}"
            raise ConfigError(
                f"There is nothing to gate in {baseline.origin}: {none} among "
                f"{', '.join(sorted(map(str, available)))}. Name metrics with metrics=['llava-med closed_accuracy']."
            )
    return found


def margins_of(
    keys: Iterable[MetricKey], common: float, by_metric: Mapping[str, float], *, forced: bool = False
) -> dict[MetricKey, float]:
    """The margin of each metric: its own one where `by_metric` has it, else the common one.

    Args:
        forced: accept margins of 1 and more.

    Raises:
        ConfigError: a margin is not a fraction between 0 and 1, or belongs to a metric that is not gated.
    """
    names = {str(k): k for k in keys}
    if unknown := sorted(set(by_metric) - set(names)):
        raise ConfigError(f"margins names {unknown[0]!r}, which is not gated here; gated: {', '.join(names)}.")
    found = {key: by_metric.get(name, common) for name, key in names.items()}
    for key, margin in found.items():
        number = isinstance(margin, int | float) and not isinstance(margin, bool)
        if not number or not 0 < margin < (math.inf if forced else 1):
            raise ConfigError(
                f"The margin {margin} for {key} is invalid; expected a fraction such as 0.02 for two percentage "
                "points, or exact=true to accept no change at all."
            )
    return found


def vacuous(baseline: RunScores, margin_of: Mapping[MetricKey, float], keys: Sequence[MetricKey]) -> list[MetricKey]:
    """The metrics whose margin lets anything pass: the baseline is not further than that from the worst value.

    A baseline that has the worst value itself is not one of them: no candidate can be worse, whatever the margin.
    """
    found = []
    for key in keys:
        if key in baseline.columns and baseline.columns[key].n:
            column = baseline.columns[key]
            scores = column.worst_case().tolist()
            low, high = metric_bounds(key.metric, column.signature)
            bound = low if column.higher_is_better else high
            worst = min(bound, column.worst) if column.higher_is_better and bound is not None else bound
            if worst is not None and 0 < abs(sum(scores) / len(scores) - worst) <= margin_of[key]:
                found.append(key)
    return found


def check_margins(
    baselines: Sequence[RunScores],
    metrics: Sequence[Sequence[MetricKey]],
    margin_of: Mapping[MetricKey, float],
    named: Collection[str],
) -> list[str]:
    """Refuse a gate that lets any candidate pass.

    Args:
        metrics: of each baseline.
        named: metrics that have a margin of their own.

    Returns:
        A warning for each metric that does not decide, beside others that do.

    Raises:
        ConfigError: no metric of a baseline could fail, or one with a margin of its own could not.
    """
    warnings = []
    for baseline, keys in zip(baselines, metrics, strict=True):
        idle = vacuous(baseline, margin_of, keys)
        own = [key for key in idle if str(key) in named]
        if own or (idle and len(idle) == len(keys)):
            key = (own or idle)[0]
            raise ConfigError(
                f"The margin {margin_of[key]:g} for {key} lets every candidate pass, a useless one too: "
                f"{baseline.origin} is no further than that from the worst value. Give a smaller margin or other "
                "metrics; force=true gates with it all the same."
            )
        warnings += [
            f"{baseline.header.task} {key}: the margin {margin_of[key]:g} lets every candidate pass" for key in idle
        ]
    return warnings


def _obstacles(match: RunPair, keys: Sequence[MetricKey]) -> list[str]:
    baseline, candidate = match
    if found := [*incomplete(baseline), *incomplete(candidate)]:
        return found
    found = incompatibilities(baseline, candidate, keys)
    return [f"{baseline.origin} and {candidate.origin}: {'; '.join(found)}"] if found else []


def _draft(match: RunPair, keys: Sequence[MetricKey], margin_of: Mapping[MetricKey, float]) -> GateComparison:
    """The comparison with unadjusted p values and without verdicts."""
    a, b = match
    verdicts = []
    for key in keys:
        p = pair(a, b, key, 1 - 2 * BOUND)
        better = 1.0 if p.interval.low is None or not p.flipped else 1.0 - p.p_worse
        verdicts.append(
            MetricVerdict(key=key, verdict="", margin=margin_of[key], paired=p, p_worse=p.p_worse, p_better=better)
        )
    place = {i: k for k, i in enumerate(b.ids)}
    changed = tuple(k for k, i in enumerate(a.ids) if a.answers[k] != b.answers[place[i]])
    return GateComparison(baseline=a, candidate=b, verdicts=tuple(verdicts), changed_answers=changed)


def _decided(v: MetricVerdict, comparison: GateComparison) -> MetricVerdict:
    identical = not comparison.changed_answers and not v.paired.flipped  # nothing to estimate
    return replace(v, verdict=PASS if identical else _verdict(v))


def _verdict(v: MetricVerdict) -> str:
    low = v.paired.gain_low
    if low is None:
        return INCONCLUSIVE  # one image: no variance can be estimated
    if low > -v.margin:
        return IMPROVED if low > 0 and v.p_better < ALPHA else PASS
    return FAIL if v.paired.gain < -v.margin and v.p_worse < ALPHA else INCONCLUSIVE


def smallest_margin(n: int, discordance: float = ASSUMED_DISCORDANCE, power: float = 0.8) -> float:
    """The margin that n independent samples can certify for an equal candidate with the given power.

    >>> round(smallest_margin(451), 3)
    0.04
    """
    return paired_minimum_detectable_effect(n, discordance, alpha=BOUND, power=power, sides=1)


def needed_margin(p: Paired) -> float:
    """The margin that could be certified if changes are as frequent and as clustered as the observed ones."""
    if not p.flipped or math.isnan(p.standard_error) or p.standard_error == 0.0:
        return smallest_margin(p.n, 1 / p.n)
    return smallest_margin(1, p.standard_error**2)


def overall(comparisons: Sequence[GateComparison], exact: bool = False) -> str:
    """The gate's verdict: fail when one fails, inconclusive when one is, improved when all are, else pass.

    exact: fail when the text of one answer differs, or one score of the same text, else pass.
    """
    if exact:
        changed = any(c.changed_answers or any(v.paired.flipped for v in c.verdicts) for c in comparisons)
        return FAIL if changed else PASS
    kinds = {v.verdict for c in comparisons for v in c.verdicts}
    for kind in (FAIL, INCONCLUSIVE):
        if kind in kinds:
            return kind
    return IMPROVED if kinds == {IMPROVED} else PASS
