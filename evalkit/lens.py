"""The lens: the same answers under every protocol, side by side, and why two protocols count an answer differently.

One row a protocol, one column a kind of number.  Every row of the data that two protocols of a column treat differently
gets exactly one cause, so that the causes of a pair add up to the rows that differ.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from evalkit.console import percent
from evalkit.types import Prediction, Row, Sample, Score

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
# From so many words on an answer is called verbose.
VERBOSE = 6

ABSENT = "not a row of the metric"

_WORD = re.compile(r"[^\W_]+")
_NUMBERS = frozenset("zero one two three four five six seven eight nine ten none".split())  # noqa: SIM905


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
    samples: Sequence[Sample], predictions: Sequence[Prediction], scores: Sequence[Score], rows: Sequence[Row]
) -> Lens:
    """Compare every two protocols of every column over the rows of the data."""
    whole = {(r.protocol, r.metric): r for r in rows if r.slice == "all"}
    protocols = tuple(dict.fromkeys(r.protocol for r in rows))
    cells: dict[tuple[str, str], Row] = {}
    for protocol in protocols:
        for column, names in COLUMNS.items():
            row = next((whole[protocol, n] for n in names if (protocol, n) in whole), None)
            if row is not None and row.n:
                cells[protocol, column] = row
    columns = tuple(c for c in COLUMNS if any((p, c) in cells for p in protocols))
    place = {s.id: k for k, s in enumerate(samples)}
    treated = _treated(scores, cells, place)
    alike: dict[str, tuple[tuple[str, ...], ...]] = {}
    differences: list[Difference] = []
    for column in columns:
        groups = _alike([p for p in protocols if (p, column) in cells], treated, column)
        alike[column] = tuple(tuple(g) for g in groups)
        for a, b in combinations([g[0] for g in groups], 2):
            differences.append(_difference(column, a, b, treated[a, column], treated[b, column], samples, predictions))
    return Lens(protocols=protocols, columns=columns, cells=cells, alike=alike, differences=tuple(differences))


Treatment = tuple[Score | None, ...]


def _treated(
    scores: Sequence[Score], cells: Mapping[tuple[str, str], Row], place: Mapping[str, int]
) -> dict[tuple[str, str], list[Score | None]]:
    """(protocol, column) -> the score of each row, None where it is not a row of the metric."""
    column_of = {(protocol, row.metric): (protocol, column) for (protocol, column), row in cells.items()}
    treated: dict[tuple[str, str], list[Score | None]] = {key: [None] * len(place) for key in cells}
    for score in scores:
        key = column_of.get((score.protocol, score.metric))
        if key is not None:
            treated[key][place[score.sample_id]] = score
    return treated


def _view(score: Score | None) -> Any:
    """What a protocol makes of a row, for comparison: absent, unscored, or the value."""
    if score is None:
        return ABSENT
    return "unscored" if score.value is None else round(score.value, 9)


def _alike(
    protocols: Sequence[str], treated: Mapping[tuple[str, str], Sequence[Score | None]], column: str
) -> list[list[str]]:
    groups: dict[tuple[Any, ...], list[str]] = {}
    for protocol in protocols:
        groups.setdefault(tuple(map(_view, treated[protocol, column])), []).append(protocol)
    return list(groups.values())


def _difference(
    column: str,
    a: str,
    b: str,
    first: Sequence[Score | None],
    second: Sequence[Score | None],
    samples: Sequence[Sample],
    predictions: Sequence[Prediction],
) -> Difference:
    causes: Counter[str] = Counter()
    examples: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for sample, prediction, x, y in zip(samples, predictions, first, second, strict=True):
        if _view(x) == _view(y):
            continue
        cause = cause_of(sample, prediction.text or "", x, y)
        causes[cause] += 1
        if len(examples[cause]) < EXAMPLES:
            examples[cause].append(
                {
                    "sample_id": sample.id,
                    "question": sample.question,
                    "reference": sample.references[0],
                    "answer": prediction.text,
                    "first": _view(x),
                    "second": _view(y),
                }
            )
    return Difference(
        column=column, first=a, second=b, n=sum(causes.values()), causes=dict(causes.most_common()), examples=examples
    )


def cause_of(sample: Sample, answer: str, first: Score | None, second: Score | None) -> str:
    """Why two protocols treat one answer differently: the first of these that holds.

    The rules look at the answer and the reference, not at the protocols' code, so they say what about the answer makes
    counting hard; "other" is what is left.
    """
    gold = sample.references[0]
    yes_no = gold.strip().lower().rstrip(".") in ("yes", "no")
    if first is None or second is None:
        return "yes/no answer outside the metric" if yes_no else "closed by label against closed by yes/no"
    if not answer.strip():
        return "empty answer"
    said, wanted = _WORD.findall(answer.lower()), _WORD.findall(gold.lower())
    if yes_no and (cause := _polarity(answer, said)):
        return cause
    if said == wanted and not yes_no and first.metric.startswith("closed"):
        return "closed answer other than yes or no"  # right word for word, and out of reach of a yes-or-no rule
    if first.value is None or second.value is None:
        return "unreadable for one of them"
    if re.match(r"\s*(assistant|answer|response|human)\s*:", answer, re.I):
        return "role prefix"
    if said == wanted:
        return "case, punctuation or spacing"
    if "".join(said) == "".join(wanted):
        return "hyphen or joined words"
    if any("alias" in s.note or "=" in s.note for s in (first, second)):
        return "alias"
    if _NUMBERS & (set(said) ^ set(wanted)) and len(said) <= len(wanted) + 1:
        return "number word"
    if len(said) > len(set(said)):
        return "repeated words"
    if sorted(said) == sorted(wanted):
        return "order of a list"
    if len(said) >= VERBOSE and len(said) > len(wanted):
        return "verbose answer"
    if set(said) & set(wanted):
        return "some of the words"
    if any(w in answer.lower() for w in [gold.lower(), *wanted] if w):
        return "reference inside another word"
    return "other"


def _polarity(answer: str, said: Sequence[str]) -> str:
    """What is hard about an answer to a yes-or-no question."""
    words = set(said)
    if {"yes", "no"} <= words:
        return "says both yes and no"
    lower = answer.lower()
    if not words & {"yes", "no"}:
        if "no" in lower:
            return '"no" inside another word, or negated'
        return '"yes" inside another word' if "yes" in lower else "neither yes nor no"
    if "no" not in words and "no" in lower:
        return '"no" inside another word, beside a yes'
    if len(said) >= VERBOSE:
        return "verbose answer"
    return "more words than yes or no" if len(said) > 1 else ""


def spread(lens: Lens, column: str) -> tuple[Row, Row] | None:
    """The lowest and the highest value of a column; None when fewer than two protocols have one."""
    found = [r for (_, c), r in lens.cells.items() if c == column and r.value is not None]
    if len(found) < 2:
        return None
    by_value = sorted(found, key=lambda r: (r.value or 0.0, r.protocol))
    return by_value[0], by_value[-1]


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
