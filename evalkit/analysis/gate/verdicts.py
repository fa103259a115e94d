"""The verdicts: each metric of each pair of runs, all p values under one Holm adjustment, and the gate as a whole."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from evalkit.analysis.paired import Paired, differences, pair
from evalkit.analysis.run_scores import Scored, incomplete
from evalkit.core.errors import ConfigError, DataError, did_you_mean
from evalkit.stats import holm, paired_minimum_detectable_effect

# The share of wrong passes, wrong fails and wrong improvements that a gate promises not to exceed.
ALPHA = 0.05
# The nominal level of the bound that a pass goes by.  Where few answers change, any such test errs up to a quarter more
# often than it says (benchmarks/gate_simulation.py: 6 % at a nominal 5 %); at 3.5 % it errs in less than 5 % for all.
BOUND = 0.035
PASS, IMPROVED, FAIL, INCONCLUSIVE = "pass", "improved", "fail", "inconclusive"
# The metrics of all protocols of which less is better.
LOWER_IS_BETTER = frozenset({"unparsable_rate"})
# Share of rows on which two similar models differ, assumed before anything is known of the candidate.
ASSUMED_DISCORDANCE = 0.10


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One metric's verdict.

    paired.interval: two-sided 93 %, that is two one-sided bounds of level BOUND.
    p_worse, p_better: one-sided p of "not worse at all" and of "not better at all", each Holm-adjusted over all metrics
    of the gate.
    """

    metric: str
    verdict: str
    margin: float
    paired: Paired
    p_worse: float
    p_better: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A baseline and its candidate.  moved: positions in the baseline of the answers that are not the same text."""

    baseline: Scored
    candidate: Scored
    verdicts: tuple[Verdict, ...]
    moved: tuple[int, ...]


def judge(
    matches: Sequence[tuple[Scored, Scored]], metrics: Sequence[Sequence[str]], margin_of: Mapping[str, float]
) -> list[Comparison]:
    """The verdict of each metric of each (baseline, candidate).

    pass: lower bound > -margin, or not one answer differs.  improved: significantly better than equal.  fail: worse by
    more than the margin in point and significantly worse than equal.  inconclusive: anything else.  The gate as a whole
    passes when every metric does, which needs no correction because all of them must hold; it fails when one fails,
    which is why "worse" (and "better", one of which is news too) are Holm-adjusted over all of its metrics.

    Args:
        matches: (baseline, candidate) each.
        metrics: of each match, "PROTOCOL METRIC"; as `chosen` gives them.
        margin_of: metric -> how much worse is accepted, as a fraction; as `margins_of` gives it.

    Raises:
        DataError: two runs may not be compared, or one is not whole; says every difference of every pair.
    """
    if found := [text for (a, b), mine in zip(matches, metrics, strict=True) for text in _obstacles(a, b, mine)]:
        raise DataError(
            f"The gate cannot go by this: {'; '.join(found)}. It needs whole runs over the same rows, prompts and "
            "protocol versions on both sides; make the baseline anew if the change is meant."
        )
    drafts = [_draft(a, b, mine, margin_of) for (a, b), mine in zip(matches, metrics, strict=True)]
    flat = [v for draft in drafts for v in draft.verdicts]
    worse, better = iter(holm([v.p_worse for v in flat])), iter(holm([v.p_better for v in flat]))
    return [
        replace(
            d,
            verdicts=tuple(_decided(replace(v, p_worse=next(worse), p_better=next(better)), d) for v in d.verdicts),
        )
        for d in drafts
    ]


def gated(run: Scored) -> list[str]:
    """The metrics that a gate watches when none are named: every accuracy, recall and exact match that has rows."""
    return [m for m in run.scores if m.endswith(("accuracy", "recall", "exact_match")) and run.rows[m]]


def chosen(matches: Sequence[Sequence[Scored]], wanted: Sequence[str] | None) -> list[list[str]]:
    """The metrics to gate of each match (a baseline, or a baseline and its candidate).

    wanted: a named metric counts for the matches of which one side has it, so that tasks may have different ones; the
    side that lacks it is refused further on.  None: `gated` of each baseline.

    Raises:
        ConfigError: no side of any match has a named metric, nothing is left to gate in one, or less of it is better.
    """
    if falling := [m for m in wanted or () if m.split(" ")[-1] in LOWER_IS_BETTER]:
        raise ConfigError(f"Of {falling[0]} less is better, and a gate watches only metrics of which more is better.")
    known = [{m for run in match for m in (*run.scores, *run.refused)} for match in matches]
    everything = set().union(*known)
    if strangers := [m for m in wanted or () if m not in everything]:
        raise ConfigError(f"No run here has the metric {strangers[0]!r}. {did_you_mean(strangers[0], everything)}")
    found = []
    for (baseline, *_), names in zip(matches, known, strict=True):
        found.append(gated(baseline) if wanted is None else [m for m in dict.fromkeys(wanted) if m in names])
        if not found[-1]:
            none = "no accuracy or recall" if wanted is None else f"none of {', '.join(wanted)}"
            raise ConfigError(
                f"There is nothing to gate in {baseline.origin}: {none} "
                f"among {', '.join(sorted(names))}. Name metrics with metrics=['llava-med closed_accuracy']."
            )
    return found


def margins_of(metrics: Sequence[str], common: float, own: Mapping[str, float]) -> dict[str, float]:
    """Each metric's margin: its own, or the common one.

    Raises:
        ConfigError: a margin is not a fraction between 0 and 1, or is of a metric that is not gated.
    """
    if strangers := sorted(set(own) - set(metrics)):
        raise ConfigError(f"margins names {strangers[0]!r}, which is not gated here; gated: {', '.join(metrics)}.")
    found = {m: own.get(m, common) for m in metrics}
    for metric, margin in found.items():
        number = isinstance(margin, int | float) and not isinstance(margin, bool)
        if not number or not 0 < margin < 1:
            raise ConfigError(
                f"a margin of {margin} for {metric} is not possible; give a fraction such as 0.02 for two percentage "
                "points, or exact=true to accept no change at all."
            )
    return found


def _obstacles(baseline: Scored, candidate: Scored, metrics: Sequence[str]) -> list[str]:
    if found := [*incomplete(baseline), *incomplete(candidate)]:
        return found
    both = f"{baseline.origin} and {candidate.origin} may not be compared"
    return [f"{both}: {'; '.join(found)}"] if (found := differences(baseline, candidate, metrics)) else []


def _draft(a: Scored, b: Scored, metrics: Sequence[str], margin_of: Mapping[str, float]) -> Comparison:
    """The pairs with their own p values, nothing decided."""
    verdicts = []
    for metric in metrics:
        p = pair(a, b, metric, 1 - 2 * BOUND)
        better = 1.0 if p.interval.low is None or not p.flipped else 1.0 - p.p_worse
        verdicts.append(
            Verdict(metric=metric, verdict="", margin=margin_of[metric], paired=p, p_worse=p.p_worse, p_better=better)
        )
    place = {i: k for k, i in enumerate(b.ids)}
    moved = tuple(k for k, i in enumerate(a.ids) if a.answers[k] != b.answers[place[i]])
    return Comparison(baseline=a, candidate=b, verdicts=tuple(verdicts), moved=moved)


def _decided(v: Verdict, comparison: Comparison) -> Verdict:
    same = not comparison.moved and not v.paired.flipped  # the very same answers: nothing to estimate
    return replace(v, verdict=PASS if same else _verdict(v))


def _verdict(v: Verdict) -> str:
    low = v.paired.interval.low
    if low is None:
        return INCONCLUSIVE  # one image: no variance can be estimated
    if low > -v.margin:
        return IMPROVED if low > 0 and v.p_better < ALPHA else PASS
    return FAIL if v.paired.difference < -v.margin and v.p_worse < ALPHA else INCONCLUSIVE


def smallest_margin(n: int, discordance: float = ASSUMED_DISCORDANCE, power: float = 0.8) -> float:
    """The margin that n independent rows can certify for an equal candidate with the given power.

    >>> round(smallest_margin(451), 3)
    0.04
    """
    return paired_minimum_detectable_effect(n, discordance, alpha=BOUND, power=power, sides=1)


def needed_margin(p: Paired) -> float:
    """The same for changes as frequent and as clustered as the ones that were seen."""
    if not p.flipped or math.isnan(p.standard_error) or p.standard_error == 0.0:
        return smallest_margin(p.n, 1 / p.n)
    return smallest_margin(1, p.standard_error**2)


def overall(comparisons: Sequence[Comparison], exact: bool = False) -> str:
    """The gate's verdict: fail when one fails, inconclusive when one is, improved when all are, else pass.

    exact: fail when one answer moved, or one score of the same answer, else pass.
    """
    if exact:
        changed = any(c.moved or any(v.paired.flipped for v in c.verdicts) for c in comparisons)
        return FAIL if changed else PASS
    kinds = {v.verdict for c in comparisons for v in c.verdicts}
    for kind in (FAIL, INCONCLUSIVE):
        if kind in kinds:
            return kind
    return IMPROVED if kinds == {IMPROVED} else PASS
