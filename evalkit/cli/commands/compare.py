"""Paired differences of runs over the same samples: runs=[A,B]."""

from __future__ import annotations

from pathlib import Path

from evalkit.cli.config import Config
from evalkit.cli.factories import make_task
from evalkit.core import console
from evalkit.core.errors import ConfigError

HELP_ORDER = 30


def main(config: Config) -> int:
    """Print the paired differences of runs over the same samples."""
    from evalkit.analysis.compare import by_slice, compare, render, render_slices
    from evalkit.analysis.run_scores import read_scored
    from evalkit.pipeline.evaluate import select
    from evalkit.pipeline.rescore import manifest_beside

    runs = [read_scored(Path(p)) for p in config["runs"]]
    results = compare(runs, config["metrics"])
    console.out(render(results, runs[0], int(config["flips"])))
    if config["slices"]:
        manifest = manifest_beside(Path(config["runs"][0]))
        if manifest is None:
            raise ConfigError(
                "slices=true needs the folder of the first run, not a file: its manifest names the dataset that has "
                "the tags."
            )
        loaded = make_task({"task": manifest["config"]["task"]}).load(images=False)
        samples = select(loaded.samples, runs[0].ids, runs[0].origin)
        for other, pairs in results:
            console.out(f"by slice, {other.header['model']} ({other.header['run_id']}):")
            console.out(render_slices(by_slice([runs[0], other], [p.metric for p in pairs], samples)))
    return 0
