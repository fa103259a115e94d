"""A signature over a dossier, in minisign's form: dossier=DIR key=FILE [new=true].

`verify dossier=DIR key=FILE.pub` checks it; so does minisign -Vm DIR/chain.json -p FILE.pub.  A key with a password
asks for it, or takes it from the environment variable EVALKIT_SIGN_PASSWORD.
"""

from __future__ import annotations

import getpass
import os
import sys
from pathlib import Path

from evalkit.cli.config import Config
from evalkit.core import console
from evalkit.core.errors import ConfigError

HELP_ORDER = 125
EXAMPLES = (
    "evalkit sign dossier=dossier key=signer.key new=true",
    "evalkit sign dossier=dossier key=signer.key",
)
PASSWORD = "EVALKIT_SIGN_PASSWORD"  # noqa: S105 - the name of the variable


def main(config: Config) -> int:
    """Sign a dossier."""
    from evalkit.reports.dossier import minisign
    from evalkit.reports.dossier.chain import verify_chain
    from evalkit.reports.dossier.signature import sign_dossier

    minisign.require()
    folder, path = Path(config["dossier"]), Path(config["key"])
    verify_chain(folder)  # before a key is made
    if config["new"]:
        _write_new(path)
    if not path.is_file():
        raise ConfigError(f"key={path} does not exist; expected the file of a secret key (new=true makes one).")
    text = path.read_text(encoding="utf-8", errors="replace")
    password = _password(path) if minisign.is_encrypted(text) else None
    key = minisign.read_secret_key(text, password)
    signed = sign_dossier(folder, key)
    console.out(f"{signed}\npublic key: {key.public.text}")
    return 0


def _write_new(path: Path) -> None:
    """Write a new key, which nobody but its owner reads, and its public half."""
    from evalkit.core.files import write_whole
    from evalkit.reports.dossier import minisign

    public = path.with_name(f"{path.name}.pub")
    if found := next((p for p in (path, public) if p.exists()), None):
        raise ConfigError(f"{found} exists; a key is never replaced. Leave new=true out, or give another name.")
    key = minisign.new_key()
    path.parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(key.file)
    write_whole(public, key.public.file)
    console.note(f"{path} is the secret key, without a password (`minisign -C -s {path}` sets one); {public} checks it")


def _password(path: Path) -> str:
    if PASSWORD in os.environ:
        return os.environ[PASSWORD]
    if not sys.stdin.isatty():
        raise ConfigError(f"key={path} has a password; set {PASSWORD}, or start the command in a terminal.")
    return getpass.getpass(f"Password of {path}: ")
