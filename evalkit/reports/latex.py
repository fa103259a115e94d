"""LaTeX tables with booktabs rules, every cell escaped."""

from __future__ import annotations

import re
import textwrap
import unicodedata
from collections.abc import Sequence

# For text mode of any engine: characters with a meaning in LaTeX, and those that its default fonts lack or change.
_CHARACTERS = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "_": r"\_", "%": r"\%",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': "''", "`": r"\textasciigrave{}", "–": "--", "—": "---", "…": r"\ldots{}",
    "×": r"$\times$", "±": r"$\pm$", "≠": r"$\neq$", "≤": r"$\leq$", "≥": r"$\geq$", "−": "$-$", "·": r"$\cdot$",
    "→": r"$\rightarrow$", "κ": r"$\kappa$",
}  # fmt: skip
# The last letter that pdfLaTeX's fonts have (Latin Extended-A), with the encoding T1.
LAST_LETTER = 0x17F
# Letters of a heading that is one line.
LONGEST_HEADING = 15
_TRANSLATION = str.maketrans(_CHARACTERS)


class Raw(str):
    """LaTeX code, which is not escaped."""

    __slots__ = ()


def escape(text: str) -> str:
    r"""Text as LaTeX prints it: special characters escaped, white space single, control characters left out.

    >>> escape("50 % of model_a & b, --x"), escape("a\n b")
    ('50 \\% of model\\_a \\& b, -\\/-x', 'a b')
    """
    if isinstance(text, Raw):
        return str(text)
    clean = " ".join(unicodedata.normalize("NFC", text).split())
    if not clean.isprintable():
        clean = "".join(c for c in clean if c.isprintable())
    # Two hyphens would become a dash, two commas or apostrophes a quotation mark; in LuaTeX in spite of braces.
    separated = re.sub(r"([-,'])(?=\1)", "\\1\0", clean)
    return separated.translate(_TRANSLATION).replace("\0", r"\/")


def table(
    header: Sequence[str],
    rows: Sequence[Sequence[str] | None],
    align: str = "",
    caption: str = "",
    label: str = "",
    notes: Sequence[str] = (),
    dense: bool = False,
) -> str:
    r"""A table environment, ready to paste; needs `\usepackage{booktabs}`.

    Args:
        rows: cells as text, one for each heading; None draws a rule between groups.
        align: one letter a column; empty: left for the first column, right for the others.
        notes: lines below the table.
        dense: in small type with narrow gaps, for many columns.

    Raises:
        ValueError: a row or `align` has another number of columns than the header.
    """
    letters = align or "l" + "r" * (len(header) - 1)
    for row in (header, letters, *(r for r in rows if r is not None)):
        if len(row) != len(header):
            raise ValueError(f"expected {len(header)} columns, found {len(row)}: {list(row)}")
    lines = [r"% needs \usepackage{booktabs}", r"\begin{table}", r"\centering"]
    # A label is no text: a character that LaTeX acts on would end it.
    label = re.sub(r"[^A-Za-z0-9:._-]", "-", label)
    lines += [rf"\caption{{{escape(caption)}}}"] * bool(caption) + [rf"\label{{{label}}}"] * bool(label)
    lines += [r"\footnotesize", r"\setlength{\tabcolsep}{3pt}"] * dense
    heads = [_heading(text, letter) for text, letter in zip(header, letters, strict=True)]
    lines += [rf"\begin{{tabular}}{{{letters}}}", r"\toprule", _line(heads), r"\midrule"]
    lines += [r"\midrule" if row is None else _line(row) for row in rows]
    lines += [r"\bottomrule", r"\end{tabular}"]
    lines += [rf"\par\footnotesize {escape(note)}" for note in notes]
    # pdfLaTeX has no letters of most scripts and stops at each.
    others = "".join(sorted({c for line in lines for c in line if ord(c) > LAST_LETTER}))
    lines[1:1] = [f"% needs XeLaTeX or LuaLaTeX and a font that has {others}"] * bool(others)
    return "\n".join([*lines, r"\end{table}"]) + "\n"


def _heading(text: str, letter: str) -> str:
    r"""A long heading in lines as narrow as its longest word, so that it does not make its column wide.

    >>> _heading("vqa-rad closed_accuracy (strict)", "r"), _heading("95 % interval", "r")
    ('\\shortstack[r]{vqa-rad\\\\closed\\_accuracy\\\\(strict)}', '95 % interval')
    """
    if len(text) <= LONGEST_HEADING or isinstance(text, Raw):
        return text
    lines = textwrap.wrap(text, max(map(len, text.split())), break_on_hyphens=False)
    if len(lines) < 2:
        return text
    stacked = r"\\".join(_protected(escape(line)) for line in lines)
    return Raw(rf"\shortstack[{letter}]{{{stacked}}}")


def _protected(line: str) -> str:
    """A line whose first sign is no argument of the line end before it: a bracket or a star."""
    return ("{}" if line[:1] in ("[", "*") else "") + line


def _line(cells: Sequence[str]) -> str:
    return _protected(" & ".join(escape(cell) for cell in cells)) + r" \\"
