"""A paper's table, published next to reproduced numbers: paper=NAME [runs=DIR] [file=TABLE.tex].

The reproduced numbers come from the runs below the folders of runs=.  With paper.run=true the missing runs that this
machine can make are started first, each in a process of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from evalkit.cli.config import Config, checked_choice, options
from evalkit.cli.factories import as_list
from evalkit.core import console
from evalkit.core.errors import ConfigError, Partial, did_you_mean

if TYPE_CHECKING:
    from evalkit.reports.reproduction import Paper

HELP_ORDER = 110
EXAMPLES = (
    "evalkit paper paper=llava-med-vqa",
    "evalkit paper paper=coloninst paper.run=true dry_run=true",
)


def main(config: Config) -> int:
    """Print a paper's table, published numbers next to those that the runs below some folders reproduce."""
    from evalkit.core.files import write_whole
    from evalkit.reports.reproduction import (
        ACCEPT,
        FORMATS,
        compare_paper,
        extra_rows,
        parse_paper,
        read_summaries,
        show,
    )

    content = {k: v for k, v in config["paper"].items() if k != "run"}
    wanted = parse_paper(content, str(config["choices"]["paper"]))
    accept = checked_choice(config["accept"], ACCEPT, "accept")
    target = Path(config["file"]) if config["file"] else None
    if target is not None and target.suffix not in FORMATS:
        raise ConfigError(
            f"file={target} has an unknown suffix; the suffix chooses the format and must be one of "
            f"{', '.join(FORMATS)}."
        )
    folders, extra_models = [Path(f) for f in as_list(config["runs"])], as_list(config["own"])
    failed = run_missing(config, wanted, folders, extra_models) if config["paper"].get("run") else []
    if config["dry_run"]:
        return 0
    for folder in folders:
        if not folder.is_dir():
            console.warn(f"runs={folder} is not a folder")
    summaries = read_summaries(folders, leave_out)
    cells = compare_paper(
        wanted.published,
        summaries,
        wanted.models,
        accept=accept,
        proxy_metrics=wanted.proxy_metrics,
        equivalence=config["equivalence"],
    )
    rows = extra_rows(wanted.published, summaries, extra_models)
    console.out(show(wanted.published, cells, rows))
    for row in rows:
        if not row.cells:
            console.warn(f"own={row.model}: no run of this model has a number for any column of this table")
    if target is not None:
        write_whole(target, FORMATS[target.suffix](wanted.published, cells, rows))
        console.out(str(target))
    if failed:
        raise Partial(f"{len(failed)} of the missing runs did not finish: {'; '.join(failed)}.")
    return 0


def leave_out(folder: Path, reason: str) -> None:
    """Say that a folder beside the runs is not read."""
    console.note(f"note: {folder} is left out: {reason}")


def run_missing(config: Config, wanted: Paper, folders: Sequence[Path], extra_models: Sequence[str]) -> list[str]:
    """Start each missing run of a paper in a process of its own.

    Returns:
        The runs that failed, each with its exit code, for a message.
    """
    import shlex
    import subprocess
    import sys

    from evalkit.reports.reproduction import missing_runs, read_summaries

    if not folders:
        raise ConfigError("paper.run=true needs a folder for the new runs: runs=DIR.")
    for task in config["data"]:
        if task not in options("task"):
            raise ConfigError(f"data.{task}: there is no task named {task!r}. {did_you_mean(task, options('task'))}")
    needed = missing_runs(
        wanted,
        read_summaries(folders, leave_out),
        extra_models=extra_models,
        registered=options("model"),
        protocols=options("protocol"),
        data=config["data"],
        out=str(folders[0]),
    )
    console.note(f"runs that are missing and can be run: {len(needed)}")
    failed = []
    for run in needed:
        command = [sys.executable, "-m", "evalkit", "run", *run.overrides]
        console.out(shlex.join(["python", *command[1:]]))
        if not config["dry_run"] and (code := subprocess.run(command, check=False).returncode):  # noqa: S603
            failed.append(f"{run.model} on {run.task} {run.split} (exit code {code})")
    return failed
