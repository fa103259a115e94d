"""Names and texts of others, made harmless for terminals, tables and files: nothing in them is obeyed."""

from __future__ import annotations

import codecs
import unicodedata
from typing import Any

# Marks that turn the direction of writing, and so can show a name as another one.
_DIRECTION = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
# A spreadsheet takes a cell that begins with one of these for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
# Characters of evalkit's own texts for output streams that lack them.
_SUBSTITUTES = {
    "–": "-", "—": "-", "−": "-", "…": "...", "·": ".", "×": "x", "±": "+-", "≠": "!=", "≈": "~", "≤": "<=", "≥": ">=",
    "→": "->", "─": "-", "‘": "'", "’": "'", "“": '"', "”": '"',
}  # fmt: skip
ENCODING_ERRORS = "evalkit.substitute"


def is_hidden(character: str) -> bool:
    """Whether a character acts instead of being shown: controls, marks of direction, halves of surrogate pairs."""
    return character in _DIRECTION or unicodedata.category(character) in ("Cc", "Cs")


def visible(text: str) -> str:
    r"""Text for a terminal: characters that act are shown as escapes, but for line breaks and tabs.

    >>> print(visible("a\x1b[31mb"))
    a\x1b[31mb
    """
    if text.isprintable():
        return text
    return "".join(_escape(c) if is_hidden(c) and c not in "\n\t" else c for c in text)


def one_line(text: str) -> str:
    """Text for a table: white space single, characters that act left out.

    >>> one_line("a\\n  b\\x00c")
    'a bc'
    """
    if text.isprintable():
        return " ".join(text.split())
    return " ".join("".join(c for c in text if c.isspace() or not is_hidden(c)).split())


def spreadsheet_cell(value: Any) -> Any:
    """A value for a CSV that people open: a text that a spreadsheet would take for a formula begins with an apostrophe.

    Numbers are as they are, also those that are texts.

    >>> spreadsheet_cell("=1+1"), spreadsheet_cell("-0.50"), spreadsheet_cell(-0.5), spreadsheet_cell("–")
    ("'=1+1", '-0.50', -0.5, '–')
    """
    if not isinstance(value, str) or not value.startswith(_FORMULA):
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value


def _escape(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")


def _substitute(problem: UnicodeError) -> tuple[str, int]:
    """The error handler `ENCODING_ERRORS`: a substitute, or an escape, for what an output stream cannot show."""
    assert isinstance(problem, UnicodeEncodeError)
    found = problem.object[problem.start : problem.end]
    return "".join(_SUBSTITUTES.get(c) or _escape(c) for c in found), problem.end


codecs.register_error(ENCODING_ERRORS, _substitute)
