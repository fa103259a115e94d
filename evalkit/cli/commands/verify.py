"""Whether any byte of a dossier was changed: dossier=DIR [head=HEX]."""

from __future__ import annotations

import re
from pathlib import Path

from evalkit.cli.config import Config
from evalkit.core import console
from evalkit.core.errors import ConfigError

HELP_ORDER = 126
EXAMPLES = (
    "evalkit verify dossier=dossier",
    "evalkit verify dossier=dossier head=HEX",
)


def main(config: Config) -> int:
    """Check a dossier against its hash chain."""
    from evalkit.reports.dossier.chain import verify_chain

    folder = Path(config["dossier"])
    noted_head = None if config["head"] is None else str(config["head"]).strip().lower()
    if noted_head is not None and not re.fullmatch("[0-9a-f]{64}", noted_head):
        raise ConfigError(
            f"head={config['head']} is no head of a hash chain; expected the 64 hexadecimal digits that `dossier` "
            "printed."
        )
    head = verify_chain(folder, noted_head)
    noted = "" if noted_head else "; compare the head with the one that `dossier` printed (head=HEX)"
    console.out(f"{folder} is unchanged; head of the hash chain: {head}{noted}")
    return 0
