"""Agreement of a judge with human labels: labels=FILE [run=DIR]."""

from __future__ import annotations

import json
from pathlib import Path

from evalkit.cli.config import Config
from evalkit.core import console

HELP_ORDER = 60
EXAMPLES = (
    "evalkit judge check labels=labels.csv",
    "evalkit judge check labels=labels.csv run=RUN name=NAME",
)


def main(config: Config) -> int:
    """Print the agreement of a judge with human labels, as JSON."""
    from evalkit.judge.agreement import check_labels

    run_folder = Path(config["run"]) if config["run"] else None
    agreement = check_labels(Path(config["labels"]), run=run_folder, judge=config["name"], model=config["answers_of"])
    console.out(json.dumps(agreement.record(), indent=1, ensure_ascii=False))
    return 0
