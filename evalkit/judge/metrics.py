"""Judgments to metric values: both aggregations, slices, position bias, spread, failures; and their signatures.

Works on the lines of judgments.jsonl alone.  A failed judgment is never a score: it is counted and left out, and above
`max_failed` there is no value at all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from evalkit.core.errors import Partial
from evalkit.core.signature import Signature, plain_parts
from evalkit.core.types import MAX_SLICE_VALUES, MetricKey, MetricValue
from evalkit.judge.closed_rules import ONCE
from evalkit.judge.config import RELATIVE
from evalkit.judge.draws import RunMetric, drawn_metrics
from evalkit.judge.items import ItemResult, item_results
from evalkit.judge.journal import PlanJudgments
from evalkit.judge.metric_definitions import JudgedMetric, metrics_of
from evalkit.judge.replicates import replicate_spread
from evalkit.judge.reply_forms import reply_form
from evalkit.runs.schema import JudgedFile, JudgePlan, Judgment
from evalkit.scoring.aggregate import LINKING_TAGS
from evalkit.stats import Interval, mean_interval


class RunIdentity(Protocol):
    """The parts of a run that go into a signature; a manifest and a summary both have them."""

    @property
    def task(self) -> str: ...

    @property
    def split(self) -> str: ...

    @property
    def data_sha256(self) -> str: ...

    @property
    def evalkit(self) -> str: ...


def protocol_of(judge: str) -> str:
    """The protocol name of a judge's metrics."""
    return f"judge:{judge}"


def compute(
    judged: PlanJudgments,
    *,
    run_metrics: Sequence[RunMetric] = (),
    max_failed: float | None = None,
    stopped: str = "",
) -> JudgedFile:
    """Every value of a plan from its judgments, without signatures; see `signed_metrics`.

    Args:
        run_metrics: the metrics in which the answer that the judge rates best is scored, for several answers a sample.
        max_failed: limit for the share of failed answers; by default the one that the plan records.
        stopped: reason why the session ended early, for the message.
    """
    plan, judgments = judged.plan, judged.judgments
    items = item_results(judged)
    limit = float(plan.config["max_failed"] if max_failed is None else max_failed)
    counts = Counter(item.status for item in items)
    n_unseen = plan.n_items - len(items)
    n_failed, n_answers = counts["failed"] + n_unseen, plan.n_items - counts["no_answer"]
    reasons = _reasons(judgments, n_unseen)
    too_many = n_answers > 0 and n_failed / n_answers > limit
    return JudgedFile(
        judge=plan.judge,
        judged=plan.judged,
        plan=plan.plan,
        metrics=tuple(_values(plan, items, run_metrics, without_values=too_many)),
        n=plan.n_items,
        n_failed=n_failed,
        n_no_answer=counts["no_answer"],
        n_cannot_tell=counts["cannot_tell"],
        outcomes=_outcomes(judgments, plan.n_judgments),
        verdicts=dict(Counter(j.verdict for j in judgments if j.verdict)),
        reasons=reasons,
        spread={} if too_many else replicate_spread(judgments, plan.judged == RELATIVE, int(plan.config["replicates"])),
        settings=settings_of(plan),
        models_returned=models_returned(judgments),
        problem=_problem(plan, n_failed, n_answers, limit, stopped, reasons),
    )


def check_complete(scores: JudgedFile) -> None:
    """Raise Partial when there are no values, or judging stopped before all answers were judged."""
    if scores.problem:
        raise Partial(scores.problem)


def _values(
    plan: JudgePlan, items: Sequence[ItemResult], run_metrics: Sequence[RunMetric], *, without_values: bool
) -> Iterator[MetricValue]:
    own = metrics_of(plan.judged, str(plan.config["order"]), counting_of(plan))
    for metric in own:
        yield from _values_of(metric, plan, items, plan.n_items - len(items), without_values=without_values)
    for drawn in drawn_metrics(plan, own, items, run_metrics):
        yield from _values_of(drawn.metric, plan, drawn.items, drawn.n_unseen, without_values=without_values)


def _values_of(
    metric: JudgedMetric, plan: JudgePlan, items: Sequence[ItemResult], n_unseen: int, *, without_values: bool
) -> Iterator[MetricValue]:
    """The value of a metric over every slice of its items."""
    for name, members in _slices(items).items():
        scored = [] if without_values else [i for i in members if i.status == "judged"]
        # Answers without any judgment have no known tags, so they count in the slice `all` only.
        n = len(members) + (n_unseen if name == "all" else 0)
        yield _value(metric, plan.judge, name, members, scored, n)


def _value(
    metric: JudgedMetric,
    judge: str,
    slice_name: str,
    members: Sequence[ItemResult],
    scored: Sequence[ItemResult],
    n: int,
) -> MetricValue:
    value, interval = metric.estimate(scored)
    worst = _worst_case_interval(metric, members, scored, n) if value is not None else None
    return MetricValue(
        protocol=protocol_of(judge),
        metric=metric.name,
        slice=slice_name,
        value=value,
        low=interval.low if interval else None,
        high=interval.high if interval else None,
        n=n,
        n_unscored=n - len(scored),
        n_clusters=len({i.image_id for i in scored}),
        n_effective=interval.effective if interval else None,
        value_worst_case=value * len(scored) / n if metric.has_worst_case and value is not None else None,
        low_worst_case=worst.low if worst else None,
        high_worst_case=worst.high if worst else None,
        higher_is_better=metric.higher_is_better,
    )


