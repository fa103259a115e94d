"""Text files in UTF-8 or in the encoding of their byte order mark, whole or line by line."""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, TextIO

from evalkit.core.errors import DataError

_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def decode(content: bytes, path: Path) -> tuple[str, list[str]]:
    """The text of a file in UTF-8 or in the encoding of its byte order mark, and notes.  Raises DataError otherwise."""
    encoding = _encoding(content)
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as e:
        raise DataError(
            f"{path}: byte {e.start} (line {content[: e.start].count(10) + 1}) is not {encoding.upper()}, and "
            "no byte order mark names another encoding. Guessing the encoding could change answers: convert the "
            f"file, for example with `iconv -f WINDOWS-1252 -t UTF-8 {path.name}`."
        ) from None
    if "\x00" in text:
        raise DataError(
            f"{path}: contains zero bytes, so it is not a text file in a known encoding. Convert it to UTF-8."
        )
    return text, _encoding_notes(encoding)


def _encoding(head: bytes) -> str:
    """The encoding of a file by its first bytes."""
    return next((name for bom, name in _BOMS if head.startswith(bom)), "utf-8")


def _encoding_notes(encoding: str) -> list[str]:
    return [] if encoding == "utf-8" else [f"byte order mark read as {encoding.removesuffix('-sig').upper()}"]


class OpenedText(NamedTuple):
    """A text file that was opened, and what is to be noted about its encoding."""

    file: TextIO
    notes: list[str]


def open_text(path: Path, newline: str) -> OpenedText:
    """Open a file in UTF-8 or in the encoding of its byte order mark.

    newline: "\n" to split its lines at LF alone, "" at CR, LF and CRLF; their ends are kept.
    """
    with path.open("rb") as file:
        encoding = _encoding(file.read(4))
    return OpenedText(path.open(encoding=encoding, newline=newline), _encoding_notes(encoding))


def without_zeros(lines: Iterable[str]) -> Iterator[str]:
    """The lines.  Raises UnicodeError at a zero byte, which is another encoding's."""
    for line in lines:
        if "\x00" in line:
            raise UnicodeError("a zero byte")
        yield line
