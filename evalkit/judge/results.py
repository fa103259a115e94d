"""The judged numbers and judgments that stand in a run's folder, for whoever shows or exports the run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evalkit.core.errors import StoreError
from evalkit.core.files import read_json
from evalkit.judge.config import RELATIVE
from evalkit.judge.items import ItemResult, item_results
from evalkit.judge.journal import NAME, choose_judge

# So much of a judge's reply is shown.
MOST_LETTERS = 400
METRIC = ("metric", "slice", "value", "n", "n_unscored")


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedNumbers:
    """One judge's numbers.

    metrics: like those of summary.json, under the protocol `judge:NAME`.  settings: what determined them.  problem: why
    there are none, or why they are not over everything; empty when all is well.
    """

    judge: str
    metrics: tuple[Mapping[str, Any], ...]
    settings: Mapping[str, str]
    problem: str


def judged_numbers(run: Path, summary: Mapping[str, Any]) -> list[JudgedNumbers]:
    """The numbers of every judge of a run, by its name.

    Raises:
        StoreError: a file of judged scores is not what evalkit writes.
    """
    return [_numbers(_read(file, "settings"), summary) for file in _files(run)]


def judged_metrics(run: Path) -> list[dict[str, Any]]:
    """The metrics of all judges of a run, each with what `METRIC` names, under the protocol `judge:NAME`.

    Raises:
        StoreError: a file of judged scores is not what evalkit writes.
    """
    return [metric for file in _files(run) for metric in _metrics(_read(file))]


def _files(run: Path) -> list[Path]:
    return sorted(run.glob("judged-*.json"))


def _read(file: Path, *more: str) -> dict[str, Any]:
    content = read_json(file, "file of judged scores")
    if not isinstance(content, dict) or (missing := [k for k in ("judge", *more, "metrics") if k not in content]):
        what = f"it has no {missing[0]}" if isinstance(content, dict) else "it is no object"
        raise StoreError(f"{file} is not a file of judged scores: {what}. Judge the run again.")
    metrics = content["metrics"]
    if not isinstance(metrics, list) or not all(isinstance(m, dict) and set(METRIC) <= set(m) for m in metrics):
        raise StoreError(f"{file}: its metrics are not what evalkit writes. Judge the run again.")
    return content


def _metrics(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{**metric, "protocol": f"judge:{content['judge']}"} for metric in content["metrics"]]


def _numbers(content: Mapping[str, Any], summary: Mapping[str, Any]) -> JudgedNumbers:
    settings = {str(k): str(v) for k, v in content["settings"].items()}
    metrics = []
    for metric in _metrics(content):
        parts = {"task": f"{summary['task']}.{summary['split']}", "n": metric["n"], "slice": metric["slice"]}
        said = [f"{k}:{v}" for k, v in {**parts, **settings, "v": summary["evalkit"]}.items()]
        metrics.append({**metric, "signature": "|".join([str(metric["metric"]), *said])})
    return JudgedNumbers(
        judge=str(content["judge"]),
        metrics=tuple(metrics),
        settings=settings,
        problem=str(content.get("problem") or ""),
    )


def judged_scores(run: Path, judge: str) -> list[dict[str, Any]]:
    """A judge's score of each sample, like the lines of scores.jsonl, with what it replied as the note.

    None where the judgments are not there.
    """
    if not (run / NAME).is_file():
        return []
    judged = choose_judge(run, judge)
    relative = judged.plan["judged"] == RELATIVE
    said: dict[str, list[str]] = {}
    for record in judged.records:
        said.setdefault(str(record["sample_id"]), []).append(_shown(str(record.get("raw") or "")))
    metric = "relative_score" if relative else "judged_accuracy"
    return [
        {"sample_id": item.sample_id, "protocol": f"judge:{judge}", "metric": metric, **_value(item, relative, said)}
        for item in item_results(judged)
    ]


def _shown(reply: str) -> str:
    return reply if len(reply) <= MOST_LETTERS else f"{reply[:MOST_LETTERS]} …"


def _value(item: ItemResult, relative: bool, said: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    if item.status != "judged":
        return {"value": None, "reason": f"{item.status.replace('_', ' ')}: {item.why}".removesuffix(": ")}
    value = item.candidate / item.reference if relative else item.reference
    return {"value": value, "note": "\n".join(said[item.sample_id])}
