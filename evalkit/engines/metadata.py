"""What several engines of one run say of themselves, as one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def combined(facts: Sequence[Mapping[str, Any]], differing: str) -> dict[str, Any]:
    """The first one's facts with everyone's counters added up, peaks excepted, of which the highest counts.

    differing: under this name stand the facts that are not the same for all.
    """
    first = dict(facts[0]) if facts else {}
    counters: dict[str, float] = {}
    for fact in facts:
        for name, value in (fact.get("counters") or {}).items():
            before = counters.get(name, 0)
            counters[name] = max(before, value) if name.startswith("peak") else round(before + value, 3)
    names = {name for fact in facts for name in fact} - {"counters"}
    others = sorted(n for n in names if any(fact.get(n) != first.get(n) for fact in facts))
    return {**first, "counters": counters, differing: others}
