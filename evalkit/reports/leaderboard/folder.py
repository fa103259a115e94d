"""A leaderboard's folder.

`published/` holds figures of papers, `results/RUN.json` the summaries of runs without their slices, `scores/RUN.json`
what each of their answers scored.  Everything else at the top is made from these, so that a merge never conflicts in
a table and a table that was changed by hand is seen (`board.check=true`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evalkit.analysis.run_scores import Scored, baseline_content, read_scored
from evalkit.core.errors import DataError, StoreError
from evalkit.core.files import read_json, write_json, write_whole
from evalkit.published import PublishedTable, load_published, published_names
from evalkit.reports.leaderboard.entries import HEADLINES, Summary
from evalkit.reports.leaderboard.page import page
from evalkit.reports.leaderboard.render import latex, markdown, to_csv
from evalkit.reports.leaderboard.tables import Board, board

MADE = (".md", ".csv", ".tex", ".html")
NEEDED = frozenset(
    {"run_id", "model", "task", "split", "data_sha256", "closed_rule", "metrics", "image", "prompt", "n", "evalkit"}
)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
RESERVED = ("readme", "index")
# A score's sixth decimal is lost in the file.
CLOSE = 1e-5


def add(folder: Path, summary: Summary, run: Path | None, standing: Mapping[str, str]) -> None:
    """Put a run's result, and what each answer scored, among the results, and rebuild the tables.

    run: its folder; None where only the summary is known: then no tie and no win is ever computed for it.  The scores
    of a baseline or a control are not kept: it is never ranked.
    standing: role, regime and train, as `evalkit.reports.leaderboard.standing` says.
    """
    kept = {k: v for k, v in summary.items() if k not in ("timing", "skipped")} | dict(standing)
    kept["metrics"] = [m for m in summary["metrics"] if m["slice"] == "all"]
    write_json(folder / "results" / f"{summary['run_id']}.json", kept)
    place = folder / "scores" / f"{summary['run_id']}.json"
    # Scores that an earlier scoring of the same answers left would contradict the new result.
    place.unlink(missing_ok=True)
    if run is not None and kept["role"] == "model" and kept["image"] == "original":
        scored = read_scored(run)
        wanted = [m for m in scored.scores if m.rpartition(" ")[2] in HEADLINES and scored.rows[m]]
        if wanted:
            write_whole(place, baseline_content(scored, wanted, with_texts=False))
    rebuild(folder)


def rebuild(folder: Path) -> list[Path]:
    """Write every table of a leaderboard folder; returns what was written."""
    files = _files(folder)
    for name, text in files.items():
        write_whole(folder / name, text)
    for name in _made(folder) - set(files):
        (folder / name).unlink()
    return [folder / name for name in files]


def check(folder: Path) -> list[str]:
    """The names of files that are not what the folder's inputs make: changed, missing or left over."""
    files = _files(folder)
    changed = [
        n for n, text in files.items() if not (folder / n).is_file() or (folder / n).read_bytes() != text.encode()
    ]
    return sorted({*changed, *(_made(folder) - set(files))})


def _made(folder: Path) -> set[str]:
    return {p.name for p in folder.glob("*") if p.suffix in MADE and not p.name.startswith(".")}


def _files(folder: Path) -> dict[str, str]:
    results = read_results(folder)
    return render(results, read_scores(folder, results), read_published(folder, {r["task"] for r in results}))


def read_published(folder: Path, tasks: set[str]) -> list[PublishedTable]:
    """The folder's own figures of papers; without such a folder evalkit's own, of the tasks that have results."""
    own = folder / "published"
    if own.is_dir():
        return [load_published(name, own) for name in published_names(own)]
    tables = [load_published(name) for name in published_names()]
    return [_only(table, tasks) for table in tables]


def _only(table: PublishedTable, tasks: set[str]) -> PublishedTable:
    from dataclasses import replace

    systems = [replace(s, figures=tuple(f for f in s.figures if f.task in tasks)) for s in table.systems]
    return replace(table, systems=tuple(s for s in systems if s.figures))


