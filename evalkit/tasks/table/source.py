"""Rows of a table: a file, the file of a split in a folder, or a dataset of the Hugging Face hub."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from evalkit.core.errors import ConfigError, DataError, first_line
from evalkit.records.base import PackedRecords, RawFile, Record, check_whole
from evalkit.records.load import load
from evalkit.records.nested import TURNS, nested_records, with_turns
from evalkit.records.sheets import SheetChoice
from evalkit.tasks.formats import SPLIT_NAMES, names_split
from evalkit.tasks.table.class_names import class_names, names_of_features, with_class_names
from evalkit.tasks.table.named_splits import SheetOfSplit, with_split_column

ENDINGS = (".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".parquet", ".xlsx", ".txt")
# A column that tables of several files have: the name of the file without its ending.
FILE = "file"
# Files of a folder that the datasets library wrote with `save_to_disk`: of several splits, or of one.
_SAVED = (("dataset_dict.json",), ("dataset_info.json", "state.json"))
_WHOLE = re.compile(r"-?\d{1,15}\.0")
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A table.

    where: the file or the dataset, for messages.  folder: where relative paths of images start.  names: its columns in
    order.  records: reads the rows anew at each call; parquet and hub rows are read a few at a time.  split: the split
    that the source itself names (a file's name, the hub's split), None where it names none.  is_text: its cells are
    texts of a CSV or TSV, which a spreadsheet program may have changed.
    """

    where: str
    folder: Path
    names: Sequence[str]
    records: Callable[[], Iterable[Record]]
    split: str | None = None
    notes: tuple[str, ...] = ()
    is_text: bool = False


def open_source(path: str, *, split: str, revision: str | None, subset: str | None) -> Source:
    """The table at a path, or of a dataset on the hub.

    Raises:
        DataError: there is no such file or dataset, or several files of the split.
    """
    local = Path(path).expanduser()
    if local.is_dir() and any(all((local / name).is_file() for name in names) for names in _SAVED):
        return _of_saved(local, split)
    if local.is_dir():
        return _of_files(_in_folder(local, split), split)
    if local.is_file():
        return _of_files([local], split)
    if is_hub_id(path):
        return _of_hub(path, split, revision, subset)
    raise DataError(
        f"task.path={path}: no such file or folder, and not the id of a dataset on the hub (OWNER/NAME). Expected a "
        "CSV, TSV, JSON, JSONL, Parquet or XLSX file."
    )


def is_hub_id(path: str) -> bool:
    """Whether a path is the id of a dataset on the hub, OWNER/NAME, and no file or folder here."""
    return bool(_HUB_ID.fullmatch(path)) and not path.endswith(ENDINGS) and not Path(path).expanduser().exists()


def open_files(path: str, patterns: Sequence[str], *, split: str) -> Source:
    """The table whose rows are in the files of a folder that match the patterns, one after the other.

    Args:
        path: the folder, where relative paths of images start as well; or one file, which is read alone.
        split: the split that all of these files are.

    Raises:
        DataError: there is no such folder, or a pattern matches no file.
    """
    folder = Path(path).expanduser()
    if folder.is_file():
        return replace(_of_files([folder], split), split=split)
    if not folder.is_dir():
        raise DataError(f"task.path={path}: no such file or folder.")
    found: dict[str, list[Path]] = {p: sorted(f for f in folder.glob(p) if f.is_file()) for p in patterns}
    if missing := [pattern for pattern, files in found.items() if not files]:
        raise DataError(
            f"task.path={path}: no file {missing[0]} in this folder. Give the folder that holds it, or the file itself."
        )
    return replace(_of_files([f for files in found.values() for f in files], split, folder), split=split)


def _in_folder(folder: Path, split: str) -> list[Path]:
    """The files of a split in a folder (and in its folder `data`); parts of one parquet table belong together."""
    inside = [folder, folder / "data"]
    found = [p for d in inside if d.is_dir() for p in sorted(d.iterdir()) if p.suffix.lower() in ENDINGS[:-1]]
    named = [p for p in found if names_split(p, split)]
    other = [p for p in found if not any(names_split(p, s) for s in SPLIT_NAMES)]
    chosen = named or other
    parts = {re.sub(r"-\d{5}-of-\d{5}", "", p.stem) + p.suffix for p in chosen}
    if len(chosen) == 1 or (len(parts) == 1 and len({p.parent for p in chosen}) == 1):
        _check_parts(chosen)
        return chosen
    if not chosen:
        raise DataError(f"task.path={folder}: no table of the split {split} in this folder. Give the path of the file.")
    shown = ", ".join(p.name for p in chosen[:6])
    raise DataError(f"task.path={folder}: several tables ({shown}). Give the path of one of them.")


