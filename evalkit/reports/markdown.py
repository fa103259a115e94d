"""Text in Markdown: escaped, as code, as a link."""

from __future__ import annotations

import re
from collections.abc import Sequence

from evalkit.core.plain_text import one_line


def escape(text: str) -> str:
    r"""Text that Markdown shows unchanged, on one line.

    >>> print(escape("open_f1|b <script> _x_"))
    open_f1\|b &lt;script> \_x\_
    """
    plain = one_line(str(text)).replace("&", "&amp;").replace("<", "&lt;")
    # An underscore inside a word is not emphasis.
    return re.sub(r"[\\`*|\[\]]|(?<!\w)_|_(?!\w)", lambda found: f"\\{found[0]}", plain)


def code(text: str) -> str:
    """Text for between two backticks.

    >>> code("a `b`")
    "a 'b'"
    """
    return one_line(text).replace("`", "'")


def without_html(text: str) -> str:
    """A text that may be Markdown itself (a note of a published table), without HTML, on one line.

    >>> without_html("see `a` <script>")
    'see `a` &lt;script>'
    """
    return one_line(text).replace("<", "&lt;")


def link(text: str, address: str) -> str:
    """A link, or the text alone where the address is empty.

    >>> link("a page", "results/a b.json"), link("a page", "")
    ('[a page](results/a%20b.json)', 'a page')
    """
    clean = (
        one_line(address)
        .replace(" ", "%20")
        .replace("(", "%28")
        .replace(")", "%29")
        .replace("<", "%3C")
        .replace("|", "%7C")
    )
    return f"[{escape(text)}]({clean})" if address else escape(text)


def table(header: Sequence[str], rows: Sequence[Sequence[str]], align: str = "") -> list[str]:
    """The lines of a table whose cells are Markdown.

    Args:
        align: one letter a column, r for right; empty: as the reader's program aligns.

    >>> table(["a", "b"], [["1", "2"]], "lr")
    ['| a | b |', '|---|---:|', '| 1 | 2 |']
    """
    rules = ["---:" if letter == "r" else "---" for letter in align or "l" * len(header)]
    return [_line(header), "|" + "|".join(rules) + "|", *map(_line, rows)]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
