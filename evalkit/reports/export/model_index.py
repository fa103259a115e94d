"""The `model-index` of a Hugging Face model card, to paste between the card's two lines of hyphens."""

from __future__ import annotations

from pathlib import Path

from evalkit.core.files import write_whole
from evalkit.core.format import shown_metric
from evalkit.core.plain_text import one_line
from evalkit.reports.export.run import FinishedRun, details_of, name_of
from evalkit.runs.store import run_name


def write_model_index(run: FinishedRun, out: Path) -> list[Path]:
    """Write RUN.yaml.  Values are fractions; interval, n, unscored and signature are each metric's args.

    Comments at the top name the numbers without a value, for which the format has no place.

    Raises:
        DataError: the run has no number.
    """
    from huggingface_hub import EvalResult, ModelCardData

    s = run.summary
    task = run.config.get("task") or {}
    results = [
        EvalResult(
            task_type="visual-question-answering",
            task_name="Medical visual question answering",
            dataset_type=run.dataset_repo or s.task,
            dataset_name=run.task,
            dataset_split=s.split,
            dataset_revision=task.get("revision"),
            dataset_args={**run.counts(), **run.conditions()},
            metric_type=n.metric,
            metric_name=f"{shown_metric(n.metric)} ({n.protocol}{'' if n.slice == 'all' else ', ' + n.slice})",
            metric_value=n.value,
            metric_config=n.protocol,
            metric_args=details_of(n),
        )
        for n in run.valued
    ]
    card = ModelCardData(model_name=run.model_id, eval_results=results)
    missing = [one_line(f"{name_of(n)}: {run.problem(n)}") for n in run.missing]
    head = "".join(f"# without a value: {text}\n" for text in missing)
    path = out / f"{run_name(s.run_id)}.yaml"
    write_whole(path, head + card.to_yaml() + "\n")
    return [path]
