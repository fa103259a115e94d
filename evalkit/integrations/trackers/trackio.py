"""tracker=trackio: a run of Trackio, in its folder on this machine or a Space."""

from __future__ import annotations

from contextvars import copy_context
from dataclasses import dataclass
from typing import Any, ClassVar

from evalkit.integrations.trackers.base import TrackerSettings, picture
from evalkit.reports.tracking import TrackedRun, safe_key


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackioTracker(TrackerSettings):
    """Logs to Trackio.

    project: its name.  space_id: a Space of Hugging Face that gets the run; None: TRACKIO_SPACE_ID, else the folder
    TRACKIO_DIR of this machine.
    """

    library: ClassVar[str] = "trackio"
    extra: ClassVar[str] = "tracking-trackio"

    project: str = "evalkit"
    space_id: str | None = None

    def log(self, run: TrackedRun) -> str:
        """See `Tracker.log`.  A run of the caller's own stays the active one: Trackio keeps it in the context."""
        return copy_context().run(self._log, run)

    def _log(self, run: TrackedRun) -> str:
        import trackio
        from trackio import context_vars

        context_vars.current_run.set(None)
        config = {**run.config, "signatures": run.signatures, "warnings": list(run.notes)}
        # Names of columns and settings that begin with an underscore are Trackio's own.
        active = trackio.init(
            project=self.project, name=self.name or f"{run.name} {run.run_id}", space_id=self.space_id, config=config,
            embed=False, auto_log_gpu=False, auto_log_cpu=False, resume="never",
        )  # fmt: skip
        try:
            active.log({**run.entries, **self._tables(run)})
            if run.files:
                found = trackio.Artifact(safe_key(run.run_id), "evaluation")
                for path in run.files:
                    if path.is_dir():
                        found.add_dir(path, name=path.name)
                    else:
                        found.add_file(path)
                active.log_artifact(found)
        finally:
            active.finish()
        return f"Trackio project {self.project}, run {active.name}"

    def _tables(self, run: TrackedRun) -> dict[str, Any]:
        import pandas as pd
        import trackio

        header, rows = run.metric_rows()
        tables = {"metrics": trackio.Table(dataframe=pd.DataFrame(rows, columns=header))}
        if run.samples:
            header, rows = run.sample_rows()
            shown = [[*row[:-1], None if row[-1] is None else trackio.Image(picture(row[-1]))] for row in rows]
            tables["samples"] = trackio.Table(dataframe=pd.DataFrame(shown, columns=header))
        return tables
