"""tracker=mlflow: a run of an MLflow experiment."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from evalkit.integrations.trackers.base import TrackerSettings, picture
from evalkit.reports.tracking import TrackedRun, safe_key

# Limits of MLflow: of a parameter's value, a tag's value, and of parameters and metrics in a call.
MAX_PARAMETER = 6000
MAX_TAG = 5000
MAX_IN_A_CALL = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class MlflowTracker(TrackerSettings):
    """Logs to MLflow.

    experiment: made where there is none.  uri: of the tracking server or database, such as sqlite:///mlflow.db; None:
    MLFLOW_TRACKING_URI, else MLflow's default.
    """

    library: ClassVar[str] = "mlflow"
    extra: ClassVar[str] = "tracking-mlflow"

    experiment: str = "evalkit"
    uri: str | None = None

    def log(self, run: TrackedRun) -> str:
        """See `Tracker.log`.  MLflow's active run and tracking URI stay as they are."""
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException

        client = MlflowClient(tracking_uri=self.uri)
        known = client.get_experiment_by_name(self.experiment)
        experiment = known.experiment_id if known is not None else client.create_experiment(self.experiment)
        tags = {"evalkit.run_id": run.run_id, **{f"signature.{k}": v[:MAX_TAG] for k, v in run.signatures.items()}}
        tags = {safe_key(name): value for name, value in tags.items()}
        made = client.create_run(experiment, run_name=self.name or run.name, tags=tags)
        run_id = made.info.run_id
        status = "FAILED"
        try:
            self._log_numbers(client, run_id, run)
            self._log_tables(client, run_id, run)
            for path in run.files:
                log = client.log_artifacts if path.is_dir() else client.log_artifact
                log(run_id, str(path), *((path.name,) if path.is_dir() else ()))
            status = "FINISHED"
        finally:
            try:
                client.set_terminated(run_id, status)
            except MlflowException:
                if status == "FINISHED":  # otherwise the first error says more
                    raise
        return f"MLflow experiment {self.experiment}, run {run_id}"

    def _log_numbers(self, client: Any, run_id: str, run: TrackedRun) -> None:
        from mlflow.entities import Metric, Param

        now = int(time.time() * 1000)
        metrics = [Metric(safe_key(name), float(value), now, 0) for name, value in run.entries.items()]
        parameters = [Param(safe_key(name), str(value)[:MAX_PARAMETER]) for name, value in run.config.items()]
        for start in range(0, max(len(metrics), len(parameters)), MAX_IN_A_CALL):
            part = slice(start, start + MAX_IN_A_CALL)
            client.log_batch(run_id, metrics=metrics[part], params=parameters[part])
        content = {"config": dict(run.config), "signatures": run.signatures, "warnings": list(run.notes)}
        client.log_dict(run_id, content, "evalkit.json")

    def _log_tables(self, client: Any, run_id: str, run: TrackedRun) -> None:
        import mlflow

        header, rows = run.metric_rows()
        client.log_table(run_id, _columns(header, rows), "metrics.json")
        header, rows = run.sample_rows()
        # A column of MLflow's tables has pictures alone or none.
        seen = [[*row[:-1], mlflow.Image(picture(row[-1]))] for row in rows if row[-1] is not None]
        unseen = [row[:-1] for row in rows if row[-1] is None]
        if seen:
            client.log_table(run_id, _columns(header, seen), "samples.json")
        if unseen:
            client.log_table(run_id, _columns(header[:-1], unseen), "samples_without_pictures.json")


def _columns(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> dict[str, list[Any]]:
    return {name: [row[k] for row in rows] for k, name in enumerate(header)}
