"""Merging of the metadata that several engines of one run report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def merge_metadata(records: Sequence[Mapping[str, Any]], differing: str) -> dict[str, Any]:
    """Merge engine metadata: the first record, with counters summed over all records (peaks: the maximum).

    Args:
        records: what `Engine.metadata` returned, one record an engine.
        differing: key under which the names of the entries that are not equal in all records are listed.
    """
    first = dict(records[0]) if records else {}
    counters: dict[str, float] = {}
    for record in records:
        for name, value in (record.get("counters") or {}).items():
            before = counters.get(name, 0)
            counters[name] = max(before, value) if name.startswith("peak") else round(before + value, 3)
    names = {name for record in records for name in record} - {"counters"}
    unequal = sorted(n for n in names if any(record.get(n) != first.get(n) for record in records))
    return {**first, "counters": counters, differing: unequal}
