"""What a set of questions can show, before any model runs: task=NAME, or n=1000 images=100.

The smallest difference that is found, the smallest margin that a gate can pass, the power at a given difference and
margin, for each metric and for all together, and the number of images that a power needs.  Works for task=table too.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from evalkit.cli.config import Config
from evalkit.cli.factories import as_list, make_task
from evalkit.core import console
from evalkit.core.errors import ConfigError
from evalkit.core.files import write_json, write_whole

if TYPE_CHECKING:
    from evalkit.stats import PlannedRows
    from evalkit.stats.label_noise import Contradictions

HELP_ORDER = 35
EXAMPLES = (
    "evalkit plan task=slake task.path=DIR margin=0.02",
    "evalkit plan n=1000 images=100 plot=power.svg",
)
# Settings that are fractions, and whether 0 is one of their values.
FRACTIONS = {
    "icc": True, "correlation": True, "loss": True,
    "discordance": False, "accuracy": False, "difference": False, "margin": False, "power": False, "alpha": False,
}  # fmt: skip


def main(config: Config) -> int:
    """Print the plan of a set; write it as JSON and as a plot where asked."""
    from evalkit.analysis.plan import Aims, make_plan, sentences, table
    from evalkit.reports.plan_plot import plan_plot
    from evalkit.stats import Assumptions

    _check(config)
    title, rows, contradictions = _rows(config)
    given = Assumptions(icc=config["icc"], discordance=config["discordance"], correlation=config["correlation"])
    aims = Aims(**{k: config[k] for k in ("accuracy", "difference", "margin", "loss", "power", "alpha")})
    plan = make_plan(rows, config["metrics"], given, aims, contradictions)
    console.grid(*table(plan), title)
    for text in sentences(plan):
        console.out(text)
    if config["file"]:
        write_json(Path(config["file"]), {"set": title, **plan.record()})
        console.note(f"written: {config['file']}")
    if config["plot"]:
        write_whole(Path(config["plot"]), plan_plot(plan, rows, config["metrics"]))
        console.note(f"written: {config['plot']}")
    return 0


def _rows(config: Config) -> tuple[str, list[PlannedRows], Contradictions | None]:
    """A title of the set, the rows of its metrics, and what is known of contradictions among its references."""
    from evalkit.analysis.contradictions import contradictions_of_samples
    from evalkit.analysis.plan import rows_of
    from evalkit.stats import equal_clusters

    if config.get("task"):
        if config["n"] is not None or config["images"] is not None:
            raise ConfigError("A task has its own questions and images: give task=NAME, or n= and images=, not both.")
        loaded = make_task(config).load(images=False)
        rows = rows_of(loaded.samples, as_list(config["rows"]) or None)
        title = f"{loaded.name} ({loaded.split}), clusters: {loaded.cluster}"
        return title, rows, contradictions_of_samples(loaded.samples)
    if config["n"] is None:
        raise ConfigError(
            "Give a set: task=NAME (and task.path=DIR), task=table task.path=FILE for your own, or n=1000 images=100."
        )
    if config["rows"]:
        raise ConfigError("rows= needs task=NAME: a set given by n= and images= has no tags.")
    images = config["images"] if config["images"] is not None else config["n"]
    return f"{config['n']} questions on {images} images", [equal_clusters(config["n"], images)], None


def _check(config: Config) -> None:
    """Raise ConfigError for a number outside its range."""
    for name, with_zero in FRACTIONS.items():
        value = config[name]
        if not (0 <= value < 1 if with_zero else 0 < value < 1) and not (name == "correlation" and value == 1):
            raise ConfigError(
                f"{name}={value:g} is not possible: expected a fraction {'from 0 to' if with_zero else 'between 0 and'}"
                " 1, such as 0.02 for two percentage points."
            )
    if config["metrics"] < 1:
        raise ConfigError(f"metrics={config['metrics']} is not possible: expected 1 or more.")
