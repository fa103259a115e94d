"""Plan of a comparison: what a set of questions can show, and how many images an aim needs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from evalkit.analysis.contradictions import in_words
from evalkit.analysis.gate.verdicts import BOUND
from evalkit.core.errors import ConfigError
from evalkit.core.format import percent
from evalkit.core.types import Sample
from evalkit.stats import (
    Assumptions,
    PlannedRows,
    cluster_codes,
    detectable_difference,
    difference_power,
    half_width,
    needed_growth,
    pass_power,
    planned_rows,
    smallest_joint_margin,
)
from evalkit.stats.intervals import LEVEL
from evalkit.stats.label_noise import SHARES, Contradictions, true_score

ALL = "all"
# Below so many effective clusters, t with K - 1 degrees promises too much.
FEW = 20
# Rows that a message names.
SHOWN = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Aims:
    """What a plan is asked for; fractions.  See conf/plan.yaml."""

    accuracy: float
    difference: float
    margin: float
    loss: float
    power: float
    alpha: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricPlan:
    """What the rows of one metric can show.

    half_width: of one model's interval.  detectable_difference, smallest_margin: with the power of the aims; None
    where nothing possible has it.  difference_power, pass_power: at the difference and margin of the aims.
    images_for_difference, images_for_margin: needed for the power, with the questions per image as they are, and the
    questions that these have; None where no number is enough.
    """

    rows: str
    n: int
    n_images: int
    effective_images: float
    design_effect: float
    half_width: float
    detectable_difference: float | None
    difference_power: float
    images_for_difference: int | None
    n_for_difference: int | None
    smallest_margin: float | None
    pass_power: float
    images_for_margin: int | None
    n_for_margin: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class JointPlan:
    """What all metrics can show together: a gate passes when every one of them does."""

    n_metrics: int
    pass_power: float
    smallest_margin: float | None
    images_for_margin: int | None
    n_for_margin: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The plan of a set.

    joint: None for a single metric.  contradictions: of the set's references; None where they are not known.
    """

    assumptions: Assumptions
    aims: Aims
    metrics: tuple[MetricPlan, ...]
    joint: JointPlan | None
    notes: tuple[str, ...]
    contradictions: Contradictions | None = None

    def record(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def rows_of(samples: Sequence[Sample], wanted: Sequence[str] | None) -> list[PlannedRows]:
    """The rows of each metric of a task.

    wanted: `all`, an answer type or TAG=VALUE each; None: all rows, and each answer type where there are several.

    Raises:
        ConfigError: no sample has the tag and value, or all that do are of one image.
    """
    codes = cluster_codes(samples, [s.image_id for s in samples])
    types = sorted({s.answer_type for s in samples if s.answer_type})
    names = list(wanted) if wanted is not None else [ALL, *(types if len(types) > 1 else ())]
    found = []
    for name in names:
        tag, equals, value = name.partition("=")
        if not equals:
            tag, value = "answer_type", name
        places = [k for k, s in enumerate(samples) if name == ALL or s.tags.get(tag) == value]
        if not places:
            known = sorted({f"{tag}={v}" for s in samples if (v := s.tags.get(tag))})
            tags = sorted({f"{t}=VALUE" for s in samples for t in s.tags})
            raise ConfigError(
                f"rows={name}: no question has it. Known: {', '.join([ALL, *types, *(known or tags)][:SHOWN])}."
            )
        found.append(planned_rows(name, places, codes.code, codes.k))
    return found


def make_plan(
    rows: Sequence[PlannedRows],
    metrics: int,
    given: Assumptions,
    aims: Aims,
    contradictions: Contradictions | None = None,
) -> Plan:
    """The plan for metrics over `rows`, all of one set, `metrics` of them on each.

    Raises:
        ConfigError: the difference or the loss is larger than the discordance.
    """
    if aims.loss > given.discordance:
        raise ConfigError(
            f"loss={aims.loss:g} is more than discordance={given.discordance:g}, the share of rows on which exactly "
            "one model is correct; no model can lose more than that. Give a larger discordance=."
        )
    planned = tuple(_metric_plan(r, given, aims) for r in rows)
    every = [r for r in rows for _ in range(metrics)]
    notes = tuple(
        f"{p.rows}: {p.n_images} images count as {p.effective_images:.0f} equal ones; with fewer than {FEW}, powers "
        "are lower and intervals wider than planned"
        for p in planned
        if p.effective_images < FEW
    )
    joint = _joint_plan(every, given, aims) if len(every) > 1 else None
    return Plan(assumptions=given, aims=aims, metrics=planned, joint=joint, notes=notes, contradictions=contradictions)


def _metric_plan(rows: PlannedRows, given: Assumptions, aims: Aims) -> MetricPlan:
    def found(growth: float) -> float:
        return difference_power(rows, given, aims.difference, aims.alpha, growth)

    def passed(growth: float) -> float:
        return pass_power([rows], given, aims.margin, BOUND, aims.loss, growth)

    for_difference = needed_growth(found, aims.power, rows.k)
    for_margin = needed_growth(passed, aims.power, rows.k)
    return MetricPlan(
        rows=rows.name,
        n=rows.n,
        n_images=rows.k,
        effective_images=rows.effective_clusters,
        design_effect=rows.design_effect(given.icc),
        half_width=half_width(rows, aims.accuracy, given.icc, LEVEL),
        detectable_difference=detectable_difference(rows, given, aims.power, aims.alpha),
        difference_power=found(1.0),
        images_for_difference=_times(for_difference, rows.k),
        n_for_difference=_times(for_difference, rows.n),
        smallest_margin=smallest_joint_margin([rows], given, aims.power, BOUND, aims.loss),
        pass_power=passed(1.0),
        images_for_margin=_times(for_margin, rows.k),
        n_for_margin=_times(for_margin, rows.n),
    )


def _joint_plan(every: Sequence[PlannedRows], given: Assumptions, aims: Aims) -> JointPlan:
    def passed(growth: float) -> float:
        return pass_power(every, given, aims.margin, BOUND, aims.loss, growth)

    k = sum(any(r.sizes[place] for r in every) for place in range(len(every[0].sizes)))
    n = len(set().union(*(r.places.tolist() for r in every)))
    growth = needed_growth(passed, aims.power, k)
    return JointPlan(
        n_metrics=len(every),
        pass_power=passed(1.0),
        smallest_margin=smallest_joint_margin(every, given, aims.power, BOUND, aims.loss),
        images_for_margin=_times(growth, k),
        n_for_margin=_times(growth, n),
    )


def _times(growth: float | None, count: int) -> int | None:
    return None if growth is None else math.ceil(round(growth * count, 6))


def table(plan: Plan) -> tuple[list[str], list[list[str] | None]]:
    """Header and rows of the plan as a table of texts, a column for each metric; None is a rule."""
    aims, of = plan.aims, plan.metrics
    aim = points(aims.power)
    rows: list[list[str] | None] = [
        ["questions", *(str(m.n) for m in of)],
        ["images", *(str(m.n_images) for m in of)],
        ["images, as equal ones", *(f"{m.effective_images:.0f}" for m in of)],
        ["design effect", *(f"{m.design_effect:.2f}" for m in of)],
        [f"interval of a model at {points(aims.accuracy)} %", *(f"±{percent(m.half_width)}" for m in of)],
        None,
        [f"difference found with power {aim} %", *(percent(m.detectable_difference) for m in of)],
        [f"power at a difference of {points(aims.difference)}", *(percent(m.difference_power) for m in of)],
        [f"images for power {aim} % there", *(_count(m.images_for_difference) for m in of)],
        ["and questions", *(_count(m.n_for_difference) for m in of)],
        None,
        [f"margin passed with probability {aim} %", *(percent(m.smallest_margin) for m in of)],
        [f"chance to pass at a margin of {points(aims.margin)}", *(percent(m.pass_power) for m in of)],
        [f"images for {aim} % there", *(_count(m.images_for_margin) for m in of)],
        ["and questions", *(_count(m.n_for_margin) for m in of)],
    ]
    return ["% and points", *(m.rows for m in of)], rows


def sentences(plan: Plan) -> list[str]:
    """What the numbers rest on, and the joint plan."""
    given, aims = plan.assumptions, plan.aims
    found = [
        f"Assumed: two models differ on {points(given.discordance)} % of the questions, with a correlation of "
        f"{given.icc:g} within an image; the candidate of a gate is truly worse by {points(aims.loss)} points. A "
        f"difference is tested at {aims.alpha:g} (two-sided); a gate's bound is at {BOUND:g} (one-sided)."
    ]
    if plan.joint is not None:
        j = plan.joint
        found.append(
            f"All {j.n_metrics} metrics together (correlation on a question {given.correlation:g}): a gate with a "
            f"margin of {points(aims.margin)} points passes with probability {percent(j.pass_power)} %; for "
            f"{points(aims.power)} % it takes a margin of {percent(j.smallest_margin)} points, or "
            f"{_count(j.images_for_margin)} images with {_count(j.n_for_margin)} questions."
        )
    noise = [_label_noise(aims.accuracy, share) for share in SHARES]
    if plan.contradictions is not None and plan.contradictions.pairs:
        share = round(plan.contradictions.share, 3)
        noise.append(in_words(plan.contradictions))
        noise += [_label_noise(aims.accuracy, share)] if 0 < share < 0.5 else []
    return [*found, *noise, *(f"Note: {note}." for note in plan.notes)]


def _label_noise(score: float, wrong: float) -> str:
    found = true_score(score, wrong)
    return (
        f"With {points(wrong)} % wrong references, a score of {points(score)} % stands for a true one of "
        f"{percent(found.low, 1)} to {percent(found.high, 1)} %; if they are wrong independently of the model, "
        f"{percent(found.two_answers, 1)} (yes/no) or {percent(found.open_answers, 1)} (open)."
    )


def points(fraction: float) -> str:
    """A setting as it was given, in percent.

    >>> points(0.02), points(0.125)
    ('2', '12.5')
    """
    return f"{round(100 * fraction, 6):g}"


def _count(value: int | None) -> str:
    return "none suffice" if value is None else f"{value:,}"
