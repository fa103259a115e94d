"""Whether any byte of a dossier was changed, and who signed it: dossier=DIR [head=HEX] [key=FILE]."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from evalkit.cli.config import Config
from evalkit.core import console
from evalkit.core.errors import ConfigError

if TYPE_CHECKING:
    from evalkit.reports.dossier.minisign import PublicKey

HELP_ORDER = 126
EXAMPLES = (
    "evalkit verify dossier=dossier",
    "evalkit verify dossier=dossier head=HEX",
    "evalkit verify dossier=dossier key=signer.key.pub",
)


def main(config: Config) -> int:
    """Check a dossier against its hash chain, and its signature where it has one."""
    from evalkit.reports.dossier.chain import verify_chain
    from evalkit.reports.dossier.signature import verify_signature

    folder = Path(config["dossier"])
    noted_head = None if config["head"] is None else str(config["head"]).strip().lower()
    if noted_head is not None and not re.fullmatch("[0-9a-f]{64}", noted_head):
        raise ConfigError(
            f"head={config['head']} is no head of a hash chain; expected the 64 hexadecimal digits that `dossier` "
            "printed."
        )
    key = None if config["key"] is None else _public_key(str(config["key"]))
    head = verify_chain(folder, noted_head)
    signed = verify_signature(folder, key)
    noted = "" if noted_head or key else "; compare the head with the one that `dossier` printed (head=HEX)"
    console.out(f"{folder} is unchanged; head of the hash chain: {head}{noted}")
    if signed is not None:
        whose = "" if key else "; whose key that is, key=FILE with the signer's own public key says"
        console.out(f"{signed}{whose}")
    return 0


def _public_key(given: str) -> PublicKey:
    """The public key in a file, or in the setting itself."""
    from evalkit.reports.dossier import minisign

    minisign.require()
    path = Path(given)
    if path.is_file():
        return minisign.read_public_key(path.read_text(encoding="utf-8", errors="replace"))
    if not re.fullmatch(r"[A-Za-z0-9+/=]{56}", given):
        raise ConfigError(f"key={given} does not exist; expected the file of a public key, or its 56 characters.")
    return minisign.read_public_key(given)
