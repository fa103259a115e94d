"""tracker=wandb: a run of Weights & Biases, online or offline."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from evalkit.core.errors import ConfigError, did_you_mean
from evalkit.integrations.trackers.base import TrackerSettings, picture
from evalkit.reports.tracking import TrackedRun, safe_key

MODES = ("online", "offline", "disabled")


@dataclass(frozen=True, slots=True, kw_only=True)
class WandbTracker(TrackerSettings):
    """Logs to Weights & Biases.

    project, entity, tags: as of `wandb.init`.  mode: online, offline or disabled; None: WANDB_MODE, else online.
    dir: the folder of its files; None: WANDB_DIR, else the current one.
    """

    library: ClassVar[str] = "wandb"
    extra: ClassVar[str] = "tracking-wandb"

    project: str = "evalkit"
    entity: str | None = None
    mode: str | None = None
    tags: tuple[str, ...] = ()
    dir: str | None = None

    def check(self) -> None:
        """See `TrackerSettings.check`."""
        TrackerSettings.check(self)
        if self.mode not in (None, *MODES):
            raise ConfigError(f"tracker.mode={self.mode} is not possible. {did_you_mean(str(self.mode), MODES)}")

    def log(self, run: TrackedRun) -> str:
        """See `Tracker.log`.  A run of the caller's own stays the active one."""
        import wandb

        # Nothing of this machine: command line, host, user, packages, git remote, what is printed.
        settings = wandb.Settings(
            console="off", silent=True, disable_git=True, disable_code=True, save_code=False, x_disable_meta=True,
            x_disable_machine_info=True, x_disable_stats=True, x_save_requirements=False,
        )  # fmt: skip
        active = wandb.init(
            project=self.project, entity=self.entity, name=self.name or run.name, mode=self.mode, dir=self.dir,
            tags=list(self.tags), config=dict(run.config), job_type="evaluation", reinit="create_new",
            settings=settings,
        )  # fmt: skip
        with active:  # marks the run as failed where something is raised
            active.config.update({"signatures": run.signatures, "warnings": list(run.notes)})
            active.log({**run.entries, **self._tables(run)})
            active.log_artifact(self._artifact(run))
            place = active.settings.sync_dir if active.offline else active.url
        return str(place)

    def _tables(self, run: TrackedRun) -> dict[str, Any]:
        import wandb

        header, rows = run.metric_rows()
        tables = {f"{run.task}/metrics": wandb.Table(columns=header, data=rows)}
        if run.samples:
            header, rows = run.sample_rows()
            shown = [[*row[:-1], None if row[-1] is None else wandb.Image(picture(row[-1]))] for row in rows]
            tables[f"{run.task}/samples"] = wandb.Table(columns=header, data=shown)
        return tables

    def _artifact(self, run: TrackedRun) -> Any:
        import wandb

        found = wandb.Artifact(safe_key(run.run_id), "evaluation", metadata={"signatures": run.signatures})
        for path in run.files:
            if path.is_dir():
                found.add_dir(str(path), name=path.name)
            else:
                found.add_file(str(path))
        return found