def _check_parts(files: Sequence[Path]) -> None:
    """Check that the parts of a table are all there."""
    stated = {int(m[1]) for p in files if (m := re.search(r"-\d{5}-of-(\d{5})$", p.stem))}
    if stated and stated != {len(files)}:
        raise DataError(f"{files[0].parent}: {len(files)} of {max(stated)} parts of {files[0].name}. Copy all of them.")


def _of_files(files: Sequence[Path], split: str, folder: Path | None = None) -> Source:
    """The table of one file, or of the parts of one.

    split: chooses the sheet of a workbook.  folder: where images start; None: beside the (first) file.
    """
    shared: dict[str, Any] = {
        "where": f"{folder} ({len(files)} files)" if folder and len(files) > 1 else str(files[0]),
        "folder": folder or files[0].parent,
        "split": next((s for s in SPLIT_NAMES if names_split(files[0], s)), None),
    }
    if all(_is_parquet(f) for f in files):
        names = dict.fromkeys(name for f in files for name in _parquet_names(f))
        return _turns_apart(Source(names=tuple(names), records=lambda: _parquet_rows(files), **shared))
    sheets = SheetOfSplit(split, shared["where"])
    raws = [_read(f, sheets) for f in files]
    shared["split"] = split if sheets.named else shared["split"]
    names = dict.fromkeys(name for raw in raws for name in raw.records.names)
    names |= {FILE: None} if len(raws) > 1 else {}
    notes = tuple(dict.fromkeys(note for raw in raws for note in raw.notes))
    is_text = any(raw.cells == "table" for raw in raws)
    return _turns_apart(
        Source(names=tuple(names), records=lambda: _joined(raws), notes=notes, is_text=is_text, **shared)
    )


def _turns_apart(source: Source) -> Source:
    """A table of conversations (LLaVA's form) as one with the columns question and answer."""
    if TURNS not in source.names or {"question", "answer"} & set(source.names):
        return source
    names = [name for name in source.names if name != TURNS]
    records = source.records
    return replace(source, names=(*names, "question", "answer"), records=lambda: map(with_turns, records()))


def _read(path: Path, sheet_of: SheetChoice) -> RawFile:
    """A file as records.  Raises DataError where it is cut off, or no table."""
    raw = load(path, sheet_of)
    if raw.kind == "whole" and raw.whole is not None and (records := nested_records(raw.whole)):
        return replace(raw, kind="records", records=PackedRecords(with_split_column(records)))
    if raw.cells == "table":
        raw = replace(raw, records=PackedRecords(map(_as_numbers, raw.records)))
    check_whole(raw)
    if raw.kind != "records" or not raw.records:
        archive = (
            " It is an archive: unpack it, and give the table or the folder in it."
            if path.suffix.lower() == ".zip"
            else ""
        )
        raise DataError(
            f"{path}: expected a table: a header line and rows, a JSON list of objects, an object of such lists, or "
            f"JSON lines.{archive}"
        )
    return raw


def _as_numbers(record: Record) -> Record:
    """A row of a CSV with 5.0 as 5: a data frame writes whole numbers so beside an empty cell; other forms have 5."""
    if not any(isinstance(value, str) and _WHOLE.fullmatch(value) for value in record.fields.values()):
        return record
    fields = {
        name: value[:-2] if isinstance(value, str) and _WHOLE.fullmatch(value) else value
        for name, value in record.fields.items()
    }
    return Record(row=record.row, fields=fields)


def _joined(raws: Sequence[RawFile]) -> Iterable[Record]:
    """The records of all files; those of several are numbered on through all of them, and have the file's name."""
    if len(raws) == 1:
        return raws[0].records
    every = ({FILE: raw.path.stem, **record.fields} for raw in raws for record in raw.records)
    return (Record(row=k, fields=fields) for k, fields in enumerate(every, 1))


def _is_parquet(path: Path) -> bool:
    """Whether a file is parquet, by its first bytes."""
    with path.open("rb") as file:
        return file.read(4) == b"PAR1"


