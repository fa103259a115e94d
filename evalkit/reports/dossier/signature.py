"""The signature of a dossier: over its hash chain, and so over every file.

It is beside the chain and not in it, as it is made after it.  The trusted comment names the public key, so that a
change of the signature itself is found without the key at hand; whose key it is, only a key from elsewhere says.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path

from evalkit.core.errors import ConfigError, DataError, Partial
from evalkit.core.files import write_whole
from evalkit.reports.dossier import minisign
from evalkit.reports.dossier.chain import NAME, SIGNATURE, verify_chain

_PUBLIC = re.compile(r"public key (RW[A-Za-z0-9+/=]{54})$")


def sign_dossier(folder: Path, key: minisign.SecretKey) -> Path:
    """Sign a dossier whose chain agrees with its files; returns the signature's file.

    Raises:
        ConfigError: it is signed already.
        DataError: a file was changed since the dossier was made.
    """
    path = folder / SIGNATURE
    if path.exists():
        raise ConfigError(f"{path} exists: the dossier is signed. Remove the file to sign it anew.")
    head = verify_chain(folder)
    run = str(json.loads((folder / "dossier.json").read_bytes()).get("run_id", ""))
    shown = "".join(c if c.isprintable() else " " for c in run)
    when = datetime.now(UTC).isoformat(timespec="seconds")
    comment = f"evalkit dossier of {shown}, head {head}, signed {when}, public key {key.public.text}"
    write_whole(path, minisign.sign((folder / NAME).read_bytes(), key, comment))
    return path


def verify_signature(folder: Path, key: minisign.PublicKey | None) -> str | None:
    """Check the signature of a dossier; returns who signed what, or None where it has none and none is asked for.

    Args:
        key: the signer's, from elsewhere; None to check the signature against the key that it names itself.

    Raises:
        DataError: there is no signature although a key is given, it was changed, or it is of another key.
        ConfigError: it names no key, and none is given.
        Partial: it cannot be checked without the extra.
    """
    path = folder / SIGNATURE
    if not path.is_file():
        if key is not None:
            raise DataError(f"{folder} is not signed: it has no {SIGNATURE}.")
        return None
    try:
        minisign.require()
    except ConfigError as problem:
        raise Partial(f"The files of {folder} are unchanged; its signature was not checked. {problem}") from problem
    try:
        text = path.read_bytes().decode("utf-8")
        named = _PUBLIC.search(minisign.trusted_comment(text))
        if key is None and named is None:
            raise ConfigError(f"{path} does not name its key: give the signer's public key with key=FILE.")
        used = key if key is not None else minisign.read_public_key(named[1] if named else "")
        comment = minisign.check((folder / NAME).read_bytes(), text, used)
    except UnicodeDecodeError as problem:
        raise DataError(f"{path} is no text: it was changed.") from problem
    except DataError as problem:
        raise DataError(f"{folder} is not what was signed: {problem}.") from problem
    return f"signed with the key {minisign.shown_id(used.key_id)}: {comment}"