def _worst_case_interval(
    metric: JudgedMetric, members: Sequence[ItemResult], scored: Sequence[ItemResult], n: int
) -> Interval | None:
    """The interval with every answer without a score as 0; None where the image of such an answer is not known."""
    if not metric.has_worst_case or metric.score is None or len(members) < n:
        return None
    judged = {id(item) for item in scored}
    values = [metric.score(item) if id(item) in judged else 0.0 for item in members]
    return mean_interval(values, [item.image_id for item in members], bounded=metric.bounded)


def _slices(items: Sequence[ItemResult]) -> dict[str, list[ItemResult]]:
    """The slice `all`, then, by name, each slice that does not contain every answer.

    The rule is that of `evalkit.scoring.aggregate.slice_tags`.
    """
    values: dict[str, set[str]] = {}
    for item in items:
        for tag, value in item.tags.items():
            values.setdefault(tag, set()).add(value)
    sliced = {tag for tag, seen in values.items() if len(seen) <= MAX_SLICE_VALUES and tag not in LINKING_TAGS}
    members: dict[str, list[ItemResult]] = {}
    for item in items:
        for tag, value in item.tags.items():
            if tag in sliced:
                members.setdefault(f"{tag}={value}", []).append(item)
    return {"all": list(items), **{k: members[k] for k in sorted(members) if len(members[k]) < len(items)}}


def _problem(
    plan: JudgePlan, n_failed: int, n_answers: int, limit: float, stopped: str, reasons: Mapping[str, int]
) -> str:
    """The message for Partial; empty when every judgment is there, or few enough failed."""
    if not n_failed:
        return ""
    why = f" Judging stopped early: {stopped}." if stopped else ""
    share = n_failed / n_answers
    top = next(iter(reasons.items()), None)
    frequent = f" Most frequent reason: {top[0]} ({top[1]})." if top else ""
    end = " All judgments so far are kept; the same command requests the missing ones, and nothing is paid twice."
    if share > limit:
        return (
            f"Judge {plan.judge!r} gave no usable judgment for {n_failed} of {n_answers} answers ({share:.1%}), more "
            f"than judge.max_failed={limit:g} allows, so no number is reported.{why}{frequent}{end}"
        )
    if stopped:
        return f"{n_failed} of {n_answers} answers are not judged and not included in the values above.{why}{end}"
    return ""


def _reasons(judgments: Sequence[Judgment], n_unseen: int) -> dict[str, int]:
    counted = Counter(f"{j.status}: {j.why}" for j in judgments if j.status in ("refused", "unreadable", "error"))
    if n_unseen:
        counted["not asked"] = n_unseen
    return dict(counted.most_common())


def _outcomes(judgments: Sequence[Judgment], expected: int) -> dict[str, int]:
    counted = Counter(str(j.status) for j in judgments)
    missing = expected - sum(n for status, n in counted.items() if status != "no_answer")
    return {**counted, **({"not asked": missing} if missing else {})}


def counting_of(plan: JudgePlan) -> str:
    """How often the plan counts closed rows; plans of earlier versions, and most others, do not state it."""
    return str(plan.config.get("counting", ONCE))


def settings_of(plan: JudgePlan) -> dict[str, str]:
    """Everything that determines a plan's judgments, as text."""
    config = plan.config
    parameters = ",".join(f"{k}={v}" for k, v in sorted(config["parameters"].items()))
    revision = f"@{config['revision']}" if config["revision"] else ""
    others = {key: str(config[key]) for key in ("rounds", "closed", "counting") if key in config}
    if "reply" in config:
        others["reply"] = reply_form(config["reply"], "judge.reply").described()
    return {
        "judge": f"{plan.judge}.{plan.model_requested}{revision}",
        "prompt": f"{plan.prompt}@{plan.prompt_sha256[:8]}",
        "style": plan.style,
        "order": str(config["order"]),
        "replicates": str(config["replicates"]),
        "images": "sent" if config["send_images"] else "none",
        "parameters": parameters or "default",
        **others,
    }


def models_returned(judgments: Iterable[Judgment]) -> tuple[str, ...]:
    """The model names that the server returned with its replies, sorted."""
    return tuple(sorted({j.model_returned for j in judgments if j.model_returned}))


def judged_signature(
    key: MetricKey, slice_name: str, n: int, settings: Mapping[str, str], returned: Sequence[str], run: RunIdentity
) -> Signature:
    """The signature of a judged metric.

    The judge's settings have the prefix `judge_`, so that none is taken for the prompt of the run itself.

    Args:
        key: protocol `judge:NAME` and metric.
        settings, returned: of `settings_of` and `models_returned`.
        run: manifest or summary of the judged run.
    """
    parts = {
        "task": f"{run.task}.{run.split}",
        "n": str(n),
        **({} if slice_name == "all" else {"slice": slice_name}),
        "data": run.data_sha256[:8],
        "protocol": key.protocol,
        **{k if k == "judge" else f"judge_{k}": v for k, v in settings.items()},
        "judge_returned": "+".join(returned) or "unknown",
        "v": run.evalkit,
    }
    return Signature.of(key.metric, plain_parts(parts))


def signed_metrics(scores: JudgedFile, run: RunIdentity) -> tuple[MetricValue, ...]:
    """The metric values of a judge with their signatures, for a run's summary or manifest."""
    return tuple(
        replace(m, signature=judged_signature(m.key, m.slice, m.n, scores.settings, scores.models_returned, run))
        for m in scores.metrics
    )
