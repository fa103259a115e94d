"""Verbs that set runs beside each other: compare, gate."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from evalkit import console
from evalkit.config import Config
from evalkit.errors import ConfigError, GateFailed, Inconclusive
from evalkit.verbs.build import make_task

if TYPE_CHECKING:
    from evalkit.paired import Scored


def compare(config: Config) -> int:
    """Print the paired differences of runs over the same samples."""
    from evalkit.compare import by_slice, render, render_slices
    from evalkit.compare import compare as compare_runs
    from evalkit.paired import read_scored
    from evalkit.pipeline import select
    from evalkit.rescore import manifest_beside

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


def gate(config: Config) -> int:
    """Pass, fail or leave open a candidate against a baseline."""
    from evalkit import gate as g
    from evalkit.paired import baseline_content, read_scored
    from evalkit.store import write_whole

    candidate = read_scored(Path(config["candidate"]))
    if config["save"]:
        metrics = config["metrics"] or gated(candidate)
        write_whole(Path(config["save"]), baseline_content(candidate, metrics, bool(config["texts"])))
        console.out(str(config["save"]))
        return 0
    if not config["baseline"]:
        raise ConfigError("The gate needs baseline=RUN or a file that `gate candidate=RUN save=FILE` wrote.")
    baseline = read_scored(Path(config["baseline"]))
    metrics = config["metrics"] or gated(baseline)
    margin = float(config["margin"])
    for metric in metrics:
        n = len(baseline.rows.get(metric, ()))
        if n and (needed := g.smallest_margin(n)) > margin:
            console.warn(
                f"{metric}: {n} rows can certify a margin of about {100 * needed:.1f} points (when 10 % of the answers "
                f"change), not {100 * margin:.1f}; expect 'inconclusive' unless few do"
            )
    content = g.record(g.judge(baseline, candidate, metrics, margin), baseline, candidate)
    g.write(Path(config["out"] or config["candidate"]), content)
    for entry in content["metrics"]:
        console.out(g.sentence(entry))
    console.out(f"gate: {content['verdict']}")
    if content["verdict"] == g.FAIL:
        raise GateFailed("The candidate is worse than the baseline by more than the margin; gate.md lists the samples.")
    if content["verdict"] == g.INCONCLUSIVE:
        raise Inconclusive("The gate cannot tell at this number of samples; see smallest_margin in gate.json.")
    return 0


def gated(run: Scored) -> list[str]:
    """The metrics that a gate watches when none are named: every accuracy and recall that has rows."""
    return [m for m in run.scores if m.endswith(("accuracy", "recall", "exact_match")) and run.rows[m]]