def _parquet_names(path: Path) -> tuple[str, ...]:
    """The columns of a parquet file.  Raises DataError where it cannot be read."""
    import pyarrow

    from evalkit.core.parquet import open_parquet

    try:
        with open_parquet(path) as file:
            return tuple(file.schema_arrow.names)
    except (OSError, ValueError, pyarrow.ArrowException) as problem:
        raise DataError(f"{path}: not a readable parquet file ({first_line(problem)}).") from None


def _parquet_rows(files: Sequence[Path]) -> Iterator[Record]:
    """The rows of parquet files, read a few at a time and numbered from 1 through all of them."""
    import pyarrow

    from evalkit.core.parquet import open_parquet, parquet_records

    number = 0
    for path in files:
        try:
            with open_parquet(path) as file:
                classes = class_names(file.schema_arrow.metadata)
                for row in parquet_records(file):
                    number += 1
                    yield Record(row=number, fields=with_class_names(row, classes))
        except (OSError, ValueError, pyarrow.ArrowException) as problem:
            raise DataError(f"{path}: not a readable parquet file ({first_line(problem)}).") from None


def _of_hub(repo: str, split: str, revision: str | None, subset: str | None) -> Source:
    """A split of a dataset on the hub, at the commit that the revision names now.  Raises DataError where it cannot be
    read, ConfigError where it has no such split."""
    from datasets import get_dataset_split_names, load_dataset
    from datasets.exceptions import DatasetsError
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    # Time-outs and proxy errors are raised as the base error of the hub's HTTP library, whichever that is.
    transport = [base for base in HfHubHTTPError.__bases__ if issubclass(base, Exception)]
    failures: tuple[type[Exception], ...] = (*transport, DatasetsError, OSError, ValueError)

    try:
        commit = HfApi().dataset_info(repo, revision=revision).sha
        known = get_dataset_split_names(repo, subset, revision=commit)
        # A dataset may have both `dev` and `validation`, so the exact name comes first.
        chosen = next((s for s in (split, *known) if s in known and s in SPLIT_NAMES.get(split, (split,))), None)
        if chosen is None:
            raise ConfigError(
                f"{repo} has no split {split}; it has {', '.join(known)}. Choose one with task.split=NAME."
            )
        data = load_dataset(repo, subset, split=chosen, revision=commit)
    except ConfigError:
        raise
    except failures as problem:
        raise DataError(
            f"task.path={repo}: no such file here, and the dataset could not be read from the hub "
            f"({type(problem).__name__}: {first_line(problem)}). Check the id, task.subset and the network, or give "
            "the path of a local copy."
        ) from None
    note = f"{repo} ({chosen}) at commit {commit}"
    if revision is None:
        note += f"; task.revision={commit} pins it"
    return _of_dataset(data, f"{repo} ({chosen})", Path(), split, (note,))


def _of_saved(folder: Path, split: str) -> Source:
    """The table in a folder of the datasets library (`save_to_disk`).

    Raises:
        DataError: it cannot be read, or has no such split.
    """
    from datasets import DatasetDict, load_from_disk

    try:
        data = load_from_disk(str(folder))
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise DataError(
            f"task.path={folder}: a folder of the datasets library that cannot be read ({type(problem).__name__}: "
            f"{first_line(problem)}). Copy it whole, with its .arrow files."
        ) from None
    if not isinstance(data, DatasetDict):
        return _of_dataset(data, str(folder), folder, next((s for s in SPLIT_NAMES if names_split(folder, s)), None))
    chosen = next((s for s in (split, *data) if s in data and s in SPLIT_NAMES.get(split, (split,))), None)
    if chosen is None:
        raise DataError(f"{folder} has no split {split}; it has {', '.join(data)}. Choose one with task.split=NAME.")
    return _of_dataset(data[chosen], f"{folder} ({chosen})", folder, split)


def _of_dataset(data: Any, where: str, folder: Path, split: str | None, notes: tuple[str, ...] = ()) -> Source:
    """A dataset of the datasets library as a table; its images stay bytes or paths, its classes get their names."""
    from datasets import Image

    for name, feature in data.features.items():
        if isinstance(feature, Image):
            data = data.cast_column(name, Image(decode=False))
    classes = names_of_features(data.features.to_dict())
    return _turns_apart(
        Source(
            where=where,
            folder=folder,
            names=tuple(data.column_names),
            records=lambda: (Record(row=k, fields=with_class_names(row, classes)) for k, row in enumerate(data, 1)),
            split=split,
            notes=notes,
        )
    )
