"""Answers of a run for people to label: run=DIR n=100 [by=verdict].

Writes a CSV with an empty column label, for correct, partly, wrong or cannot_tell, which `judge check labels=FILE
run=DIR` reads.  The verdict of the judge is not in it.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path

from evalkit.cli.config import Config
from evalkit.core import console
from evalkit.core.errors import ConfigError
from evalkit.core.files import write_whole

HELP_ORDER = 55
EXAMPLES = (
    "evalkit judge sample run=RUN n=100",
    "evalkit judge sample run=RUN by=verdict file=labels.csv",
)


def main(config: Config) -> int:
    """Draw answers to label and write them."""
    from evalkit.judge.config import RELATIVE
    from evalkit.judge.draw_labels import COLUMNS, draw_answers
    from evalkit.judge.items import item_results
    from evalkit.judge.journal import choose_judge
    from evalkit.runs.verify import open_run

    path = Path(config["file"] or "labels.csv")
    if path.exists() and not config["force"]:
        raise ConfigError(f"{path} exists and may have labels. Give another file=, or overwrite it with force=true.")
    run = open_run(Path(config["run"]))
    judged = choose_judge(run.folder.path, config["name"]) if run.folder.judgments.is_file() else None
    if judged is not None and judged.plan.judged == RELATIVE:
        raise ConfigError(
            f"{config['run']} was judged by scores, of which no accuracy is estimated; labels are drawn for verdicts."
        )
    items = item_results(judged) if judged is not None else None
    drawn = draw_answers(run.predictions(), items, config["n"], config["by"], config["seed"])
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS)
    writer.writeheader()
    writer.writerows(answer.row() for answer in drawn)
    write_whole(path, text.getvalue())
    how = f"as many of each {config['by']}" if config["by"] else "at random"
    console.note(f"{len(drawn)} answers drawn {how}, seed {config['seed']}; fill in the column label, then:")
    console.note(f"python -m evalkit judge check labels={path} run={config['run']}")
    console.out(str(path))
    return 0