def read_results(folder: Path) -> list[dict[str, Any]]:
    """The results of a leaderboard folder, by run id.

    Raises:
        StoreError: a file is no result of evalkit.
    """
    found = []
    for path in sorted((folder / "results").glob("*.json")):
        content = read_json(path, "result")
        missing = NEEDED - set(content) if isinstance(content, dict) else NEEDED
        if missing or content["run_id"] != path.stem:
            raise StoreError(f"{path} is not a result of evalkit: {', '.join(sorted(missing)) or 'run_id'} is wrong.")
        found.append(content)
    return found


def read_scores(folder: Path, results: Sequence[Summary]) -> dict[str, Scored]:
    """Run id -> what its answers scored, where that is stored.

    Raises:
        StoreError: a file is damaged, belongs to no result, or says another value than its result.
    """
    known = {str(r["run_id"]): r for r in results}
    found = {}
    for path in sorted((folder / "scores").glob("*.json")):
        if path.stem not in known:
            raise StoreError(f"{path} belongs to no result in {folder / 'results'}; remove it, or bring its result.")
        scored = read_scored(path)
        _agree(scored, known[path.stem], path)
        found[path.stem] = scored
    return found


def _agree(scored: Scored, result: Summary, path: Path) -> None:
    """A result's headline numbers are the means of its stored scores: a figure changed in either is seen."""
    for key in ("run_id", "task", "split", "data_sha256"):
        if scored.header.get(key) != result[key]:
            raise StoreError(f"{path}: {key} is {scored.header.get(key)!r}, its result says {result[key]!r}.")
    for metric in result["metrics"]:
        rows = scored.rows.get(f"{metric['protocol']} {metric['metric']}", ())
        if not rows:
            continue
        values = scored.scores[f"{metric['protocol']} {metric['metric']}"]
        value = sum(values[k] or 0.0 for k in rows) / len(rows)
        if len(rows) != metric["n"] or abs(value - metric["value_unscored_wrong"]) > CLOSE:
            raise StoreError(
                f"{path}: {metric['protocol']} {metric['metric']} is {value:.6f} over {len(rows)} rows, its result "
                f"says {metric['value_unscored_wrong']} over {metric['n']}. One of them was changed: run it again."
            )


def render(
    results: Sequence[Summary], scores: Mapping[str, Scored], published: Sequence[PublishedTable]
) -> dict[str, str]:
    """File name -> content: README.md, index.html, and TASK.md, TASK.csv and TASK.tex for each task.

    Raises:
        DataError: a task's name cannot be the name of a file.
    """
    tasks = sorted({r["task"] for r in results} | {f.task for t in published for s in t.systems for f in s.figures})
    files: dict[str, str] = {}
    boards: list[Board] = []
    for task in tasks:
        if not _NAME.fullmatch(task) or task.lower() in RESERVED:
            raise DataError(f"The task {task!r} cannot name a file; expected letters, digits, '.', '_' and '-'.")
        found = board(task, [r for r in results if r["task"] == task], scores, published)
        boards.append(found)
        files |= {f"{task}.md": markdown(found), f"{task}.csv": to_csv(found), f"{task}.tex": latex(found)}
    files["README.md"] = _readme(boards)
    files["index.html"] = page(boards)
    return files


def _readme(boards: Sequence[Board]) -> str:
    lines = ["# Leaderboards", ""]
    lines += [
        "Made by `python -m evalkit board` from the figures of papers in `published/`, the results of runs in",
        "`results/` and their answers' scores in `scores/`; do not edit by hand. `index.html` is the same as one page.",
        "",
    ]
    lines += [f"- [{b.task}]({b.task}.md) ([CSV]({b.task}.csv), [LaTeX]({b.task}.tex)): {_size(b)}" for b in boards]
    return "\n".join(lines if boards else [*lines, "There are no results and no figures yet."]) + "\n"


def _size(board: Board) -> str:
    lines = {line.id: line.kind for s in board.sections for t in s.tables for line in t.lines}
    kinds = list(lines.values())
    return f"{len(kinds) - kinds.count('paper')} rows of runs, {kinds.count('paper')} rows of papers"
