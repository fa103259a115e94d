"""A paper's table beside what runs reproduced of it, a verdict for each cell."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evalkit.console import percent
from evalkit.published import Figure, PublishedTable, System, printed
from evalkit.store import read_json

REPRODUCED = "reproduced"
DEVIATES = "deviates"
NOT_COMPARABLE = "not comparable"
NOT_RUN = "not run"
COLUMNS = (
    "row", "model", "LoRA", "extra data", "task", "split", "metric", "published", "reproduced", "difference", "verdict",
    "run",
)  # fmt: skip

Summary = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One published figure and what one run says of it; run, value and count are empty where there is none.

    value: the run's fraction.  k: its right answers, where the published figure has a count.  why: in words.
    """

    system: System
    figure: Figure
    verdict: str
    why: str = ""
    run: str = ""
    value: float | None = None
    k: int | None = None

    @property
    def reproduced(self) -> str:
        """The run's value as the paper would print it."""
        return "–" if self.value is None else printed(self.value, self.figure.decimals)


def read_summaries(folders: Iterable[Path]) -> list[dict[str, Any]]:
    """The summaries of all runs below some folders, in order of their paths, each run once."""
    found: dict[str, dict[str, Any]] = {}
    for folder in folders:
        for path in sorted(folder.glob("*/summary.json")):
            content = read_json(path, "summary")
            if isinstance(content, dict):
                found.setdefault(str(content.get("run_id")), content)
    return list(found.values())


def compare_paper(
    published: PublishedTable, runs: Sequence[Summary], models: Mapping[str, str] | None = None
) -> list[Cell]:
    """A cell for every figure and every run of its model on its task and split; a figure without one is "not run".

    models: name of a run's model -> id of the published system, where they differ.  A figure with a count of right
    answers is reproduced by exactly that count, any other by the value that is printed the same.
    """
    names = dict(models or {})
    cells: list[Cell] = []
    for system in published.systems:
        for figure in system.figures:
            mine = [
                run
                for run in runs
                if names.get(run["model"], run["model"]) == system.id
                and (run["task"], run["split"]) == (figure.task, figure.split)
            ]
            met = [_cell(system, figure, run) for run in mine]
            cells += met or [Cell(system=system, figure=figure, verdict=NOT_RUN)]
    return cells


def _cell(system: System, figure: Figure, run: Summary) -> Cell:
    found = [
        m for m in run["metrics"] if (m["protocol"], m["metric"], m["slice"]) == (figure.protocol, figure.metric, "all")
    ]
    about: dict[str, Any] = {"system": system, "figure": figure, "run": run["run_id"]}
    if not found or found[0]["value"] is None:
        return Cell(**about, verdict=NOT_COMPARABLE, why=f"the run has no {figure.protocol} {figure.metric}")
    metric = found[0]
    value, n = float(metric["value"]), int(metric["n"])
    if why := _incomparable(figure, run, metric):
        return Cell(**about, verdict=NOT_COMPARABLE, why=why, value=value)
    if figure.k is not None:
        k = round(value * n)
        why = "" if k == figure.k else f"{k} right, published are {figure.k} of {figure.n}"
        return Cell(**about, verdict=DEVIATES if why else REPRODUCED, why=why, value=value, k=k)
    same = printed(value, figure.decimals) == figure.value
    return Cell(**about, verdict=REPRODUCED if same else DEVIATES, value=value)


def _incomparable(figure: Figure, run: Summary, metric: Mapping[str, Any]) -> str:
    """Why the run's number is not over what the figure is over; "" where it is."""
    if run["image"] != "original":
        return f"the model saw {run['image']} images"
    if figure.n is not None and metric["n"] != figure.n:
        return f"over {metric['n']} rows, published over {figure.n}"
    if metric["n_unscored"]:
        return f"{metric['n_unscored']} of {metric['n']} rows are unscored"
    return ""


def markdown(published: PublishedTable, cells: Sequence[Cell]) -> str:
    """The table as Markdown: a row a cell, what was published beside what came out."""
    lines = [f"# {published.paper}", "", f"{published.table}, {published.version}. Percent.", ""]
    lines += [f"> {note}\n" for note in published.notes]
    lines += ["| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS)]
    for cell in cells:
        figure, system = cell.figure, cell.system
        split = f"{figure.split} (trained on)" if figure.regime == "trained-on-this-split" else figure.split
        verdict = f"{cell.verdict}: {cell.why}" if cell.why else cell.verdict
        values = (
            system.label, system.model, _flag(system.lora), _flag(system.extra_data), figure.task, split, figure.metric,
            figure.value, cell.reproduced, _difference(cell), verdict, cell.run or "–",
        )  # fmt: skip
        lines.append("| " + " | ".join(values) + " |")
    counts = {verdict: sum(c.verdict == verdict for c in cells) for verdict in dict.fromkeys(c.verdict for c in cells)}
    lines += ["", ", ".join(f"{n} {verdict}" for verdict, n in counts.items())]
    return "\n".join(lines) + "\n"


def _difference(cell: Cell) -> str:
    return "–" if cell.value is None else f"{100 * cell.value - float(cell.figure.value):+.2f}"


def _flag(value: bool | None) -> str:
    return {True: "yes", False: "no", None: "?"}[value]


def show(published: PublishedTable, cells: Sequence[Cell]) -> str:
    """The table for a terminal: a line a system, its published values, each with what the runs say of it."""
    marks = {REPRODUCED: "=", DEVIATES: "≠", NOT_COMPARABLE: "?", NOT_RUN: ""}
    columns = list(dict.fromkeys((c.figure.task, c.figure.split) for c in cells))
    trained = {(c.figure.task, c.figure.split) for c in cells if c.figure.regime == "trained-on-this-split"}
    head = [f"{task.rpartition('-')[2]} {split}{'*' if (task, split) in trained else ''}" for task, split in columns]
    lines = [f"{published.paper}, {published.table}, {published.version}", ""]
    width = max(len(s.id) for s in published.systems)
    lines.append(" " * width + "".join(f"{h:>16}" for h in head))
    for system in published.systems:
        texts = []
        for column in columns:
            mine = [c for c in cells if c.system is system and (c.figure.task, c.figure.split) == column]
            said = "".join(f" {marks[c.verdict]}{percent(c.value)}" for c in mine if c.verdict != NOT_RUN)
            texts.append(f"{mine[0].figure.value if mine else '–'}{said}")
        lines.append(f"{system.id:<{width}}" + "".join(f"{t:>16}" for t in texts))
    lines += ["", "= reproduced, ≠ deviates, ? not comparable, no sign: not run"]
    if trained:
        lines.append("* trained on: " + published.notes[0] if published.notes else "* trained on this split")
    lines += [f"{c.run}: {c.figure.task} {c.figure.split}: {c.verdict}: {c.why}" for c in cells if c.why]
    return "\n".join(lines)
