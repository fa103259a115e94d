"""Yes/no answers of a run as a diagnostic test: run=DIR [prevalence=0.05] [by=finding].

The 2x2 table with unread answers as a third outcome, sensitivity, specificity, predictive values (also at a stated
prevalence), likelihood ratios, balanced accuracy and MCC, each with an interval clustered by image; the same for each
finding that questions name, or for each value of a tag.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from evalkit.cli.config import Config
from evalkit.cli.factories import make_task
from evalkit.cli.saved_config import saved_task
from evalkit.core import console
from evalkit.core.errors import ConfigError, DataError
from evalkit.core.files import write_json

if TYPE_CHECKING:
    from evalkit.runs.schema import PredictionLine
    from evalkit.runs.verify import StoredRun

HELP_ORDER = 32
EXAMPLES = (
    "evalkit diagnose run=RUN prevalence=0.05",
    "evalkit diagnose run=RUN by=modality file=diagnosis.json",
)
FIRST_WORD = "run"


def main(config: Config) -> int:
    """Print the diagnostic blocks of a run; write them as JSON where asked."""
    from evalkit.analysis.contradictions import contradictions_of_verdicts
    from evalkit.analysis.diagnosis import diagnose, verdicts
    from evalkit.reports.diagnosis_table import print_diagnosis
    from evalkit.runs.verify import open_run

    prevalence = config["prevalence"]
    if prevalence is not None and not 0 < prevalence < 1:
        raise ConfigError(f"prevalence={prevalence:g} is not possible: expected a fraction between 0 and 1.")
    run = open_run(Path(config["run"]))
    found = verdicts(run.predictions(), _grouping(config, run))
    if not found:
        raise DataError(
            f"{config['run']} has no question with the reference yes or no, so that there is nothing to diagnose."
        )
    diagnosis = diagnose(run.summary.run_id, found, config["by"] or "", prevalence)
    diagnosis = replace(diagnosis, contradictions=contradictions_of_verdicts(found, run.summary.cluster))
    print_diagnosis(diagnosis)
    if config["file"]:
        write_json(Path(config["file"]), diagnosis.record())
        console.note(f"written: {config['file']}")
    return 0


def _grouping(config: Config, run: StoredRun) -> Callable[[PredictionLine], str]:
    """The group of a question under by=."""
    from evalkit.analysis.diagnosis import finding_of

    by = config["by"]
    if by is None:
        return lambda _: ""
    if by == "finding":
        return lambda line: finding_of(line.question)
    if run.manifest is None:
        raise ConfigError(f"by={by} needs the tags of the data set, which a run without a manifest.json does not name.")
    samples = make_task({"task": saved_task(run.manifest, config["data"])}).load(images=False).samples
    tags = {s.id: s.tags.get(by, "") for s in samples}
    if not any(tags.values()):
        known = sorted({tag for s in samples for tag in s.tags})
        raise ConfigError(f"by={by}: no sample has that tag. Known: finding, {', '.join(known)}.")
    return lambda line: tags.get(line.sample_id, "")
