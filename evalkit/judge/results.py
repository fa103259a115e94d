"""The judged numbers and judgments in a run's folder, for reports and exports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from evalkit.core.types import MetricValue, Score
from evalkit.judge.config import REFERENCE_FIRST
from evalkit.judge.items import ItemResult, item_results
from evalkit.judge.journal import PlanJudgments, choose_judge
from evalkit.judge.metric_definitions import JudgedMetric, metrics_of
from evalkit.judge.metrics import counting_of, models_returned, protocol_of, signed_metrics
from evalkit.runs.read import judged_files
from evalkit.runs.schema import JudgedFile, Summary
from evalkit.runs.store import RunFolder
from evalkit.runs.verify import StoredRun, listed_files, stored_judgments

# A judge's reply is cut to this many characters in the note of a score.
MAX_REPLY_CHARACTERS = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedNumbers:
    """The numbers of one judge.

    metrics: with signatures, under the protocol `judge:NAME`.  settings: everything that determined them.  problem: why
    there are no numbers, or why they do not cover everything; empty when complete.
    """

    judge: str
    metrics: tuple[MetricValue, ...]
    settings: Mapping[str, str]
    problem: str


def judged_numbers(run: Path, summary: Summary) -> list[JudgedNumbers]:
    """The numbers of every judge of a run, in order of the judges' names.

    A judge whose session has not finished, or judged other answers than those of the summary, has no values.

    Raises:
        StoreError: a file of judged scores is not what evalkit writes, or was changed after the judging.
    """
    return [
        _numbers(_with_models(run, s) if _is_listed(run, s.judge, summary) else _without_values(s), summary)
        for s in judged_files(run)
    ]


def _is_listed(run: Path, judge: str, summary: Summary) -> bool:
    """Whether a judge's numbers belong to the run's; all do in runs of earlier versions, which list no files."""
    if summary.files is None:
        return True
    if (name := f"judged-{judge}.json") not in summary.files:
        return False
    StoredRun(folder=RunFolder(run), summary=summary, manifest=None).check(name)
    return True


def _without_values(scores: JudgedFile) -> JudgedFile:
    metrics = tuple(replace(m, value=None, low=None, high=None, value_worst_case=None) for m in scores.metrics)
    why = f"the judging by {scores.judge} has not finished, or is of other answers than the run has now"
    return replace(scores, metrics=metrics, problem=f"{why}; run `judge run=… judge={scores.judge}` again")


def _numbers(scores: JudgedFile, summary: Summary) -> JudgedNumbers:
    return JudgedNumbers(
        judge=scores.judge,
        metrics=signed_metrics(scores, summary),
        settings=scores.settings,
        problem=scores.problem,
    )


def _with_models(run: Path, scores: JudgedFile) -> JudgedFile:
    """The numbers with the models that the server returned, which files of schema 1 do not record."""
    if scores.models_returned or not RunFolder(run).judgments.is_file():
        return scores
    return replace(scores, models_returned=models_returned(choose_judge(run, scores.judge).judgments))


def judged_scores(run: Path, judge: str) -> list[Score]:
    """A judge's score of each sample, with its replies as the note; empty where there is no judgments.jsonl.

    Judgments of a session that has not finished are left out.
    """
    folder = RunFolder(run)
    if not folder.judgments.is_file() or judge in stored_judgments(folder, listed_files(folder)).unfinished:
        return []
    judged = choose_judge(run, judge)
    replies = _replies(judged)
    metric = metrics_of(judged.plan.judged, REFERENCE_FIRST, counting_of(judged.plan))[0]
    return [_score(item, judge, metric, replies[item.sample_id]) for item in item_results(judged)]


def _replies(judged: PlanJudgments) -> dict[str, list[str]]:
    """Sample id -> the judge's replies, long ones cut."""
    replies: dict[str, list[str]] = {}
    for judgment in judged.judgments:
        replies.setdefault(judgment.sample_id, []).append(_cut(judgment.raw or ""))
    return replies


def _cut(reply: str) -> str:
    return reply if len(reply) <= MAX_REPLY_CHARACTERS else f"{reply[:MAX_REPLY_CHARACTERS]} …"


def _score(item: ItemResult, judge: str, metric: JudgedMetric, replies: Sequence[str]) -> Score:
    unjudged = item.status != "judged"
    value = metric.score(item) if metric.score is not None and not unjudged else None
    return Score(
        sample_id=item.sample_id,
        protocol=protocol_of(judge),
        metric=metric.name,
        value=value,
        reason=f"{item.status.replace('_', ' ')}: {item.why}".removesuffix(": ") if unjudged else "",
        note="" if unjudged else "\n".join(replies),
    )
