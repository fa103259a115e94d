"""Text in Markdown: escaped, as code, as a link."""

from __future__ import annotations

import re


def escape(text: str) -> str:
    r"""Text that Markdown shows unchanged, on one line.

    >>> print(escape("open_f1|b <script> _x_"))
    open_f1\|b &lt;script> \_x\_
    """
    plain = " ".join(str(text).split()).replace("&", "&amp;").replace("<", "&lt;")
    # An underscore inside a word is not emphasis.
    return re.sub(r"[\\`*|\[\]]|(?<!\w)_|_(?!\w)", lambda found: f"\\{found[0]}", plain)


def code(text: str) -> str:
    """Text for between two backticks.

    >>> code("a `b`")
    "a 'b'"
    """
    return " ".join(text.split()).replace("`", "'")


def link(text: str, address: str) -> str:
    """A link, or the text alone where the address is empty.

    >>> link("a page", "results/a b.json"), link("a page", "")
    ('[a page](results/a%20b.json)', 'a page')
    """
    clean = address.replace(" ", "%20").replace("(", "%28").replace(")", "%29").replace("<", "%3C").replace("|", "%7C")
    return f"[{escape(text)}]({clean})" if address else escape(text)
