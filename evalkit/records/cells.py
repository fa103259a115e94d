"""Values of spreadsheet cells: escapes decoded, displayed text restored, and what a spreadsheet changed found."""

from __future__ import annotations

import datetime
import re
from fractions import Fraction
from typing import Any

from evalkit.records.base import BadCell

# ECMA-376, part 1, 22.9.2.19: a character that XML cannot hold is written as _xHHHH_, and a literal _x as _x005F_x.
_ESCAPE = re.compile(r"_x([0-9A-Fa-f]{4})_")
# The same in CSV and JSON files, which a program made from a sheet without decoding it; control characters only.
_CONTROL_ESCAPE = re.compile(r"_x(000[9AaBbCcDd])_")
ERRORS = frozenset(
    (
        "#N/A", "#NAME?", "#REF!", "#VALUE!", "#DIV/0!", "#NUM!", "#NULL!", "#SPILL!", "#CALC!", "#GETTING_DATA",
        "#FIELD!", "#BLOCKED!", "#CONNECT!",
    )
)  # fmt: skip
_MONTHS = "jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec"
# How Excel writes "1-2", "2/1" and "1-2002" to CSV after it converted them to dates.
_EXCEL_DATE = re.compile(rf"\d{{1,2}}-(?:{_MONTHS})|(?:{_MONTHS})-\d{{2}}", re.IGNORECASE)
_MONTH = re.compile(rf"\b(?:{_MONTHS})", re.IGNORECASE)
_EXCEL_NUMBER = re.compile(r"\d(?:\.\d+)?E[+-]\d{2,3}")
_FILLED = re.compile(r"#{3,}")
# A formula that calculates: a function call, or a reference to a cell.  "=left lobe" is a text that starts with "=".
_CALCULATES = re.compile(r"[A-Za-z_.][\w.]*\(|(?<![\w.])\$?[A-Za-z]{1,3}\$?[1-9]\d{0,6}(?![\w.])")
_EXACT_DIGITS = 10**15  # spreadsheets keep 15 digits of a number
_PLAIN_FORMAT = re.compile(r"General|@|[#,]*0(?:\.0+)?(?:_\)|_-)?|[#,]*#(?:\.#+)?", re.IGNORECASE)
_SAY_TEXT = "Write the answers as text: set the column's format to Text before they are entered, or use JSON lines."


def decoded(text: str) -> str:
    """The text of a cell of a workbook, with its escapes (`_x000D_`, `_x005F_`) replaced by their characters."""
    return _ESCAPE.sub(lambda m: chr(int(m[1], 16)), text) if "_x" in text else text


def control_decoded(text: str) -> str:
    """The text with the escapes of line breaks and tabs replaced, for files that were made from a sheet."""
    return _CONTROL_ESCAPE.sub(lambda m: chr(int(m[1], 16)), text) if "_x000" in text else text


def calculates(formula: str) -> bool:
    """Whether a cell's formula calculates something; else it is a text that starts with "="."""
    return bool(_CALCULATES.search(formula))


def formula_value(formula: str, stored: Any, recalculates: bool, cell: str) -> Any:
    """The value of a cell with a formula: its stored result, or the text itself if it calculates nothing.

    recalculates: the workbook asks to be calculated when it is opened, so that a stored 0 is no result.
    """
    unknown = stored is None or (recalculates and stored == 0 and not isinstance(stored, bool))
    if not calculates(formula):
        return formula if unknown or not isinstance(stored, str) else stored
    if unknown:
        return BadCell(
            f"cell {cell} holds the formula {formula[:60]!r} without a stored result. Open the workbook in a "
            "spreadsheet program and save it, or replace the formulas by their values."
        )
    return stored


def error_cell(text: str, cell: str) -> BadCell:
    """The bad cell for an error value."""
    return BadCell(f"{cell} holds the error value {text}, not an answer: the spreadsheet has replaced the text by it.")


def cell_number(value: float, number_format: str, cell: str) -> Any:
    """A number as the sheet shows it, where the format changes its digits; a BadCell where the text is lost."""
    plain = number_format.split(";")[0].strip()
    if value == int(value) and abs(value) >= _EXACT_DIGITS:
        return BadCell(
            f"cell {cell} holds a number of more than 15 digits, of which a spreadsheet keeps 15. {_SAY_TEXT}"
        )
    if _PLAIN_FORMAT.fullmatch(plain) and "," not in plain:
        return value
    if re.fullmatch(r"0{2,}", plain) and value == int(value) >= 0:
        return str(int(value)).zfill(len(plain))
    if re.fullmatch(r"#,##0(\.0+)?", plain):
        return f"{value:,.{len(plain.partition('.')[2])}f}"
    if percent := re.fullmatch(r"0(?:\.(0+))?%", plain):
        return f"{value * 100:.{len(percent[1] or '')}f}%"
    if halves := re.fullmatch(r"#\s+(\?+)/\?+", plain):
        return _fraction(value, 10 ** len(halves[1]) - 1)
    return BadCell(
        f"cell {cell} holds the number {value} in the format {number_format!r}: the spreadsheet has converted a text "
        f"to it, and the original text is lost. {_SAY_TEXT}"
    )


def _fraction(value: float, largest: int) -> str:
    fraction = Fraction(value).limit_denominator(largest)
    whole, rest = divmod(abs(fraction.numerator), fraction.denominator)
    parts = [str(whole)] if whole or not rest else []
    parts += [f"{rest}/{fraction.denominator}"] if rest else []
    return ("-" if value < 0 else "") + " ".join(parts)


def date_cell(value: datetime.date | datetime.time | datetime.timedelta, cell: str) -> BadCell:
    """The bad cell for a date or time."""
    return BadCell(
        f"the spreadsheet has converted this cell to a date or time ({cell}, {value}); the original text, such as 1-2 "
        f"or 1/2, is lost. {_SAY_TEXT}"
    )


def table_problem(text: str, reference: str | None) -> str | None:
    """Describe damage by a spreadsheet program to a text of a CSV or TSV file; None if there is none.

    reference: the gold answer; a gold answer with a month makes a date a plausible answer.
    """
    plain = text.strip()
    if plain in ERRORS:
        return f"holds the error value {plain}, not an answer: a spreadsheet program has replaced the text by it."
    if _FILLED.fullmatch(plain):
        return (
            f"holds {plain[:12]!r}, which a spreadsheet program writes for a number that its column is too narrow for."
        )
    if _EXCEL_DATE.fullmatch(plain) and not _MONTH.search(reference or ""):
        return (
            f"holds {plain!r}: a spreadsheet program has converted a text such as 1-2 to a date, and the original is "
            "lost. If the model did write it, give the answers as JSON lines."
        )
    if _EXCEL_NUMBER.fullmatch(plain):
        return (
            f"holds {plain!r}: a spreadsheet program has shortened a number. If the model did write it, give the "
            "answers as JSON lines."
        )
    return None
