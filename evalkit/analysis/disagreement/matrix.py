"""The lens: the same answers under every protocol, side by side, and why two protocols count an answer differently.

One row a protocol, one column a kind of number.  Every row of the data that two protocols of a column treat differently
gets exactly one cause, so that the causes of a pair add up to the rows that differ.
"""

from __future__ import annotations

import csv
import io
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from evalkit.analysis.disagreement.causes import CAUSES, LABEL, NO_SUCH_ROW, OTHER, UNREAD, UNSCORED, Causes
from evalkit.analysis.disagreement.features import Row as Seen
from evalkit.analysis.disagreement.features import row_of
from evalkit.core.console import percent
from evalkit.core.types import Prediction, Row, Sample, Score
from evalkit.scoring.base import ScoringProtocol

# Column -> the metric that stands for it, the first of these that a protocol has.
COLUMNS: Mapping[str, tuple[str, ...]] = {
    "closed": ("closed_accuracy", "closed_exact_match"),
    "open accuracy": ("open_accuracy", "open_exact_match"),
    "open recall": ("open_recall",),
    "open F1": ("open_f1",),
    "overall": ("accuracy", "quasi_exact_match", "exact_match"),
    "overall F1": ("f1",),
}
EXAMPLES = 3
# Scores that are equal to so many decimals are one score: some authors add 1e-8 to a denominator.
DIGITS = 6

