"""The history of a row: what the result of the same run was before it was replaced."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from evalkit.analysis.run_scores import RunScores, answer_digests
from evalkit.core import console
from evalkit.core.errors import StoreError
from evalkit.core.types import MetricValue, digest_json
from evalkit.runs.read import result_at
from evalkit.runs.schema import EarlierResult, LeaderboardResult
from evalkit.runs.verify import open_run

# What two results of one row share, besides the id of their run: that is the name of a folder for answers without a
# manifest, and then says nothing of prompt, pictures and data.
SAME_ROW = ("run_id", "model", "task", "split", "data_sha256", "closed_rule", "prompt", "image", "generation")
# Last digits of computed bounds differ between machines.
DECIMALS = 6


def answers_sha256(run: Path | None, scores: RunScores | None) -> str | None:
    """sha256 of the ids and the digests of a run's answers; None where only its summary is known.

    Args:
        scores: of the run, where they have been read.
    """
    if scores is not None:
        return digest_json(dict(zip(scores.ids, scores.answers, strict=True)))
    if run is None:
        return None
    answers = open_run(run).answers()
    return digest_json(dict(zip(answers.ids, answer_digests(answers), strict=True)))


def stored_before(path: Path) -> LeaderboardResult | None:
    """The result in a file that is about to be replaced; None where there is none, or none that can be read."""
    if not path.is_file():
        return None
    try:
        return result_at(path)
    except StoreError as problem:
        console.warn(f"the result that is replaced is not kept in the row's history, as it cannot be read: {problem}")
        return None


def succeeded(new: LeaderboardResult, old: LeaderboardResult | None) -> LeaderboardResult:
    """A result that is stored today, with its history, in the place of an earlier one; see `following`."""
    return following(new, old, datetime.now(UTC).date().isoformat())


def following(new: LeaderboardResult, old: LeaderboardResult | None, today: str | None) -> LeaderboardResult:
    """A result with its day and its history, after an earlier one.

    Args:
        today: the day of a result that says something new; None where it is shown and not stored.

    A result that says the same as the earlier one keeps its day.  One with more metrics beside the same numbers is of
    today, and has no need of the earlier one.  Of every other one the earlier one is the first of its history.
    """
    if old is None or any(getattr(old, key) != getattr(new, key) for key in SAME_ROW):
        return replace(new, added=today)
    here, there = _numbers(new.metrics), _numbers(old.metrics)
    if _is_same_scoring(new, old) and there <= here:
        day = old.added if there == here else today
        return replace(new, added=day, answers=new.answers or old.answers, history=old.history)
    earlier = EarlierResult(added=old.added, evalkit=old.evalkit, answers=old.answers, metrics=old.metrics)
    return replace(new, added=today, history=(earlier, *old.history))


def _is_same_scoring(new: LeaderboardResult, old: LeaderboardResult) -> bool:
    """Whether version and answers are equal; answers of which one digest is not known count as equal."""
    same_answers = None in (new.answers, old.answers) or new.answers == old.answers
    return same_answers and new.evalkit == old.evalkit


def _numbers(metrics: Sequence[MetricValue]) -> set[tuple[Any, ...]]:
    return {
        (m.protocol, m.metric, m.slice, str(m.signature), m.n, m.n_unscored, *map(_rounded, (m.value, m.low, m.high)))
        for m in metrics
    }


def _rounded(value: float | None) -> str:
    return "" if value is None else f"{value:.{DECIMALS}f}"
