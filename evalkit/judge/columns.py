"""Stored judgments as one score per sample, for comparisons of runs; never calls a judge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from evalkit.core.signature import Signature
from evalkit.core.types import MetricKey, digest_json
from evalkit.judge.items import ItemResult, item_results
from evalkit.judge.journal import PlanJudgments, by_judge
from evalkit.judge.metric_definitions import JudgedMetric, metrics_of
from evalkit.judge.metrics import counting_of, judged_signature, models_returned, protocol_of, settings_of
from evalkit.runs.schema import Summary
from evalkit.runs.store import RunFolder
from evalkit.runs.verify import stored_judgments


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """The scores of one judged metric.

    values: by sample id; None where the judge cannot tell or there was no answer.  refused: reason why the column
    cannot be used; empty when it is complete.
    """

    values: Mapping[str, float | None]
    signature: Signature
    refused: str = ""


def judged_columns(run: Path, summary: Summary, answers: Mapping[str, str | None]) -> dict[MetricKey, Column]:
    """The judged metrics of a run that runs can be compared by; empty for a run without judgments.

    Args:
        run: the run's folder.
        summary: of the run, for the signatures.
        answers: sample id -> text of the run's present answers: judgments of other answers are refused.

    Raises:
        StoreError: the run's judgments.jsonl is damaged, or was changed after the judging.
    """
    columns: dict[MetricKey, Column] = {}
    stored = stored_judgments(RunFolder(run), summary.files)
    for judged in by_judge(stored.lines):
        items = item_results(judged)
        refused = _refusal(judged, items, answers)
        if not refused and judged.plan.judge in stored.unfinished:
            refused = f"the judging by {judged.plan.judge} has not finished ({_again(judged.plan.judge)})"
        for metric in metrics_of(judged.plan.judged, str(judged.plan.config["order"]), counting_of(judged.plan)):
            if metric.is_comparable:
                key = MetricKey(protocol_of(judged.plan.judge), metric.name)
                columns[key] = _column(key, metric, judged, items, summary, refused)
    return columns


def _column(
    key: MetricKey,
    metric: JudgedMetric,
    judged: PlanJudgments,
    items: Sequence[ItemResult],
    summary: Summary,
    refused: str,
) -> Column:
    score = metric.score
    assert score is not None
    settings, returned = settings_of(judged.plan), models_returned(judged.judgments)
    return Column(
        values={i.sample_id: score(i) if i.status == "judged" else None for i in items},
        signature=judged_signature(key, "all", len(items), settings, returned, summary),
        refused=refused,
    )


def _refusal(judged: PlanJudgments, items: Sequence[ItemResult], answers: Mapping[str, str | None]) -> str:
    plan = judged.plan
    again = _again(plan.judge)
    n_unseen = plan.n_items - len(items)
    failed = [i for i in items if i.status == "failed"]
    if failed or n_unseen:
        first = f", first {failed[0].sample_id}: {failed[0].why or 'no reply'}" if failed else ""
        missing = f"{len(failed) + n_unseen} of {plan.n_items} answers"
        return f"judge {plan.judge} gave no judgment for {missing}{first} ({again})"
    if not items or any(i.sample_id not in answers for i in items):
        return f"judge {plan.judge} judged other samples than those of this run ({again})"
    if plan.answers_sha256 != answers_digest({i.sample_id: answers[i.sample_id] for i in items}):
        return f"judge {plan.judge} judged other answers than those that the run has now ({again})"
    return ""


def _again(judge: str) -> str:
    return f"run `judge run=… judge={judge}` again; nothing is paid twice"


def answers_digest(answers: Mapping[str, str | None]) -> str:
    """Digest of the judged answers, sample id -> text, that a plan records."""
    return digest_json(sorted(answers.items()))