ABSENT = "not a row of the metric"


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Two protocols in one column: the rows that they treat differently, by cause.

    examples: for each cause up to three of (sample id, question, reference, answer, first's value, second's value).
    """

    column: str
    first: str
    second: str
    n: int
    causes: Mapping[str, int]
    examples: Mapping[str, Sequence[Mapping[str, Any]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lens:
    """cells: (protocol, column) -> the row of the table.  alike: protocols that treat every row of a column alike."""

    protocols: tuple[str, ...]
    columns: tuple[str, ...]
    cells: Mapping[tuple[str, str], Row]
    alike: Mapping[str, tuple[tuple[str, ...], ...]]
    differences: tuple[Difference, ...]


def look(
    samples: Sequence[Sample],
    predictions: Sequence[Prediction],
    scores: Sequence[Score],
    rows: Sequence[Row],
    protocols: Sequence[ScoringProtocol],
) -> Lens:
    """Compare every two protocols of every column over the rows of the data.

    scores, rows: of these samples under these protocols.
    """
    whole = {(r.protocol, r.metric): r for r in rows if r.slice == "all"}
    names = tuple(p.name for p in protocols)
    cells: dict[tuple[str, str], Row] = {}
    for protocol in names:
        for column, metrics in COLUMNS.items():
            row = next((whole[protocol, m] for m in metrics if (protocol, m) in whole), None)
            if row is not None and row.n:
                cells[protocol, column] = row
    columns = tuple(c for c in COLUMNS if any((p, c) in cells for p in names))
    why = _Why(samples, predictions, protocols)
    levels = _levels(scores, cells, {s.id: k for k, s in enumerate(samples)})
    alike: dict[str, tuple[tuple[str, ...], ...]] = {}
    differences: list[Difference] = []
    for column in columns:
        groups = _alike([p for p in names if (p, column) in cells], levels, column)
        alike[column] = tuple(tuple(g) for g in groups)
        differences += why.differences(column, [cells[g[0], column] for g in groups], levels)
    return Lens(protocols=names, columns=columns, cells=cells, alike=alike, differences=tuple(differences))


Levels = Mapping[tuple[str, str], Sequence[float | None]]


def _levels(
    scores: Sequence[Score], cells: Mapping[tuple[str, str], Row], place: Mapping[str, int]
) -> dict[tuple[str, str], list[float | None]]:
    """(protocol, column) -> the level of each row: see `causes.level`; rounded, so that equal values are equal."""
    column_of = {(protocol, row.metric): (protocol, column) for (protocol, column), row in cells.items()}
    found: dict[tuple[str, str], list[float | None]] = {key: [None] * len(place) for key in cells}
    for score in scores:
        key = column_of.get((score.protocol, score.metric))
        if key is not None:
            found[key][place[score.sample_id]] = UNSCORED if score.value is None else round(score.value, DIGITS)
    return found


def _alike(protocols: Sequence[str], levels: Levels, column: str) -> list[list[str]]:
    groups: dict[tuple[float | None, ...], list[str]] = {}
    for protocol in protocols:
        groups.setdefault(tuple(levels[protocol, column]), []).append(protocol)
    return list(groups.values())


class _Why:
    """The differences of protocols in a column.  Rows that are alike in all that decides a cause are looked at once."""

    def __init__(
        self, samples: Sequence[Sample], predictions: Sequence[Prediction], protocols: Sequence[ScoringProtocol]
    ) -> None:
        self.samples, self.predictions = samples, predictions
        self.protocols = {p.name: p for p in protocols}
        self.causes = Causes(protocols)
        self.seen: dict[int, Seen] = {}

    def differences(self, column: str, heads: Sequence[Row], levels: Levels) -> list[Difference]:
        """One for every two of the heads, which are the column's protocols without those that count alike."""
        if len(heads) < 2:
            return []
        alike: dict[tuple[Seen, tuple[float | None, ...]], list[int]] = defaultdict(list)
        for k, values in enumerate(zip(*(levels[h.protocol, column] for h in heads), strict=True)):
            if any(v != values[0] for v in values[1:]):
                if k not in self.seen:
                    self.seen[k] = row_of(self.samples[k], self.predictions[k].text or "")
                alike[self.seen[k], values].append(k)
        return [self._difference(column, heads, a, b, alike) for a, b in combinations(range(len(heads)), 2)]

    def _difference(
        self,
        column: str,
        heads: Sequence[Row],
        a: int,
        b: int,
        alike: Mapping[tuple[Seen, tuple[float | None, ...]], Sequence[int]],
    ) -> Difference:
        counts: Counter[str] = Counter()
        examples: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
        for (row, values), members in alike.items():
            if values[a] == values[b]:
                continue
            cause = self._cause(row, heads[a], heads[b], values[a], values[b], members[0])
            counts[cause] += len(members)
            for k in members[: EXAMPLES - len(examples[cause])]:
                examples[cause].append(self._example(k, values[a], values[b]))
        return Difference(
            column=column,
            first=heads[a].protocol,
            second=heads[b].protocol,
            n=counts.total(),
            causes=dict(counts.most_common()),
            examples=examples,
        )

    def _cause(self, row: Seen, first: Row, second: Row, one: float | None, two: float | None, k: int) -> str:
        if one is None or two is None:
            missing = self.protocols[(first if one is None else second).protocol]
            return NO_SUCH_ROW if missing.is_closed(self.samples[k]) is None else LABEL
        cause = self.causes.cause(row, (first.protocol, first.metric), (second.protocol, second.metric), one > two)
        return UNREAD if cause == OTHER and UNSCORED in (one, two) else cause

    def _example(self, k: int, one: float | None, two: float | None) -> Mapping[str, Any]:
        sample = self.samples[k]
        return {
            "sample_id": sample.id,
            "question": sample.question,
            "reference": sample.references[0],
            "answer": self.predictions[k].text,
            "first": _view(one),
            "second": _view(two),
        }


def _view(value: float | None) -> float | str:
    """A level for readers."""
    return ABSENT if value is None else "unscored" if value == UNSCORED else value


def spread(lens: Lens, column: str) -> tuple[Row, Row] | None:
    """The lowest and the highest value of a column; None when fewer than two protocols have one.

    A protocol that could read fewer than half of its rows takes no part: its value is about the others.
    """
    found = [r for (_, c), r in lens.cells.items() if c == column and r.value is not None and 2 * r.n_unscored <= r.n]
    if len(found) < 2:
        return None
    by_value = sorted(found, key=lambda r: (r.value or 0.0, r.protocol))
    return by_value[0], by_value[-1]


