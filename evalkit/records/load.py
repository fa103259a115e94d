"""Loader of prediction files: the kind of file is detected by its bytes, not by its name."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path

from evalkit.core.archives import DAMAGE, check_archive
from evalkit.core.errors import DataError
from evalkit.records import sheets, tables, text
from evalkit.records.archive import json_members
from evalkit.records.base import RawFile
from evalkit.records.encoding import decode
from evalkit.records.json_array import stream_array

_PICKLES = frozenset((".pkl", ".pickle", ".pt", ".pth", ".npy", ".npz", ".joblib", ".bin"))
_IN_FOLDERS = ("predictions.jsonl", "scenario_state.json", "results.json", "predictions.json")


def load(path: Path, sheet_of: sheets.SheetChoice = sheets.first_sheet) -> RawFile:
    """Load a predictions file, or the only one in a folder.  Raises DataError if it cannot be read.

    sheet_of: chooses the sheet of a workbook.
    """
    path = _file_in(path) if path.is_dir() else path
    if not path.is_file():
        raise DataError(f"{path}: no such file. Expected a predictions file.")
    with path.open("rb") as file:
        head = file.read(12)
    if path.suffix.lower() in _PICKLES or (head[:1] == b"\x80" and head[1:2] in b"\x02\x03\x04\x05"):
        raise DataError(
            f"{path}: pickles and similar formats are not opened, because loading them can run code. Export the "
            "answers as JSON lines or CSV from the tool that wrote the file."
        )
    if not head:
        raise DataError(f"{path}: the file is empty.")
    if head[8:] == b"DUCK":
        raise DataError(
            f"{path}: a DuckDB database, which is not read. Export the table with the answers: of KARMA's cache, "
            "COPY inference_results TO 'karma.parquet' in duckdb; then give that file."
        )
    if head[:8] == b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1":
        raise DataError(f"{path}: a workbook in the old .xls format, or one with a password. Save it as .xlsx or CSV.")
    if head[:4] == b"PAR1":
        return tables.parse_parquet(path)
    if head[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        return _zip(path, sheet_of)
    for stream in (text.stream_lines, stream_array, tables.stream_csv):
        if (streamed := stream(path)) is not None:
            return streamed
    return parse_text(path)


def parse_text(path: Path) -> RawFile:
    """Parse JSON, JSON lines or a table whose text is held as a whole: what no reader of a stream can read."""
    content, notes = decode(path.read_bytes(), path)
    if not content.strip():
        raise DataError(f"{path}: the file contains only white space.")
    raw = text.parse_json(content, path) or tables.parse_csv(lambda: tables.lines_of(content), path)
    return replace(raw, notes=(*notes, *raw.notes))


def _file_in(folder: Path) -> Path:
    found = [folder / name for name in _IN_FOLDERS if (folder / name).is_file()]
    if len(found) != 1:
        content = f"it contains {' and '.join(f.name for f in found)}" if found else "it contains none of them"
        raise DataError(
            f"{folder}: a folder must contain exactly one of {', '.join(_IN_FOLDERS)}; {content}. Give the path of the "
            "file itself."
        )
    return found[0]


def _zip(path: Path, sheet_of: sheets.SheetChoice) -> RawFile:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            if "xl/workbook.xml" in names:
                check_archive(archive)
    except DAMAGE as e:
        raise DataError(f"{path}: damaged zip archive ({e}); it may be truncated. Copy or write it again.") from None
    if "xl/workbook.xml" in names:
        return sheets.parse_xlsx(path, sheet_of)
    if "content.xml" in names and "mimetype" in names:
        raise DataError(f"{path}: an OpenDocument sheet, which is not read. Save it as .xlsx or CSV.")
    return RawFile(path=path, kind="archive", members=lambda prefix: json_members(path, prefix))
