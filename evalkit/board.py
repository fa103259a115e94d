"""Leaderboard tables: a pure function of the results beside them.

`results/RUN.json` are the summaries of runs without their slices.  `render` makes every table from them, so that a
merge never conflicts in a table and a table that was changed by hand is seen (`board.check=true`).
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evalkit.console import percent
from evalkit.errors import StoreError
from evalkit.store import read_json, write_json, write_whole

Summary = Mapping[str, Any]

# What two results must share to stand in one table.
SAME = ("task", "split", "data_sha256", "closed_rule")
CSV_COLUMNS = (
    "task", "split", "protocol", "metric", "model", "image", "prompt", "value", "low", "high", "n", "n_unscored",
    "value_unscored_wrong", "n_failed", "run_id", "signature",
)  # fmt: skip


def add(folder: Path, summary: Summary) -> None:
    """Put a run's result among the results and rebuild the tables."""
    kept = {k: v for k, v in summary.items() if k not in ("timing", "skipped")}
    kept["metrics"] = [m for m in summary["metrics"] if m["slice"] == "all"]
    write_json(folder / "results" / f"{summary['run_id']}.json", kept)
    rebuild(folder)


def rebuild(folder: Path) -> list[Path]:
    """Write every table of a leaderboard folder; returns what was written."""
    files = render(read_results(folder))
    for name, text in files.items():
        write_whole(folder / name, text)
    for name in _tables(folder) - set(files):
        (folder / name).unlink()
    return [folder / name for name in files]


def check(folder: Path) -> list[str]:
    """The names of tables that are not what the results make: changed, missing or left over."""
    files = render(read_results(folder))
    changed = [n for n, text in files.items() if not (folder / n).is_file() or _read(folder / n) != text]
    return sorted({*changed, *(_tables(folder) - set(files))})


def _tables(folder: Path) -> set[str]:
    return {p.name for p in folder.glob("*") if p.suffix in (".md", ".csv")}


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def read_results(folder: Path) -> list[dict[str, Any]]:
    """The results of a leaderboard folder, by run id."""
    found = []
    for path in sorted((folder / "results").glob("*.json")):
        content = read_json(path, "result")
        missing = {"run_id", "model", "metrics", "image", "n", *SAME} - set(content)
        if missing or content["run_id"] != path.stem:
            raise StoreError(f"{path} is not a result of evalkit: {', '.join(sorted(missing)) or 'run_id'} is wrong.")
        found.append(content)
    return found


def render(results: Sequence[Summary]) -> dict[str, str]:
    """File name -> content: README.md, and TASK.md and TASK.csv for each task."""
    tasks = sorted({r["task"] for r in results})
    files: dict[str, str] = {}
    for task in tasks:
        mine = [r for r in results if r["task"] == task]
        files[f"{task}.md"] = _markdown(task, mine)
        files[f"{task}.csv"] = _csv(mine)
    lines = ["# Leaderboards", "", "Made by `python -m evalkit board` from `results/`; do not edit by hand.", ""]
    lines += [f"- [{task}]({task}.md)" for task in tasks]
    files["README.md"] = "\n".join(lines) + "\n"
    return files


def _markdown(task: str, results: Sequence[Summary]) -> str:
    parts = [
        f"# {task}",
        "",
        "Percent, with the 95 % interval clustered by image. n counts every row of the metric; unscored rows are named",
        "in brackets and are not in the value. Rows are comparable inside one table only.",
    ]
    for group in _groups(results):
        first = group[0]
        parts += ["", f"## {first['split']}, {first['n']} samples, closed by {first['closed_rule']}"]
        parts += [f"Data sha256 `{first['data_sha256'][:16]}`, {first.get('n_images', '–')} images."]
        for text in sorted({t for r in group for t in r.get("notes", ())}):
            parts += ["", f"> {text}"]
        for protocol in dict.fromkeys(m["protocol"] for r in group for m in r["metrics"]):
            parts += ["", f"### {protocol}", "", *_table(protocol, group)]
    return "\n".join(parts) + "\n"


def _groups(results: Sequence[Summary]) -> list[list[Summary]]:
    groups: dict[tuple[Any, ...], list[Summary]] = {}
    for result in results:
        groups.setdefault(tuple(str(result[k]) for k in SAME), []).append(result)
    return [groups[key] for key in sorted(groups)]


def _table(protocol: str, group: Sequence[Summary]) -> list[str]:
    """One protocol's table, ranked by its first metric."""
    cells: list[tuple[Summary, dict[str, Mapping[str, Any]]]] = []
    for result in group:
        mine = {m["metric"]: m for m in result["metrics"] if m["protocol"] == protocol}
        if mine:
            cells.append((result, mine))
    metrics = list(dict.fromkeys(name for _, mine in cells for name in mine))
    cells.sort(key=lambda c: (-_rank(c[1].get(metrics[0])), c[0]["model"], c[0]["run_id"]))
    lines = ["| " + " | ".join(["model", "image", "prompt", *metrics]) + " |", "|" + "---|" * (3 + len(metrics))]
    for result, mine in cells:
        shown = [_cell(mine.get(name)) for name in metrics]
        lines.append("| " + " | ".join([result["model"], result["image"], str(result["prompt"]), *shown]) + " |")
    return lines


def _rank(metric: Mapping[str, Any] | None) -> float:
    value = None if metric is None else metric["value"]
    return -1.0 if value is None else float(value)


def _cell(metric: Mapping[str, Any] | None) -> str:
    if metric is None or metric["value"] is None:
        return "–"
    low, high = metric["low"], metric["high"]
    interval = "" if low is None else f" [{100 * low:.1f}, {100 * high:.1f}]"
    unscored = f" ({metric['n_unscored']} unscored)" if metric["n_unscored"] else ""
    return f"{percent(metric['value'])}{interval} n={metric['n']}{unscored}"


def _csv(results: Sequence[Summary]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, CSV_COLUMNS, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    rows = [{**r, **m} for r in results for m in r["metrics"]]
    for row in sorted(rows, key=lambda r: [str(r[k]) for k in CSV_COLUMNS[:5]] + [str(r["run_id"])]):
        writer.writerow(row)
    return text.getvalue()
