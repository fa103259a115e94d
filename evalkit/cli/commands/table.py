"""The table of a paper, models x data sets, bold outside ties: runs=[A,B] [paper=NAME] [to=FILE.tex]."""

from __future__ import annotations

from pathlib import Path

from evalkit.cli.config import Config, checked_choice
from evalkit.cli.factories import as_list
from evalkit.core import console
from evalkit.core.errors import ConfigError

HELP_ORDER = 104
EXAMPLES = (
    "evalkit table runs=[RUN,RUN] format=markdown",
    "evalkit table runs=runs paper=llava-med-vqa to=table.tex",
)
MOST_DIGITS = 6


def main(config: Config) -> int:
    """Print or write the table of runs."""
    from evalkit.reports.paper_table import INTERVALS, TableSettings, paper_table, read_table_runs
    from evalkit.reports.reproduction import parse_paper
    from evalkit.reports.sheet import FORMS, form_of, write_sheet

    target = Path(config["to"]) if config["to"] else None
    form = form_of(target, config["format"])
    digits = config["digits"]
    if not isinstance(digits, int) or not 0 <= digits <= MOST_DIGITS:
        raise ConfigError(f"digits={digits} is not possible; expected a number from 0 to {MOST_DIGITS}.")
    settings = TableSettings(
        tasks=tuple(map(str, as_list(config["tasks"]))),
        metrics=tuple(map(str, as_list(config["metrics"]))),
        intervals=checked_choice(config["intervals"], INTERVALS, "intervals"),
        digits=digits,
    )
    paper = config.get("paper")
    published = parse_paper(paper, str(config["choices"]["paper"])).published if paper else None
    runs = read_table_runs([Path(p) for p in as_list(config["runs"])])
    sheet = paper_table(runs, settings, published)
    for note in sheet.notes:
        if "not comparable:" in note:
            console.warn(note)
    if target is None:
        console.out(FORMS[form](sheet).rstrip("\n"))
    else:
        write_sheet(sheet, target, form)
        console.out(str(target))
    return 0
