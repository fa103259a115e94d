"""Sections of a dossier: statements, facts and tables; and those that are made of blocks of the sanity checks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from evalkit.core.format import MISSING


@dataclass(frozen=True, slots=True, kw_only=True)
class FactTable:
    """A table of texts."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A section.  to_write: what a person must add; empty where the run knows all of it."""

    id: str
    title: str
    statements: tuple[str, ...] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
    tables: tuple[FactTable, ...] = ()
    to_write: str = ""


def block_section(title: str, identity: str, blocks: Mapping[str, Any], nothing: str) -> Section:
    """A section of the values in blocks of the sanity checks; lists of records are tables."""
    facts = {name: text for block, content in blocks.items() for name, text in _flat(block, content).items()}
    tables = tuple(t for block, content in blocks.items() for t in _record_tables(block, content))
    statements = () if facts or tables else (nothing,)
    return Section(id=identity, title=title, facts=facts, tables=tables, statements=statements)


def _is_records(value: Any) -> bool:
    return isinstance(value, list | tuple) and bool(value) and all(isinstance(part, Mapping) for part in value)


def _record_tables(name: str, value: Any) -> list[FactTable]:
    """The lists of records in a block, each a table; a column that a record lacks is empty."""
    if isinstance(value, Mapping):
        return [table for key, part in value.items() for table in _record_tables(f"{name}, {key}", part)]
    if not _is_records(value):
        return []
    header = tuple(dict.fromkeys(key for record in value for key in record))
    rows = tuple(tuple(_short(record.get(key)) for key in header) for record in value)
    return [FactTable(header=tuple(map(str, header)), rows=rows, caption=name.replace("_", " "))]


def _flat(name: str, value: Any) -> dict[str, str]:
    """Values by their place: numbers with four digits, mappings opened; lists of records are tables."""
    if isinstance(value, Mapping):
        return {k: v for key, part in value.items() for k, v in _flat(f"{name}, {key}".replace("_", " "), part).items()}
    if isinstance(value, list | tuple):
        return {} if not value or _is_records(value) else {name: ", ".join(map(_short, value))}
    return {} if value is None else {name: _short(value)}


def _short(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(_short, value))
    return MISSING if value is None else f"{value:.4f}" if isinstance(value, float) else str(value)
