"""From judgments to answers: each answer's judgments over orders and replicates, or why they are too few."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from evalkit.judge.config import CANDIDATE_FIRST, REFERENCE_FIRST, RELATIVE
from evalkit.judge.journal import Judged, Record

CREDIT = {"correct": 1.0, "partly": 0.5, "wrong": 0.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Points:
    """What one order gave an item, mean over its replicates: two scores of 1 to 10, or (correct, credit) of 0 to 1."""

    reference: float
    candidate: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemResult:
    """One answer's judgments together.  `points` has an entry for every order exactly when the status is "judged"."""

    sample_id: str
    image_id: str
    tags: Mapping[str, str]
    status: Literal["judged", "cannot_tell", "failed", "no_answer"]
    points: Mapping[str, Points]
    why: str = ""

    @property
    def reference(self) -> float:
        """Mean over the orders."""
        return math.fsum(p.reference for p in self.points.values()) / len(self.points)

    @property
    def candidate(self) -> float:
        """Mean over the orders."""
        return math.fsum(p.candidate for p in self.points.values()) / len(self.points)


def item_results(judged: Judged) -> list[ItemResult]:
    """The judgments gathered by sample, in order of first appearance."""
    orders = (REFERENCE_FIRST, CANDIDATE_FIRST) if judged.plan["config"]["order"] == "swap" else (REFERENCE_FIRST,)
    grouped: dict[str, list[Record]] = {}
    for record in judged.records:
        grouped.setdefault(record["sample_id"], []).append(record)
    return [_item(records, orders, judged.plan["judged"] == RELATIVE) for records in grouped.values()]


def _item(records: Sequence[Record], orders: Sequence[str], relative: bool) -> ItemResult:
    first = records[0]

    def result(status: Any, points: Mapping[str, Points], why: str = "") -> ItemResult:
        return ItemResult(
            sample_id=first["sample_id"],
            image_id=first["image_id"],
            tags=first["tags"],
            status=status,
            points=points,
            why=why,
        )

    if any(r["status"] == "no_answer" for r in records):
        return result("no_answer", {}, first["why"])
    points: dict[str, Points] = {}
    untold = False
    for order in orders:
        mine = [r for r in records if r["order"] == order and r["status"] == "judged"]
        if not mine:
            # Half of a swapped pair would carry the very bias that the swap is there to remove.
            why = next((r["why"] for r in records if r["order"] == order), "never asked")
            return result("failed", {}, why)
        pairs = [p for r in mine if (p := pair_of(r, relative)) is not None]
        if pairs:
            means = [math.fsum(column) / len(pairs) for column in zip(*pairs, strict=True)]
            points[order] = Points(reference=means[0], candidate=means[1])
        else:
            untold = True
    return result("cannot_tell", {}) if untold else result("judged", points)


def pair_of(record: Record, relative: bool) -> tuple[float, float] | None:
    """Reference and candidate score; or 1 for correct else 0, and the credit.  None for cannot_tell."""
    if relative:
        return float(record["scores"]["reference"]), float(record["scores"]["candidate"])
    credit = CREDIT.get(str(record["verdict"]))
    return None if credit is None else (float(credit == 1.0), credit)


def preference(points: Points) -> int:
    """1 when the candidate is scored higher, 0 for a tie, -1 when the reference is."""
    gap = points.candidate - points.reference
    return 0 if abs(gap) < 1e-9 else (1 if gap > 0 else -1)
