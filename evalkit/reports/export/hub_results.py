"""The numbers as a file of a model repository's `.eval_results/` folder on the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path

from evalkit.core.files import safe_name, write_whole
from evalkit.core.format import interval
from evalkit.reports.export.run import FinishedRun
from evalkit.runs.store import run_name


def write_hub_results(run: FinishedRun, out: Path) -> list[Path]:
    """Write .eval_results/RUN.yaml.  Values are fractions; n, interval, protocol and run are each entry's notes.

    The hub shows entries of data sets that it knows as benchmarks; task_id is evalkit's name of task and metric, to be
    changed to that of the data set's eval.yaml.

    A comment at the top says where the data are of no repository of the hub.

    Raises:
        DataError: the run has no number.
    """
    import yaml
    from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml

    revision = (run.config.get("task") or {}).get("revision")
    entries = [
        EvalResultEntry(
            dataset_id=run.dataset_repo or f"unknown/{safe_name(run.summary.task)}",
            task_id=safe_name(f"{run.summary.task}-{n.protocol}-{n.metric}"),
            value=n.value,
            dataset_revision=None if revision is None else str(revision),
            notes=(
                f"{n.slice}; 95 % interval {interval(n.low, n.high)} percent; n {n.n}, unscored {n.n_unscored}; "
                f"{run.task}; run {run.summary.run_id}; {n.signature}"
            ),
        )
        for n in run.valued
    ]
    path = out / ".eval_results" / f"{run_name(run.summary.run_id)}.yaml"
    head = "" if run.dataset_repo else "# the run's data are of no repository of the hub: replace dataset.id\n"
    content = yaml.safe_dump(eval_result_entries_to_yaml(entries), sort_keys=False, allow_unicode=True)
    write_whole(path, head + content)
    return [path]
