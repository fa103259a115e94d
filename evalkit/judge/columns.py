"""Stored judgments as one score a sample, for what compares runs: never asks a judge."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from evalkit.core.types import digest_json
from evalkit.judge.config import RELATIVE
from evalkit.judge.items import ItemResult, item_results
from evalkit.judge.journal import NAME, Judged, choose_judge, judges_in
from evalkit.judge.metrics import settings_of, win

# The judged metrics that are a mean over the samples; a ratio of means has no score of a single sample.
PICKS: Mapping[str, Mapping[str, Callable[[ItemResult], float]]] = {
    "relative": {
        "relative_score": lambda item: item.candidate / item.reference,
        "candidate_score": lambda item: item.candidate,
        "win_rate": win,
    },
    "correctness": {
        "judged_accuracy": lambda item: item.reference,
        "judged_credit": lambda item: item.candidate,
    },
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One judged metric: sample id -> score, None where the judge could not tell.

    settings: all that determines the judgments, the models that the server said it was among it.
    refused: why the column cannot be used; empty when it is whole.
    """

    values: Mapping[str, float | None]
    settings: Mapping[str, str]
    refused: str = ""


def judged_columns(run: Path, answers: Mapping[str, str | None]) -> dict[str, Column]:
    """The judged metrics of a run, by "judge:NAME METRIC"; empty for a run that nobody judged.

    answers: sample id -> text of the run as it is now: judgments of other answers are refused.
    """
    if not (run / NAME).is_file():
        return {}
    found: dict[str, Column] = {}
    for judge in judges_in(run / NAME):
        judged = choose_judge(run, judge)
        items = item_results(judged)
        refused = _refused(judged, items, answers)
        picks = PICKS["relative" if judged.plan["judged"] == RELATIVE else "correctness"]
        returned = sorted({str(r["model_returned"]) for r in judged.records if r.get("model_returned")})
        settings = {f"judge_{k}" if k != "judge" else k: v for k, v in settings_of(judged.plan).items()}
        for metric, pick in picks.items():
            found[f"judge:{judge} {metric}"] = Column(
                values={i.sample_id: pick(i) if i.status == "judged" else None for i in items},
                settings={**settings, "judge_returned": "+".join(returned) or "unknown"},
                refused=refused,
            )
    return found


def _refused(judged: Judged, items: list[ItemResult], answers: Mapping[str, str | None]) -> str:
    name = judged.plan["judge"]
    again = f"give `judge run=… judge={name}` again; nothing is paid twice"
    unseen = int(judged.plan["n_items"]) - len(items)
    failed = [i for i in items if i.status == "failed"]
    if failed or unseen:
        first = f", first {failed[0].sample_id}: {failed[0].why or 'no reply'}" if failed else ""
        lost = f"{len(failed) + unseen} of {judged.plan['n_items']} answers"
        return f"judge {name} gave no judgment for {lost}{first} ({again})"
    if not items or any(i.sample_id not in answers for i in items):
        return f"judge {name} judged other samples than this run's ({again})"
    if judged.plan.get("answers_sha256") != answers_digest({i.sample_id: answers[i.sample_id] for i in items}):
        return f"judge {name} judged other answers than the ones that the run has now ({again})"
    return ""


def answers_digest(answers: Mapping[str, str | None]) -> str:
    """What a plan says its judgments are of."""
    return digest_json(sorted(answers.items()))
