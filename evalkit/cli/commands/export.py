"""A run in other tools' forms: run=DIR format=every-eval-ever|hf-model-index|latex|lm-eval|…"""

from __future__ import annotations

from pathlib import Path

from evalkit.cli.config import Config, checked_choice
from evalkit.core import console

HELP_ORDER = 120
EXAMPLES = (
    "evalkit export run=RUN format=latex",
    "evalkit export run=RUN format=every-eval-ever organization=NAME",
)


def main(config: Config) -> int:
    """Write a run in the form of another tool."""
    from evalkit.reports.export import export_names, name_of, read_run, writer

    form = checked_choice(config["format"], export_names(), "format")
    write = writer(form)
    run = read_run(Path(config["run"]), slices=bool(config["slices"]), model_id=config["model_id"])
    out = Path(config["out"]) if config["out"] else run.folder.path / "export" / form
    keys = ("organization", "relationship") if form == "every-eval-ever" else ()
    written = write(run, out, **{k: str(config[k]) for k in keys})
    for number in run.missing:
        console.warn(f"{name_of(number)} has no value: {run.problem(number)}")
    if run.summary.n_failed:
        console.warn(f"{run.summary.n_failed} of {run.summary.n} samples failed; the files say so")
    for path in written:
        console.out(str(path))
    return 0
