"""The evidence about a run, read from its folder, from a plan and from the last version's run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from evalkit.analysis.compare import RunComparison, compare
from evalkit.analysis.run_scores import RunScores, read_run_scores
from evalkit.reports.dossier.content import Evidence
from evalkit.reports.dossier.plan import check_plan, read_plan
from evalkit.reports.export.run import FinishedRun, read_run
from evalkit.runs.schema import JudgePlan
from evalkit.runs.verify import stored_judgments


def read_evidence(
    path: Path, *, baseline: Path | None, plan: Path | None, intended_use: str, n_packages: int
) -> Evidence:
    """The evidence about the run in a folder.

    Raises:
        StoreError: a run is not finished, or one of its files or the plan was changed.
        DataError: the runs are not comparable.
    """
    run = read_run(path, slices=True)
    return Evidence(
        run=run,
        intended_use=intended_use,
        plan=None if plan is None else check_plan(read_plan(plan), run.summary, run.folder),
        against=None if baseline is None else _against(baseline, path),
        hosts=hosts_of(run),
        n_packages=n_packages,
    )


def _against(baseline: Path, candidate: Path) -> tuple[RunScores, Sequence[RunComparison]]:
    first = read_run_scores(baseline)
    return first, compare([first, read_run_scores(candidate)], None)


def hosts_of(run: FinishedRun) -> tuple[str, ...] | None:
    """The servers that engine and judges spoke to; None where the run did not record them."""
    facts = {} if run.manifest is None else run.manifest.facts
    lines = stored_judgments(run.folder, run.summary.files).lines
    judges = [line.server for line in lines if isinstance(line, JudgePlan) and line.server]
    recorded = facts.get("hosts")
    servers = [str(facts["server"])] if facts.get("server") else []
    if not isinstance(recorded, list | tuple):
        return tuple(dict.fromkeys((*servers, *judges))) or None
    return tuple(dict.fromkeys((*map(str, recorded), *servers, *judges)))
