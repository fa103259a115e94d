"""The evidence about a run in one folder: run=RUN [baseline=RUN] [plan=FILE] to=DIR.

A page with a print style, or printed (pdf=true), JSON, checklists of reporting guidelines, a software bill of materials
(CycloneDX), exports, and a hash chain over all files, whose head is printed last.
"""

from __future__ import annotations

from pathlib import Path

from evalkit.cli.config import Config
from evalkit.core import console

HELP_ORDER = 124
EXAMPLES = (
    "evalkit dossier run=RUN to=dossier",
    "evalkit dossier run=RUN baseline=RUN plan=plan.json to=dossier",
    "evalkit dossier run=RUN pdf=true to=dossier",
)


def main(config: Config) -> int:
    """Write the dossier of a run."""
    from evalkit.reports.dossier.pdf import printer
    from evalkit.reports.dossier.read import read_evidence
    from evalkit.reports.dossier.sbom import bill_of_materials
    from evalkit.reports.dossier.write import write_dossier

    print_page = printer() if config["pdf"] else None
    bill = bill_of_materials()
    plan = Path(config["plan"]) if config["plan"] else None
    evidence = read_evidence(
        Path(config["run"]),
        baseline=Path(config["baseline"]) if config["baseline"] else None,
        plan=plan,
        intended_use=config["intended_use"] or "",
        n_packages=len(bill["components"]),
    )
    out = Path(config["to"])
    head = write_dossier(evidence, bill, out, answers=config["answers"], plan=plan, print_page=print_page)
    if evidence.plan is not None and not evidence.plan.followed:
        console.warn(f"the run did not follow the plan: {'; '.join(evidence.plan.deviations)}")
    console.out(f"{out / 'dossier.html'}\nhead of the hash chain: {head}")
    return 0
