"""Paired differences of runs over the same samples: runs=[A,B].

runs= takes run folders, baseline files, folders that hold runs, and patterns such as 'runs/*-slake-*'.
"""

from __future__ import annotations

from pathlib import Path

from evalkit.cli.config import Config
from evalkit.cli.factories import as_list, make_task
from evalkit.cli.saved_config import saved_task
from evalkit.core import console
from evalkit.core.errors import ConfigError

HELP_ORDER = 30
EXAMPLES = (
    "evalkit compare runs=[runs/A,runs/B]",
    "evalkit compare \"runs='runs/*-slake-*'\" slices=true",
)


def main(config: Config) -> int:
    """Print the paired differences of runs over the same samples."""
    from evalkit.analysis.compare import check_perturbed, compare, render, render_slices, slices_heading, slices_of
    from evalkit.analysis.run_folders import find_runs
    from evalkit.analysis.run_scores import read_all
    from evalkit.pipeline.inputs import select
    from evalkit.pipeline.rescore import run_manifest
    from evalkit.reports.difference_tables import comparison_sheet
    from evalkit.reports.sheet import form_of, write_sheet

    target = Path(config["to"]) if config["to"] else None
    form = form_of(target, None)
    folders = find_runs([Path(p) for p in as_list(config["runs"])])
    runs = read_all(folders)
    if config["perturbed"]:
        check_perturbed(runs, folders)
    results = compare(runs, as_list(config["metrics"]) or None, perturbed=bool(config["perturbed"]))
    console.out(render(results, runs[0], int(config["flips"]), config["equivalence"]))
    if target is not None:
        write_sheet(comparison_sheet(results, runs[0]), target, form)
        console.out(str(target))
    if config["slices"]:
        manifest = run_manifest(folders[0])
        if manifest is None:
            raise ConfigError(
                "slices=true needs the folder of the first run, not a file: its manifest names the dataset that has "
                "the tags."
            )
        loaded = make_task({"task": saved_task(manifest, {})}).load(images=False)
        samples = select(loaded.samples, runs[0].ids, runs[0].origin)
        found = slices_of(runs[0], [r.run for r in results], [p.key for p in results[0].pairs], samples)
        console.out(slices_heading(found, runs[0].cluster))
        for result, differences in zip(results, found, strict=True):
            if not differences:
                continue
            console.out(f"by slice, {result.run.header.model} ({result.run.header.run_id}):")
            console.out(render_slices(differences))
    return 0
