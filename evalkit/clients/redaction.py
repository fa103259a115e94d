"""The API key in texts of a server: found in its usual encodings and replaced."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from urllib.parse import quote

Redact = Callable[[str], str]

REPLACEMENT = "[key]"
# Characters.  A shorter value ("none", "EMPTY") is a placeholder that ordinary words contain, and no secret.
SHORTEST_SECRET = 8


def redactor(key: str | None) -> Redact:
    """Make the function that replaces a key in a text: as it is, percent-encoded, in hex or in base64.

    A key of fewer than SHORTEST_SECRET characters is replaced after the word Bearer alone: answers must not change.

    >>> redactor("sk-0123456789")("Authorization: Bearer sk-0123456789"), redactor("none")("There are none.")
    ('Authorization: Bearer [key]', 'There are none.')
    """
    if not key:
        return lambda text: text
    if len(key) < SHORTEST_SECRET:
        pattern = re.compile(rf"(?<=Bearer ){re.escape(key)}(?!\w)")
    else:
        # The longest first: one form may be a part of another.
        pattern = re.compile("|".join(map(re.escape, sorted(_forms(key), key=len, reverse=True))))
    return lambda text: pattern.sub(REPLACEMENT, text)


def _forms(key: str) -> set[str]:
    """The encodings of a key; base64 also as a part of an Authorization header, where its letters are others."""
    forms = {key, quote(key, safe=""), key.encode().hex(), key.encode().hex().upper()}
    for text in (key, f"Bearer {key}", f":{key}"):
        encoded = base64.b64encode(text.encode()).rstrip(b"=").decode()
        forms |= {encoded, encoded.replace("+", "-").replace("/", "_")}
    return forms
