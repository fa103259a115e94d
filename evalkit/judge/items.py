"""Judgments grouped by answer: the mean over orders and replicates, or the reason why there are too few."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from evalkit.judge.config import CANDIDATE_FIRST, REFERENCE_FIRST, RELATIVE
from evalkit.judge.journal import PlanJudgments
from evalkit.runs.schema import Judgment

CREDIT = {"correct": 1.0, "partly": 0.5, "wrong": 0.0}

ItemStatus = Literal["judged", "cannot_tell", "failed", "no_answer"]


class Points(NamedTuple):
    """Scores of reference and candidate, 1 to 10; for correctness: 1 for correct else 0, and the credit of 0 to 1.

    For a referee: 1 where the option is the right one, else 0, in both.
    """

    reference: float
    candidate: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemResult:
    """The judgments of one answer.

    points: the mean over the replicates for each presentation order; has every order exactly when the status is
    "judged".  why: the reason for the statuses "failed" and "no_answer".
    """

    sample_id: str
    image_id: str
    tags: Mapping[str, str]
    status: ItemStatus
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


def item_results(judged: PlanJudgments) -> list[ItemResult]:
    """The judgments grouped by sample, in order of the ids: sums do not hang on the order in which replies came."""
    orders = (REFERENCE_FIRST, CANDIDATE_FIRST) if judged.plan.config["order"] == "swap" else (REFERENCE_FIRST,)
    grouped: dict[str, list[Judgment]] = {}
    for judgment in judged.judgments:
        grouped.setdefault(judgment.sample_id, []).append(judgment)
    return [_item(judgments, orders, judged.plan.judged == RELATIVE) for _, judgments in sorted(grouped.items())]


def _item(judgments: Sequence[Judgment], orders: Sequence[str], relative: bool) -> ItemResult:
    first = judgments[0]

    def result(status: ItemStatus, points: Mapping[str, Points], why: str | None = "") -> ItemResult:
        return ItemResult(
            sample_id=first.sample_id,
            image_id=first.image_id,
            tags=first.tags,
            status=status,
            points=points,
            why=why or "",
        )

    if any(j.status == "no_answer" for j in judgments):
        return result("no_answer", {}, first.why)
    points: dict[str, Points] = {}
    undecided = False
    for order in orders:
        judged = [j for j in judgments if j.order == order and j.status == "judged"]
        if not judged:
            # Half of a swapped pair would have the very bias that the swap removes.
            return result("failed", {}, next((j.why for j in judgments if j.order == order), "never requested"))
        scored = [p for j in judged if (p := points_of(j, relative)) is not None]
        if scored:
            points[order] = mean_points(scored)
        else:
            undecided = True
    return result("cannot_tell", {}) if undecided else result("judged", points)


def mean_points(scored: Sequence[Points]) -> Points:
    """The mean of each score."""
    return Points(*(math.fsum(column) / len(scored) for column in zip(*scored, strict=True)))


def points_of(judgment: Judgment, relative: bool) -> Points | None:
    """The scores of one judgment of status "judged"; None for the verdict cannot_tell."""
    if relative and judgment.scores is None:
        raise ValueError(f"the judgment of {judgment.sample_id!r} has status 'judged' and no scores")
    if judgment.scores is not None:  # of a referee: 1 or 0 in both
        return Points(judgment.scores.reference, judgment.scores.candidate)
    credit = CREDIT.get(str(judgment.verdict))
    return None if credit is None else Points(float(credit == 1.0), credit)


def preference(points: Points) -> int:
    """1 where the candidate has the higher score, 0 for a tie, -1 where the reference has."""
    gap = points.candidate - points.reference
    return 0 if abs(gap) < 1e-9 else (1 if gap > 0 else -1)
