"""Checklists of reporting guidelines, filled with what a run knows; the rest is for a person to write."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

GIVEN, PARTLY, PERSON = "given by the run", "partly, a person completes it", "a person must write it"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChecklistRow:
    """A row: what the guideline asks, what the run gives, what a person must write; id empty where it was not seen."""

    id: str
    topic: str
    status: str
    given: tuple[str, ...]
    to_write: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Checklist:
    """A guideline.  seen: what of it was read when the rows were written, and what was not."""

    name: str
    source: str
    stated_size: str
    seen: str
    rows: tuple[ChecklistRow, ...]

    def count(self, status: str) -> int:
        """The number of rows with a status."""
        return sum(row.status == status for row in self.rows)


def checklists(facts: Mapping[str, str]) -> list[Checklist]:
    """Every checklist; facts: name -> text, empty where the run does not know it."""
    content = json.loads(files("evalkit.reports.dossier").joinpath("checklists.json").read_text(encoding="utf-8"))
    return [
        Checklist(
            name=g["name"],
            source=g["source"],
            stated_size=g["stated_size"],
            seen=g["seen"],
            rows=tuple(_row(item, facts) for item in g["items"]),
        )
        for g in content["guidelines"]
    ]


def _row(item: Mapping[str, Any], facts: Mapping[str, str]) -> ChecklistRow:
    given = tuple(text for name in item["facts"] if (text := facts[name]))
    unknown = [name.replace("_", " ") for name in item["facts"] if not facts[name]]
    to_write = " ".join(
        filter(None, (item["person"], f"Not known to the run: {', '.join(unknown)}." if unknown else ""))
    )
    status = PERSON if not given else PARTLY if to_write else GIVEN
    return ChecklistRow(id=item["id"], topic=item["topic"], status=status, given=given, to_write=to_write)
