"""Whether any byte of a dossier was changed: dossier=DIR [head=HEX]."""

from __future__ import annotations

from pathlib import Path

from evalkit.cli.config import Config
from evalkit.core import console

HELP_ORDER = 126
EXAMPLES = (
    "evalkit verify dossier=dossier",
    "evalkit verify dossier=dossier head=HEX",
)


def main(config: Config) -> int:
    """Check a dossier against its hash chain."""
    from evalkit.reports.dossier.chain import verify_chain

    folder = Path(config["dossier"])
    noted_head = (config["head"] or "").strip().lower() or None
    head = verify_chain(folder, noted_head)
    noted = "" if noted_head else "; compare the head with the one that `dossier` printed (head=HEX)"
    console.out(f"{folder} is unchanged; head of the hash chain: {head}{noted}")
    return 0
