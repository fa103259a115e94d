"""Anchors of tables and rows on the page of their task; they stay while other rows come and go."""

from __future__ import annotations

import hashlib

from evalkit.reports.leaderboard.entries import Entry
from evalkit.reports.leaderboard.render import title
from evalkit.reports.leaderboard.tables import Section, Table


def row_anchor(section: Section, table: Table, entry: Entry) -> str:
    """The anchor of a row."""
    return f"r{_digest(*_names(section, table), entry.id)}"


def table_anchor(section: Section, table: Table) -> str:
    """The anchor of a table."""
    return f"t{_digest(*_names(section, table))}"


def _names(section: Section, table: Table) -> tuple[str, ...]:
    return section.heading, *section.about[:1], table.protocol, table.recipe, title(table)


def _digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:10]
