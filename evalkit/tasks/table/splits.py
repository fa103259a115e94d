"""The records of a split, and of the rows that a set has of a larger table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from evalkit.records.base import Record
from evalkit.tasks.formats import SPLIT_NAMES
from evalkit.tasks.table.columns import TableColumns
from evalkit.tasks.table.source import Source
from evalkit.tasks.table.values import text_or_none


class RecordsOfSplit:
    """The records of a split that are part of the set; those of a table without a split column are of any split."""

    def __init__(self, source: Source, columns: TableColumns, split: str, keep: Mapping[str, frozenset[str]]) -> None:
        self.source, self.column, self.keep = source, columns.split, keep
        self.wanted = {name.lower() for name in SPLIT_NAMES.get(split, (split,))}
        self.found: Counter[str] = Counter()  # rows of each split, counted while they are read

    def __iter__(self) -> Iterator[Record]:
        self.found.clear()
        for record in self.source.records():
            if self.column is not None:
                split = self._text(record, self.column)
                self.found[split or "(empty)"] += 1
                if split.lower() not in self.wanted:
                    continue
            if all(self._text(record, column) in values for column, values in self.keep.items()):
                yield record

    def notes(self, used: int) -> list[str]:
        """How many rows belong to other splits."""
        if self.column is None:
            return []
        others = ", ".join(f"{n} {name}" for name, n in self.found.items() if name.lower() not in self.wanted)
        return [f"column {self.column}: {used} rows are used, not those of other splits ({others})"] if others else []

    def known(self) -> str:
        """The splits that the table has, or why no row is left, for a message."""
        if self.column is None:
            kept = ", ".join(f"{column} of {', '.join(sorted(values))}" for column, values in self.keep.items())
            return f"No row has a {kept} (task.keep)." if kept else "The table has no rows."
        found = sorted({name.lower() for name in self.found})
        return f"Its column {self.column} holds {', '.join(found)}; choose one with task.split=NAME."

    def _text(self, record: Record, column: str) -> str:
        """A field as text; empty where it is blank."""
        return text_or_none(record.fields.get(column), f"{self.source.where}: row {record.row}") or ""
