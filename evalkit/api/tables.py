"""A run as pandas tables, and as HTML for notebooks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from evalkit.api.value import Value
from evalkit.core.format import interval, percent, shown_metric, worst_case
from evalkit.core.plain_text import one_line, visible
from evalkit.core.types import MetricValue, Score
from evalkit.judge.results import judged_numbers
from evalkit.runs.schema import PredictionLine
from evalkit.runs.verify import StoredRun

if TYPE_CHECKING:
    import pandas as pd

METRIC_COLUMNS = (
    "run_id", "model", "task", "split", "protocol", "metric", "slice", "value", "low", "high", "n", "n_unscored",
    "n_clusters", "n_effective", "value_worst_case", "low_worst_case", "high_worst_case", "direction", "signature",
    "n_failed", "n_truncated",
)  # fmt: skip
SAMPLE_COLUMNS = (
    "sample_id", "image_id", "question", "references", "answer_type", "answer", "error", "finish_reason", "reasoning",
    "protocol",
)  # fmt: skip


def values_of(run: StoredRun) -> list[MetricValue]:
    """Every number of a run: of its protocols, then of its judges."""
    judged = judged_numbers(run.folder.path, run.summary)
    return [*run.summary.metrics, *(value for judge in judged for value in judge.metrics)]


def metric_frame(runs: Iterable[StoredRun]) -> pd.DataFrame:
    """One row a run, metric and slice; values are fractions."""
    import pandas as pd

    rows = [_metric_row(run, value) for run in runs for value in map(Value.of, values_of(run))]
    numbers = ("value", "low", "high", "n_effective", "value_worst_case", "low_worst_case", "high_worst_case")
    return pd.DataFrame(rows, columns=list(METRIC_COLUMNS)).astype(dict.fromkeys(numbers, "float64"))


def _metric_row(run: StoredRun, value: Value) -> dict[str, Any]:
    summary = run.summary
    of_run = {"run_id": summary.run_id, "model": summary.model, "task": summary.task, "split": summary.split}
    counts = {"n_failed": summary.n_failed, "n_truncated": summary.n_truncated}
    of_value = {name: getattr(value, name) for name in METRIC_COLUMNS if hasattr(value, name)}
    return {**of_run, **of_value, **counts}


def sample_frame(run: StoredRun) -> pd.DataFrame:
    """One row a sample and protocol: question, answer, a column for each metric, and why one has no score.

    A metric's column is NaN in rows of other protocols, and for samples that it does not cover or could not score: then
    `reason` says why.
    """
    import pandas as pd

    found: dict[tuple[str, str], list[Score]] = {}
    for score in run.scores():
        found.setdefault((score.sample_id, score.protocol), []).append(score)
    metrics = list(dict.fromkeys(score.metric for scores in found.values() for score in scores))
    protocols: list[str | None] = [*dict.fromkeys(protocol for _, protocol in found)] or [None]
    rows = []
    for line in _in_order(run):
        known = {
            "sample_id": line.sample_id, "image_id": line.image_id, "question": line.question,
            "references": line.references, "answer_type": line.answer_type, "answer": line.text, "error": line.error,
            "finish_reason": line.finish_reason, "reasoning": line.reasoning,
        }  # fmt: skip
        for protocol in protocols:
            scores = found.get((line.sample_id, protocol or ""), ())
            rows.append({**known, "protocol": protocol, **_score_cells(scores)})
    columns = [*SAMPLE_COLUMNS, *metrics, "extracted", "reason", "note"]
    return pd.DataFrame(rows, columns=columns).astype(dict.fromkeys(metrics, "float64"))


def _in_order(run: StoredRun) -> list[PredictionLine]:
    """The answers in the order of the task's samples; the file has them in the order in which they came."""
    lines = run.predictions()
    prompts = run.prompts()
    place = {} if prompts is None else {i: k for k, i in enumerate(prompts.ids)}
    return sorted(lines, key=lambda line: place.get(line.sample_id, len(place)))


def _score_cells(scores: Sequence[Score]) -> dict[str, Any]:
    texts = {
        name: "; ".join(dict.fromkeys(filter(None, (getattr(score, name) for score in scores))))
        for name in ("extracted", "reason", "note")
    }
    return {**{score.metric: score.value for score in scores}, **texts}


def metrics_html(values: Sequence[MetricValue], title: str, caption: str) -> str:
    """The printed table as HTML."""
    headings = ("protocol", "metric", "value %", "95 % interval", "n", "unscored", "worst case %")
    rows = [
        (
            one_line(v.protocol), one_line(shown_metric(v.metric)), percent(v.value),
            interval(v.low, v.high, effective=v.n_effective), v.n, v.n_unscored,
            worst_case(v.value_worst_case, v.low_worst_case, v.high_worst_case) if v.n_unscored else "",
        )
        for v in values
    ]  # fmt: skip
    return table_html(headings, rows, title, caption)


def table_html(headings: Sequence[str], rows: Iterable[Sequence[Any]], title: str, caption: str = "") -> str:
    """A table of texts, every one of them escaped."""
    head = "".join(f"<th>{escape(h)}</th>" for h in headings)
    body = "".join(f"<tr>{''.join(f'<td>{escape(str(cell))}</td>' for cell in row)}</tr>" for row in rows)
    below = f"<p><small>{escape(visible(caption))}</small></p>" if caption else ""
    return f"<h4>{escape(visible(title))}</h4><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{below}"


def list_html(texts: Mapping[str, Sequence[str]]) -> str:
    """Warnings and notes below a table; nothing where there are none."""
    parts = [f"<li><b>{kind}:</b> {escape(visible(text))}</li>" for kind, found in texts.items() for text in found]
    return f"<ul>{''.join(parts)}</ul>" if parts else ""
