"""Which rows may stand in one table.

Runs share one when they are over the same data and counted in the same way.  A paper's row joins them when split,
protocol and every n agree; beyond that nobody can check.  Regimes never share a table, and what cannot be compared is
listed with the reason, in no order of merit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from evalkit.analysis.run_scores import Scored
from evalkit.published import Figure, PublishedTable, System
from evalkit.reports.leaderboard.entries import (
    HEADLINES,
    Line,
    Summary,
    floor_lines,
    paper_line,
    recipe,
    run_line,
    safe_address,
)
from evalkit.reports.leaderboard.footnotes import how_to_read
from evalkit.reports.leaderboard.ranking import Standing, detectable, standings
from evalkit.reports.leaderboard.regime import RANKED

# What two results must share to stand in one table.
SAME = ("task", "split", "data_sha256", "closed_rule")
FLOORS = ("lookup", "majority")
FOREIGN = "counted in a way that evalkit cannot compute"
UNKNOWN_REGIME = "what the model was trained on is not known"
PAPERS_ONLY = "figures of papers"
NO_RUN = "No run among the results is over as many rows under the same protocol."


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows that may be compared, or, with a `reason`, rows that may not.

    columns: in order; the first one orders the rows.  standings: column -> line id -> its place among the runs whose
    answers are stored.  effect: the minimum detectable effect, in words.  notes: the other footnotes.
    """

    protocol: str
    counted: str
    heading: str
    reason: str
    columns: tuple[str, ...]
    lines: tuple[Line, ...]
    standings: Mapping[str, Mapping[str, Standing]]
    effect: str
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """Everything over the same data: a heading, what is known of the data, tables."""

    heading: str
    about: tuple[str, ...]
    tables: tuple[Table, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Paper:
    """A paper whose figures stand in the tables, and what a reader of any of them must know."""

    name: str
    source: str
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """A task's page."""

    task: str
    sections: tuple[Section, ...]
    papers: tuple[Paper, ...]


@dataclass(slots=True, kw_only=True)
class _Slot:
    """One way of counting on one set of rows, being filled."""

    split: str
    protocol: str
    counted: str
    runs: list[tuple[Summary, list[Mapping[str, Any]]]] = field(default_factory=list)
    papers: list[Line] = field(default_factory=list)
    sizes: dict[str, int] = field(default_factory=dict)

    def fits(self, line: Line) -> bool:
        """Whether no column has another n."""
        return all(self.sizes.get(c, cell.n) == cell.n for c, cell in line.cells.items())

    def take(self, line: Line) -> None:
        """A paper's row joins."""
        self.papers.append(line)
        for name, cell in line.cells.items():
            assert cell.n is not None
            self.sizes.setdefault(name, cell.n)


def board(
    task: str, results: Sequence[Summary], scored: Mapping[str, Scored], published: Sequence[PublishedTable]
) -> Board:
    """All that is known of a task."""
    papers = [t for t in sorted(published, key=lambda t: t.name) if any(_figures(task, t))]
    return Board(
        task=task,
        sections=tuple(sections(task, results, scored, papers)),
        papers=tuple(_paper(task, table) for table in papers),
    )


def _figures(task: str, table: PublishedTable) -> Iterable[Figure]:
    return (f for s in table.systems for f in s.figures if f.task == task)


def _paper(task: str, table: PublishedTable) -> Paper:
    trains = dict.fromkeys(f.train for f in _figures(task, table) if f.train)
    return Paper(
        name=f"{table.paper}, {table.version}",
        source=safe_address(table.url),
        notes=(*table.notes, *(f"{train}: {table.trains[train]}" for train in trains)),
    )


def sections(
    task: str, results: Sequence[Summary], scored: Mapping[str, Scored], published: Sequence[PublishedTable]
) -> list[Section]:
    """Tables: first those that runs and papers share, then figures that only papers have.

    results: of this task.  scored: run id -> its answers' scores, where they are stored.
    """
    bases = _bases(results)
    slots = [slot for group in bases for slot in group[1]]
    alone: list[_Slot] = []
    outside: dict[tuple[str, str, str], list[Line]] = {}
    for table, system, figures in _rows(task, published):
        line = paper_line(table, system, figures)
        figure = figures[0]
        if reason := _why_outside(table, figure):
            said = RANKED.get(line.regime, UNKNOWN_REGIME)
            line = replace(line, details=(said, *line.details))
            outside.setdefault((figure.split, figure.protocol, reason), []).append(line)
            continue
        mine = [s for s in (*slots, *alone) if (s.split, s.protocol) == (figure.split, figure.protocol)]
        slot = next((s for s in mine if s.fits(line)), None)
        if slot is None:
            slot = _Slot(split=figure.split, protocol=figure.protocol, counted="")
            alone.append(slot)
        slot.take(line)
    found = [
        Section(heading=heading, about=about, tables=_models_first([t for s in group for t in _tables(s, scored)]))
        for (heading, about), group in bases
    ]
    splits = sorted({s.split for s in alone} | {key[0] for key in outside})
    return found + [_papers_section(split, alone, outside, {t.name: t for t in published}) for split in splits]


def _models_first(tables: Sequence[Table]) -> tuple[Table, ...]:
    """Tables that hold nothing but baselines go last."""
    return tuple(sorted(tables, key=lambda t: all(line.kind == "baseline" for line in t.lines)))


def _rows(task: str, published: Sequence[PublishedTable]) -> Iterable[tuple[PublishedTable, System, list[Figure]]]:
    """Every paper's rows of a task: the figures of a system that share split, protocol, regime and knowing n."""
    for table in published:
        for system in table.systems:
            groups: dict[tuple[Any, ...], list[Figure]] = {}
            for figure in system.figures:
                if figure.task == task:
                    key = (figure.split, figure.protocol, figure.regime, figure.n is None)
                    groups.setdefault(key, []).append(figure)
            for figures in groups.values():
                yield table, system, figures


def _why_outside(table: PublishedTable, figure: Figure) -> str:
    """Why a paper's figures can be compared with nothing here; "" where they can."""
    if figure.protocol in table.foreign:
        return f"{FOREIGN} ({table.name})"
    if figure.split == "unknown":
        return "the split is not known"
    return "the paper does not say over how many rows" if figure.n is None else ""


def _bases(results: Sequence[Summary]) -> list[tuple[tuple[str, tuple[str, ...]], list[_Slot]]]:
    """Heading, what is known of the data, and the ways of counting, of each set of rows."""
    groups: dict[tuple[str, ...], list[Summary]] = {}
    for result in sorted(results, key=lambda r: (r["model"], r["run_id"])):
        groups.setdefault(tuple(str(result[k]) for k in SAME), []).append(result)
    return [(_about(groups[key]), _slots(groups[key])) for key in sorted(groups)]


def _about(group: Sequence[Summary]) -> tuple[str, tuple[str, ...]]:
    first = group[0]
    heading = f"{first['split']}, {first['n']} samples, closed by {first['closed_rule']}"
    texts = sorted({text for result in group for text in result.get("notes", ())})
    return heading, (f"Data sha256 {first['data_sha256'][:16]}, {first.get('n_images', '?')} images.", *texts)


def _slots(group: Sequence[Summary]) -> list[_Slot]:
    slots: dict[tuple[str, str], _Slot] = {}
    order = list(dict.fromkeys(m["protocol"] for r in group for m in r["metrics"]))
    for result in group:
        mine: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
        for metric in result["metrics"]:
            counted = recipe(metric["signature"], f"result {result['run_id']}, {metric['metric']}")
            mine.setdefault((metric["protocol"], counted), []).append(metric)
        for key, metrics in mine.items():
            slot = slots.setdefault(key, _Slot(split=result["split"], protocol=key[0], counted=key[1]))
            slot.runs.append((result, metrics))
            slot.sizes |= {m["metric"]: m["n"] for m in metrics}
    return [slots[key] for key in sorted(slots, key=lambda k: (order.index(k[0]), k[1]))]


def _papers_section(
    split: str,
    alone: Sequence[_Slot],
    outside: Mapping[tuple[str, str, str], Sequence[Line]],
    named: Mapping[str, PublishedTable],
) -> Section:
    tables = [t for s in alone if s.split == split for t in _tables(s, {})]
    for where, protocol, reason in sorted(outside):
        if where == split:
            lines = outside[where, protocol, reason]
            foreign = named[lines[0].id.partition(":")[0]].foreign
            said = [f"{protocol}: {foreign[protocol]}"] if protocol in foreign and reason.startswith(FOREIGN) else []
            slot = _Slot(split=split, protocol=protocol, counted="")
            tables.append(_table(slot, lines, reason=reason, said=said))
    return Section(heading=f"{split}, {PAPERS_ONLY}", about=(NO_RUN,), tables=tuple(tables))


def _tables(slot: _Slot, scored: Mapping[str, Scored]) -> list[Table]:
    """A slot's tables, one a regime; the image-blind baselines stand in each of them."""
    lines = [run_line(r, m, scored.get(str(r["run_id"]))) for r, m in slot.runs] + slot.papers
    floors = [line for line in lines if line.kind == "baseline"]
    absent = set(FLOORS) - {line.name for line in floors}
    source = next((r for r, _ in slot.runs if (r.get("worth") or {}).get("baselines", {}).get("metrics")), None)
    if source is not None and absent:
        floors += floor_lines(source, slot.protocol, absent)
    said = _absent(slot, floors)
    found = []
    for regime in (*RANKED, "unknown"):
        if mine := [line for line in lines if line.kind != "baseline" and line.regime == regime]:
            reason = "" if regime in RANKED else UNKNOWN_REGIME
            heading = RANKED.get(regime, "")
            found.append(_table(slot, [*mine, *floors], heading=heading, reason=reason, said=said))
    if not found and floors:
        found.append(_table(slot, floors, heading="image-blind baselines only", said=said))
    return found


def _absent(slot: _Slot, floors: Sequence[Line]) -> list[str]:
    """Which of the rows that a table must have beside its models are not among the results."""
    names = {line.name for line in floors}
    missing = [name for name in FLOORS if name not in names]
    if not any(r["image"] == "blank" for r, _ in slot.runs):
        missing.append("a model on blank images")
    return [f"Not among the results on these rows: {', '.join(missing)}."] if missing else []


def _table(
    slot: _Slot,
    lines: Sequence[Line],
    *,
    heading: str = "",
    reason: str = "",
    said: Sequence[str] = (),
) -> Table:
    columns = list(dict.fromkeys(name for line in lines for name in line.cells))
    columns.sort(key=lambda name: (HEADLINES.index(name) if name in HEADLINES else len(HEADLINES), ", " in name))
    ranked = columns if not reason else []
    places = {name: standings(slot.protocol, name, lines) for name in ranked}
    notes = [*how_to_read(lines, places, reason), *said]
    limits = [text for name in ranked if (text := detectable(slot.protocol, name, lines))]
    effect = f"Minimum detectable effect (power 80 %, two-sided 5 %): {'. '.join(limits)}." if limits else ""
    return Table(
        protocol=slot.protocol,
        counted=slot.counted,
        heading=heading,
        reason=reason,
        columns=tuple(columns),
        lines=tuple(_ordered(lines, "" if reason else columns[0])),
        standings={name: found for name, found in places.items() if found},
        effect=effect,
        notes=tuple(dict.fromkeys(notes)),
    )


def _ordered(lines: Sequence[Line], by: str) -> list[Line]:
    """Best first by a column; without one by name, which is no order of merit."""

    def key(line: Line) -> tuple[float, str, str]:
        cell = line.cells.get(by)
        value = -1.0 if cell is None or cell.order is None else cell.order
        return (-value if by else 0.0, line.name, line.id)

    return sorted(lines, key=key)
