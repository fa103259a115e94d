"""Splits that are named inside of one file: by the keys of a JSON object, and by the sheets of a workbook."""

from __future__ import annotations

import re
from collections.abc import Sequence

from evalkit.core.errors import DataError
from evalkit.records.base import Record
from evalkit.tasks.formats import SPLIT_NAMES


def with_split_column(records: tuple[Record, ...]) -> tuple[Record, ...]:
    """The records of a JSON object ({"train": [...], "test": [...]}) with a column `split`, where its keys are splits.

    Records with a split column of their own, or under other keys, stay as they are.
    """
    if any("split" in record.fields for record in records):
        return records
    for column in sorted({name for record in records for name in record.fields if re.fullmatch(r"key_\d+", name)}):
        splits = [_split_of(str(record.fields.get(column))) for record in records]
        if all(splits):
            pairs = zip(records, splits, strict=True)
            return tuple(Record(row=r.row, fields={**r.fields, "split": split}) for r, split in pairs)
    return records


class SheetOfSplit:
    """Choice of the sheet of a workbook: the one that is named after the split, else the first.

    where: the workbook, for messages.  named: whether a sheet was named after the split.
    """

    def __init__(self, split: str, where: str) -> None:
        self.split, self.where, self.named = split, where, False

    def __call__(self, names: Sequence[str]) -> int:
        """The number of the sheet.

        Raises:
            DataError: several sheets are named after the split, or there are several and the first is of another split.
        """
        splits = [_split_of(name) or name for name in names]
        if splits.count(self.split) == 1:
            self.named = True
            return splits.index(self.split)
        if len(names) > 1 and (splits[0] in SPLIT_NAMES or self.split in splits):
            raise DataError(
                f"{self.where}: which of the sheets {', '.join(names)} is the split {self.split} is not clear. Name "
                "one sheet after each split (train, validation, test), or choose another with task.split=NAME."
            )
        return 0


def _split_of(name: str) -> str | None:
    """The split that a key or a sheet is named after ("Test", "test set", "dev"); None for any other name."""
    word = re.sub(r"[^a-z]+", "", name.lower()).removesuffix("set").removesuffix("split")
    return next((split for split, names in SPLIT_NAMES.items() if word in names), None)
