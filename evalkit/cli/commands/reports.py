"""Verbs that show finished runs: report, export, paper, board."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from evalkit.cli.build import listed, make_task
from evalkit.cli.config import Config, choose, options
from evalkit.core import console
from evalkit.core.errors import ConfigError, DataError, EvalkitError, Partial

if TYPE_CHECKING:
    from evalkit.core.types import Sample
    from evalkit.reports.reproduction import Paper
    from evalkit.reports.run_page import Difference
    from evalkit.reports.run_page.data import Picture


def report(config: Config) -> int:
    """Write a run's page, or the page of two runs side by side."""
    from evalkit.pipeline.rescore import manifest_beside
    from evalkit.reports.run_page import page_data, write_page
    from evalkit.reports.run_page.page import pictures

    run = Path(config["run"])
    runs = [run, Path(config["against"])] if config["against"] else [run]
    target = Path(config["file"]) if config["file"] else run / "report.html"
    manifest = manifest_beside(run) or {}
    # The run's own configuration says where its data is; what is given now goes first.
    task_config = {**manifest.get("config", {}).get("task", {}), **{k: v for k, v in config["data"].items() if v}}
    samples: dict[str, Sample] = {}
    images: dict[str, Picture] = {}
    if task_config:
        try:
            shown = _as_asked(run, make_task({"task": task_config}).load(images=bool(config["images"])).samples)
            samples = {s.id: s for s in shown}
            if config["images"]:
                images = pictures(shown, target.with_name(f"{target.stem}-images"))
        except EvalkitError as problem:
            console.warn(f"the page has no images and no slices, because its data cannot be read: {problem}")
    found, why = _differences(runs)
    write_page(target, page_data(runs, samples, images, differences=found, incomparable=why))
    console.out(str(target))
    return 0


def _as_asked(run: Path, samples: Sequence[Sample]) -> tuple[Sample, ...]:
    """The samples of a run with the images that its model saw: blank or another's where the run was asked so."""
    from evalkit.core.files import read_json, read_lines
    from evalkit.pipeline.evaluate import select, with_images
    from evalkit.runs.store import RunFolder

    folder = RunFolder(run)
    asked = select(samples, [r["sample_id"] for r in read_lines(folder.predictions)], str(run))
    return with_images(asked, read_json(folder.summary, "summary").get("image", "original"))


def _differences(runs: Sequence[Path]) -> tuple[list[Difference], str]:
    """The paired differences of two runs, or why they may not be compared; neither for one run."""
    from evalkit.analysis.compare import compare
    from evalkit.analysis.run_scores import read_scored
    from evalkit.reports.run_page import Difference

    if len(runs) < 2:
        return [], ""
    try:
        ((_, pairs),) = compare([read_scored(r) for r in runs], None)
    except EvalkitError as problem:
        console.warn(f"the page has no differences: {problem}")
        return [], str(problem)
    return [
        Difference(
            metric=p.metric,
            n=p.n,
            first=p.first,
            second=p.second,
            difference=p.difference,
            low=p.interval.low,
            high=p.interval.high,
            n_worse=p.n_worse,
            n_better=p.n_better,
        )
        for p in pairs
    ], ""


def export(config: Config) -> int:
    """Write a run in the form of another tool."""
    from evalkit.cli.config import choose
    from evalkit.reports.export import WRITERS, read_run

    form = choose(config["format"], list(WRITERS), "format")
    run = read_run(Path(config["run"]), slices=bool(config["slices"]), model_id=config["model_id"])
    out = Path(config["out"]) if config["out"] else run.folder.path / "export" / form
    keys = ("organization", "relationship") if form == "every-eval-ever" else ()
    written = WRITERS[form](run, out, **{k: str(config[k]) for k in keys})
    for number in run.missing:
        console.warn(f"{number.name} has no value: {number.problem}")
    if run.summary["n_failed"]:
        console.warn(f"{run.summary['n_failed']} of {run.summary['n']} samples failed; the files say so")
    for path in written:
        console.out(str(path))
    return 0


def paper(config: Config) -> int:
    """Print a paper's table, published beside what the runs below some folders reproduced of it."""
    from evalkit.core.files import write_whole
    from evalkit.reports.reproduction import ACCEPT, FORMATS, compare_paper, own_rows, parse_paper, read_summaries, show

    content = {k: v for k, v in config["paper"].items() if k != "run"}
    wanted = parse_paper(content, str(config["choices"]["paper"]))
    accept = choose(config["accept"], ACCEPT, "accept")
    target = Path(config["file"]) if config["file"] else None
    if target is not None and target.suffix not in FORMATS:
        raise ConfigError(f"file={target}: the table is written as one of {', '.join(FORMATS)}; the suffix says which.")
    folders, own = [Path(f) for f in listed(config["runs"])], listed(config["own"])
    failed = run_missing(config, wanted, folders, own) if config["paper"].get("run") else []
    if config["dry_run"]:
        return 0
    for folder in folders:
        if not folder.is_dir():
            console.warn(f"runs={folder} is not a folder")
    summaries = read_summaries(folders)
    cells = compare_paper(wanted.published, summaries, wanted.models, accept=accept, beside=wanted.beside)
    mine = own_rows(wanted.published, summaries, own)
    console.out(show(wanted.published, cells, mine))
    for row in mine:
        if not row.cells:
            console.warn(f"own={row.model}: no run of it has a number that stands in a column of this table")
    if target is not None:
        write_whole(target, FORMATS[target.suffix](wanted.published, cells, mine))
        console.out(str(target))
    if failed:
        raise Partial(f"{len(failed)} of the missing runs did not come to an end: {'; '.join(failed)}.")
    return 0


def run_missing(config: Config, wanted: Paper, folders: Sequence[Path], own: Sequence[str]) -> list[str]:
    """Start each run that a paper misses in a process of its own; returns what did not end well, in words."""
    import shlex
    import subprocess
    import sys

    from evalkit.reports.reproduction import missing_runs, read_summaries

    if not folders:
        raise ConfigError("paper.run=true needs a folder for the new runs: runs=DIR.")
    needed = missing_runs(
        wanted,
        read_summaries(folders),
        own=own,
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


def board(config: Config) -> int:
    """Rebuild the tables from the results, or check that they are what would be built."""
    from evalkit.reports.leaderboard import check, rebuild

    folder = Path(config["leaderboard"])
    if config["board"]["check"]:
        if differing := check(folder):
            raise DataError(
                f"{len(differing)} files of {folder} are not what its figures, results and scores make: "
                f"{', '.join(differing[:5])}. "
                f"Run `python -m evalkit board leaderboard={folder}` and commit what it writes."
            )
        console.out(f"{folder}: the tables are what the figures, results and scores make")
        return 0
    for path in rebuild(folder):
        console.out(str(path))
    return 0
