"""The stored scores of a leaderboard's runs as arrays: thousands of runs over the same rows are held at once."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from evalkit.analysis.run_scores import RunScores
from evalkit.core.errors import DataError
from evalkit.core.types import MetricKey

if TYPE_CHECKING:
    import numpy as np

# Tuples and arrays that runs share, by their content.
Pool = MutableMapping[tuple[Any, ...], Any]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class StoredColumn:
    """The scores of one metric.

    values: of the samples that it covers, unscored ones as the worst case.  rows: their positions, a shared array.
    """

    values: np.ndarray[Any, Any]
    rows: np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class StoredScores:
    """The scores of a run by metric, in the order of `ids`; ids and image_ids are shared by runs over the same rows.

    decimals: as in `RunScores`.
    """

    origin: str
    ids: tuple[str, ...]
    image_ids: tuple[str, ...]
    columns: Mapping[MetricKey, StoredColumn]
    decimals: int | None

    @classmethod
    def of(cls, scores: RunScores | StoredScores, pool: Pool) -> StoredScores:
        """The scores as arrays.

        Args:
            pool: what earlier runs had; runs of one pool share what is equal.
        """
        if isinstance(scores, StoredScores):
            return scores
        columns = {}
        for key, column in scores.columns.items():
            rows = pool.setdefault(("rows", column.rows.tobytes()), column.rows)
            columns[key] = StoredColumn(values=column.worst_case(), rows=rows)
        return cls(
            origin=scores.origin,
            ids=pool.setdefault(("ids", *scores.ids), scores.ids),
            image_ids=pool.setdefault(("images", *scores.image_ids), scores.image_ids),
            columns=columns,
            decimals=scores.decimals,
        )

    def covers(self, key: MetricKey) -> bool:
        """Whether there are scores of a metric."""
        column = self.columns.get(key)
        return column is not None and len(column.rows) > 0


class AlignedRuns(NamedTuple):
    """Scores of several runs over the same rows, by name, and the images of the rows."""

    values: dict[str, np.ndarray[Any, Any]]
    clusters: list[str]


def align(key: MetricKey, runs: Mapping[str, StoredScores]) -> AlignedRuns:
    """The scores of runs (at least one) in the first one's order of rows.

    Where a run or the first one keeps only some decimals, its scores are rounded to them: equal ones stay equal.

    Raises:
        DataError: the metric covers different samples in two of them.
    """
    first = next(iter(runs.values()))
    rows = first.columns[key].rows
    return AlignedRuns(
        values={name: _values(key, first, run) for name, run in runs.items()},
        clusters=[first.image_ids[k] for k in rows],
    )


def _values(key: MetricKey, first: StoredScores, run: StoredScores) -> np.ndarray[Any, Any]:
    import numpy as np

    column, rows = run.columns[key], first.columns[key].rows
    values = column.values
    if run.ids is not first.ids or column.rows is not rows:
        by_id = dict(zip(_covered(run.ids, column.rows), values.tolist(), strict=True))
        wanted = _covered(first.ids, rows)
        if len(by_id) != len(wanted) or not all(i in by_id for i in wanted):
            raise DataError(f"{key} covers different samples in {first.origin} and in {run.origin}.")
        values = np.array([by_id[i] for i in wanted])
    decimals = min((r.decimals for r in (first, run) if r.decimals is not None), default=None)
    return values if decimals is None else np.array([round(v, decimals) for v in values.tolist()])


def _covered(ids: Sequence[str], rows: np.ndarray[Any, Any]) -> list[str]:
    return [ids[k] for k in rows]