def spread_record(lens: Lens, column: str) -> dict[str, Any] | None:
    """The spread for summary.json: lowest and highest, each with its protocol, metric and value."""
    ends = spread(lens, column)
    if ends is None:
        return None
    return {
        end: {"protocol": r.protocol, "metric": r.metric, "value": r.value}
        for end, r in zip(("lowest", "highest"), ends, strict=True)
    }


def to_json(lens: Lens) -> dict[str, Any]:
    """lens.json."""
    return {
        "columns": list(lens.columns),
        "rows": [
            {
                "protocol": p,
                **{
                    c: {"metric": r.metric, "value": r.value, "low": r.low, "high": r.high, "n": r.n}
                    | {"n_unscored": r.n_unscored}
                    for c in lens.columns
                    if (r := lens.cells.get((p, c))) is not None
                },
            }
            for p in lens.protocols
        ],
        "spread": {c: spread_record(lens, c) for c in lens.columns},
        "causes": {c: text for c, text in CAUSES.items() if any(c in d.causes for d in lens.differences)},
        "alike": {c: [list(g) for g in groups] for c, groups in lens.alike.items()},
        "differences": [
            {
                "column": d.column,
                "first": d.first,
                "second": d.second,
                "n": d.n,
                "causes": [{"cause": k, "n": v, "examples": list(d.examples[k])} for k, v in d.causes.items()],
            }
            for d in lens.differences
        ],
    }


def to_csv(lens: Lens) -> str:
    """lens.csv: one line a protocol and column."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["protocol", "column", "metric", "value", "low", "high", "n", "n_unscored"])
    for (protocol, column), r in lens.cells.items():
        writer.writerow([protocol, column, r.metric, r.value, r.low, r.high, r.n, r.n_unscored])
    return text.getvalue()


def render(lens: Lens, reference: str) -> str:
    """The matrix in percent, the spread of each column, and why the others differ from `reference`."""
    width = max(len(p) for p in lens.protocols)
    lines = [" " * width + "".join(f"{c:>15}" for c in lens.columns)]
    for protocol in lens.protocols:
        cells = [lens.cells.get((protocol, c)) for c in lens.columns]
        lines.append(f"{protocol:<{width}}" + "".join(f"{'' if r is None else _cell(r):>15}" for r in cells))
    ends = [spread(lens, c) for c in lens.columns]
    shown = ["" if e is None else f"{percent(e[0].value)}–{percent(e[1].value)}" for e in ends]
    lines += [f"{'spread':<{width}}" + "".join(f"{s:>15}" for s in shown), "* some rows unscored, see the table above"]
    for column in lens.columns:
        lines += _against(lens, column, reference)
    return "\n".join(lines)


def _cell(row: Row) -> str:
    return percent(row.value) + ("*" if row.n_unscored else " ")


def _against(lens: Lens, column: str, reference: str) -> list[str]:
    """The causes of each protocol's difference from the reference in a column, the most frequent three."""
    group_of = {p: g for g in lens.alike[column] for p in g}
    if reference not in group_of:
        return []
    head = group_of[reference][0]
    lines = []
    for d in lens.differences:
        if d.column == column and head in (d.first, d.second):
            other = d.second if d.first == head else d.first
            causes = ", ".join(f"{n} {cause}" for cause, n in list(d.causes.items())[:3])
            more = f", {len(d.causes) - 3} more kinds" if len(d.causes) > 3 else ""
            lines.append(f"  {', '.join(group_of[other])}: {d.n} rows: {causes}{more}")
    return [f"{column}, counted differently from {', '.join(group_of[reference])}:", *lines] if lines else []
