"""The API key in texts of a server: found in its usual encodings and replaced."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from html.entities import html5

Redact = Callable[[str], str]

REPLACEMENT = "[key]"
# Characters.  A shorter value ("none", "EMPTY") is a placeholder that ordinary words contain, and no secret.
SHORTEST_SECRET = 8
# Characters that can stand in a word of base64; the whole word around a key is replaced, its ends hold bits of the key.
_BASE64 = re.compile(r"[A-Za-z0-9+/_=-]")


def redactor(key: str | None) -> Redact:
    """Make the function that replaces a key in a text.

    Each character of it may be as it is, percent-encoded, an HTML entity or an escape of JSON or C; the whole may be in
    hex or, with any text before and behind it, in base64.  A key of fewer than SHORTEST_SECRET characters is replaced
    after the word Bearer alone: answers must not change.

    >>> redactor("sk-0123456789")("Authorization: Bearer sk-0123456789"), redactor("none")("There are none.")
    ('Authorization: Bearer [key]', 'There are none.')
    """
    if not key:
        return lambda text: text
    if len(key) < SHORTEST_SECRET:
        pattern = re.compile(rf"(?<=Bearer ){re.escape(key)}(?!\w)")
        return lambda text: pattern.sub(REPLACEMENT, text)
    spelled = re.compile("".join(map(_spellings, key)))
    hexes = re.compile("[ :-]?".join(map(_hex, key.encode())))
    cores = _base64_cores(key)
    core = re.compile("|".join(map(re.escape, sorted(cores))))

    def redact(text: str) -> str:
        text = text.replace(key, REPLACEMENT)
        # Searching for all spellings takes ten times as long as looking whether there can be one.
        if any(mark in text for mark in "%=&\\"):
            text = spelled.sub(REPLACEMENT, text)
        text = hexes.sub(REPLACEMENT, text)
        return _without_words(core, text) if any(found in text for found in cores) else text

    return redact


def _spellings(char: str) -> str:
    """A pattern of one character as it is and in the encodings that keep characters apart.

    Possessive repeats keep it linear in whatever a server sends.
    """
    code = ord(char)
    names = "".join(f"|{re.escape(name)}" for name in sorted({n.rstrip(";") for n, v in html5.items() if v == char}))
    forms = (
        re.escape(char),
        "".join(rf"(?:%(?:25){{0,8}}+|=){_hex(byte)}" for byte in char.encode()),
        rf"&(?:amp;){{0,4}}+(?:#(?:[xX]0{{0,8}}+{_hex(code)}|0{{0,8}}+{code}){names});?",
        rf"\\{{1,8}}+(?:[ux]\{{?0{{0,6}}+{_hex(code)}\}}?|0{{0,2}}+{code:o}|{re.escape(char)})",
    )
    return f"(?:{'|'.join(forms)})"


def _hex(number: int) -> str:
    """A pattern of a number in hex, of at least two digits, in small or capital letters."""
    return "".join(f"[{digit}{digit.upper()}]" if digit.isalpha() else digit for digit in f"{number:02x}")


def _base64_cores(key: str) -> set[str]:
    """What the base64 of any text with the key in it has of the key, wherever the key begins in a group of 3 bytes."""
    content = key.encode()
    found = set()
    for before in range(3):
        whole = base64.b64encode(bytes(before) + content).decode()
        first = -(-before * 8 // 6)  # characters before it hold bits of what precedes the key
        core = whole[first : (before + len(content)) * 8 // 6]
        found |= {core, core.replace("+", "-").replace("/", "_")}
    return found


def _without_words(cores: re.Pattern[str], text: str) -> str:
    """The text with each word of base64 replaced in which a core occurs."""
    parts: list[str] = []
    end = 0
    for match in cores.finditer(text):
        if match.start() < end:  # in a word that is replaced already
            continue
        start, after = match.span()
        while start > end and _BASE64.match(text, start - 1):
            start -= 1
        while _BASE64.match(text, after):
            after += 1
        parts += [text[end:start], REPLACEMENT]
        end = after
    return "".join([*parts, text[end:]])
