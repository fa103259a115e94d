"""The best step of a training by the bound of a metric's interval, from what was logged."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple


class Standing(NamedTuple):
    """The best evaluation so far.

    best_step, bound: None where no evaluation had an interval.  n_since: evaluations after it.
    """

    best_step: int | None
    bound: float | None
    n_since: int


def bound_key(key: str, *, higher_is_better: bool) -> str:
    """The key of the bound that counts: the lower one of a metric of which more is better, else the upper one."""
    return f"{key}_{'low' if higher_is_better else 'high'}"


def standing(history: Iterable[Mapping[str, Any]], key: str, *, higher_is_better: bool) -> Standing:
    """The best evaluation in a Trainer's `log_history`; of equal ones the first.

    >>> log = [{"step": 1, "a_n_unscored": 0, "a_low": 0.2}, {"step": 2, "a_n_unscored": 9}, {"step": 2, "loss": 1.0}]
    >>> standing(log, "a", higher_is_better=True)
    Standing(best_step=1, bound=0.2, n_since=1)
    """
    best: Standing = Standing(None, None, 0)
    name = bound_key(key, higher_is_better=higher_is_better)
    for entry in history:
        if f"{key}_n_unscored" not in entry:  # there for every evaluation, whatever was scored
            continue
        bound = entry.get(name)
        is_better = bound is not None and (
            best.bound is None or (bound > best.bound if higher_is_better else bound < best.bound)
        )
        best = Standing(int(entry["step"]), bound, 0) if is_better else best._replace(n_since=best.n_since + 1)
    return best
