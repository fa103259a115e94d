"""The verb that sets runs beside each other: compare."""

from __future__ import annotations

from pathlib import Path

from evalkit.cli.build import make_task
from evalkit.cli.config import Config
from evalkit.core import console
from evalkit.core.errors import ConfigError


def compare(config: Config) -> int:
    """Print the paired differences of runs over the same samples."""
    from evalkit.analysis.compare import by_slice, render, render_slices
    from evalkit.analysis.compare import compare as compare_runs
    from evalkit.analysis.run_scores import read_scored
    from evalkit.pipeline.evaluate import select
    from evalkit.pipeline.rescore import manifest_beside

    runs = [read_scored(Path(p)) for p in config["runs"]]
    results = compare_runs(runs, config["metrics"])
    console.out(render(results, runs[0], int(config["flips"])))
    if config["slices"]:
        manifest = manifest_beside(Path(config["runs"][0]))
        if manifest is None:
            raise ConfigError("slices=true needs the run's folder: its manifest says which dataset the tags are in.")
        loaded = make_task({"task": manifest["config"]["task"]}).load(images=False)
        samples = select(loaded.samples, runs[0].ids, runs[0].origin)
        for other, pairs in results:
            console.out(f"by slice, {other.header['model']} ({other.header['run_id']}):")
            console.out(render_slices(by_slice([runs[0], other], [p.metric for p in pairs], samples)))
    return 0
