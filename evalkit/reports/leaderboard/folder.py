"""A leaderboard's folder.

`published/` holds figures of papers, `results/RUN.json` the summaries of runs without their slices, `scores/RUN.json`
the scores of each of their answers.  Everything else at the top is made from these, so that merges never conflict in a
table and manual edits of a table are detected (`board.check=true`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from evalkit.analysis.run_scores import RunScores, ScoreColumn, baseline_file, read_run_scores
from evalkit.core import console
from evalkit.core.errors import DataError, StoreError
from evalkit.core.files import LONGEST_NAME, write_whole
from evalkit.core.types import MetricKey, MetricValue
from evalkit.published import PublishedTable, load_published, published_names
from evalkit.reports.leaderboard.exposure import TrainingExposure
from evalkit.reports.leaderboard.generated import is_generated, locked
from evalkit.reports.leaderboard.history import answers_sha256, stored_before, succeeded
from evalkit.reports.leaderboard.index_page import pages
from evalkit.reports.leaderboard.overview import Overview, overviews
from evalkit.reports.leaderboard.overview import to_markdown as overviews_to_markdown
from evalkit.reports.leaderboard.page import FILE_NAME, Surroundings, twins
from evalkit.reports.leaderboard.ranking import HEADLINES
from evalkit.reports.leaderboard.render import row_counts, to_csv, to_latex, to_markdown
from evalkit.reports.leaderboard.stored_scores import Pool, StoredScores
from evalkit.reports.leaderboard.tables import Board, board
from evalkit.runs.read import result_at
from evalkit.runs.schema import LeaderboardResult, Summary
from evalkit.runs.store import run_name, write_record
from evalkit.stats import exact_sum

# Run id -> scores of its answers, where they are stored.
StoredByRun = Mapping[str, RunScores | StoredScores]
# Tables of so many results are rebuilt after each run, in about a second.
REBUILT = 200
RESERVED = ("readme", "index")
# Scores that an earlier version stored have six decimals.
TOLERANCE = 1e-5


def add(folder: Path, summary: Summary, run: Path | None, exposure: TrainingExposure) -> None:
    """Store a run's result and the scores of its answers in a leaderboard, and rebuild the tables.

    A folder of more than REBUILT results keeps its tables until `rebuild` is called: every place depends on every run.

    Args:
        run: the run's folder; None where only the summary is known, and then its row is never ranked.  Scores of a
            baseline or a control are not stored, because these are never ranked.
        exposure: as `training_exposure` gives it.

    Raises:
        Partial: another process holds the folder; nothing is stored.
    """
    check_task_name(summary.task)
    run_name(summary.run_id)
    result = leaderboard_result(summary, exposure)
    scores = scores_to_rank(result, run)
    result = replace(result, answers=answers_sha256(run, scores))
    with locked(folder):
        result = _store(folder, result, scores)
        n_results = sum(1 for _ in (folder / "results").glob("*.json"))
        if n_results > REBUILT:
            console.note(
                f"note: the row is stored; {folder} has {n_results} results, and with more than {REBUILT} its tables "
                f"are made on request only: python -m evalkit board leaderboard={folder}"
            )
            return
        others = read_results(folder, skipped=result.run_id)
        results = sorted([*others, result], key=lambda r: r.run_id)
        stored = read_scores(folder, others, skipped=result.run_id)
        _write_tables(folder, results, stored if scores is None else {**stored, result.run_id: scores})


def _store(folder: Path, result: LeaderboardResult, scores: RunScores | None) -> LeaderboardResult:
    """Write a result and its scores; returns the result with what it replaces in its history."""
    path = folder / "results" / f"{result.run_id}.json"
    result = succeeded(result, stored_before(path))
    write_record(path, result)
    place = folder / "scores" / path.name
    # Scores of an earlier scoring of the same answers would contradict the new result.
    place.unlink(missing_ok=True)
    if scores is not None:
        write_whole(place, baseline_file(scores, list(scores.columns), with_texts=False))
    return result


def leaderboard_result(summary: Summary, exposure: TrainingExposure) -> LeaderboardResult:
    """A run's summary as a leaderboard keeps it: without slices, timing and skipped rows."""
    kept = {name: getattr(summary, name) for name in Summary.__dataclass_fields__}
    kept |= {"timing": None, "skipped": (), "metrics": tuple(m for m in summary.metrics if m.slice == "all")}
    return LeaderboardResult(**kept, role=exposure.role, regime=exposure.regime, train=exposure.train)


def scores_to_rank(result: LeaderboardResult, run: Path | None) -> RunScores | None:
    """The scores of a run in the metrics that are ranked; None where the run is never ranked or has none."""
    unscored = not result.metrics  # such as chat answers before a judge has scored them
    if run is None or unscored or result.role != "model" or result.image != "original":
        return None
    scores = read_run_scores(run)
    columns = {key: c for key, c in scores.columns.items() if key.metric in HEADLINES and c.n}
    return replace(scores, columns=columns) if columns else None


def rebuild(folder: Path) -> list[Path]:
    """Write every table of a leaderboard folder; returns the written files."""
    with locked(folder):
        results = read_results(folder)
        return _write_tables(folder, results, read_scores(folder, results))


def _write_tables(folder: Path, results: Sequence[LeaderboardResult], scores: StoredByRun) -> list[Path]:
    files = _tables(folder, results, scores)
    for name, text in files.items():
        write_whole(folder / name, text)
    for name in _generated(folder) - set(files):
        (folder / name).unlink()
    return [folder / name for name in files]


def check(folder: Path) -> list[str]:
    """The names of files that differ from the tables that the folder's inputs make: changed, missing or left over."""
    results = read_results(folder)
    files = _tables(folder, results, read_scores(folder, results))
    changed = [
        n for n, text in files.items() if not (folder / n).is_file() or (folder / n).read_bytes() != text.encode()
    ]
    return sorted({*changed, *(_generated(folder) - set(files))})


def _generated(folder: Path) -> set[str]:
    return {p.name for p in folder.glob("*") if not p.name.startswith(".") and is_generated(p)}


def _tables(folder: Path, results: Sequence[LeaderboardResult], scores: StoredByRun) -> dict[str, str]:
    return render(results, scores, read_published(folder, {r.task for r in results}))


def read_published(folder: Path, tasks: set[str]) -> list[PublishedTable]:
    """The folder's own figures of papers; without a folder `published/` evalkit's own, of the tasks with results."""
    own = folder / "published"
    if own.is_dir():
        return [load_published(name, own) for name in published_names(own)]
    return [_only(load_published(name), tasks) for name in published_names()]


def _only(table: PublishedTable, tasks: set[str]) -> PublishedTable:
    systems = [replace(s, figures=tuple(f for f in s.figures if f.task in tasks)) for s in table.systems]
    return replace(table, systems=tuple(s for s in systems if s.figures))


def read_results(folder: Path, skipped: str | None = None) -> list[LeaderboardResult]:
    """The results of a leaderboard folder in order of their file names.

    Args:
        skipped: id of a run whose result is not read.

    Raises:
        StoreError: a file is not a result of evalkit, or is named after another run.
    """
    found = []
    for path in sorted((folder / "results").glob("*.json")):
        if path.stem == skipped:
            continue
        result = result_at(path)
        if result.run_id != path.stem:
            raise StoreError(
                f"{path}, key 'run_id': found {result.run_id!r}, expected the file's name. Rename the file."
            )
        found.append(result)
    return found


def read_scores(
    folder: Path, results: Sequence[LeaderboardResult], skipped: str | None = None
) -> dict[str, StoredScores]:
    """Run id -> scores of its answers, where they are stored.

    Args:
        skipped: id of a run whose scores are not read.

    Raises:
        StoreError: a file is damaged, belongs to no result, or contradicts its result.
    """
    by_id = {r.run_id: r for r in results}
    pool: Pool = {}
    found = {}
    for path in sorted((folder / "scores").glob("*.json")):
        if path.stem == skipped:
            continue
        if path.stem not in by_id:
            raise StoreError(f"{path} belongs to no result in {folder / 'results'}; remove it, or add its result.")
        scores = read_run_scores(path)
        _check_agreement(scores, by_id[path.stem], path)
        found[path.stem] = StoredScores.of(scores, pool)
    return found


def _check_agreement(scores: RunScores, result: LeaderboardResult, path: Path) -> None:
    """Refuse stored scores that contradict their result: one of the two was changed."""
    for key in ("run_id", "task", "split", "data_sha256"):
        stored, expected = getattr(scores.header, key), getattr(result, key)
        if stored != expected:
            raise StoreError(f"{path}: {key} is {stored!r}, the result has {expected!r}.")
    for metric in result.metrics:
        column = scores.columns.get(metric.key)
        if column is not None and column.n:
            _check_column(metric.key, column, metric, path)


def _check_column(key: MetricKey, column: ScoreColumn, metric: MetricValue, path: Path) -> None:
    """Compare the mean of stored scores, unscored rows as the worst score, with the result's worst case."""
    if column.higher_is_better is not (metric.higher_is_better is not False):
        raise StoreError(f"{path}: {key} has another direction than its result. One of them was changed.")
    worst_case = column.worst_case()
    value = exact_sum(worst_case) / len(worst_case)
    expected = metric.value_worst_case
    if len(worst_case) != metric.n or expected is None or abs(value - expected) > TOLERANCE:
        raise StoreError(
            f"{path}: {key} is {value:.6f} over {len(worst_case)} rows, its result has {expected} over {metric.n}. One "
            "of them was changed: run the run's command again."
        )
    scored = column.scored()
    n_unscored = column.n - len(scored)
    # The headline value leaves unscored rows out, or counts them as wrong.
    means = [value, *([exact_sum(scored) / len(scored)] if len(scored) else [])]
    is_mean = not len(scored) if metric.value is None else any(abs(metric.value - m) <= TOLERANCE for m in means)
    if metric.n_unscored != n_unscored or not is_mean:
        raise StoreError(
            f"{path}: {key} is {means[-1]:.6f} with {n_unscored} unscored rows, its result has {metric.value} with "
            f"{metric.n_unscored}. One of them was changed: run the run's command again."
        )


def check_task_name(task: str) -> None:
    """Check that a task can have tables, which are files with its name.

    Raises:
        DataError: it cannot.
    """
    if not FILE_NAME.fullmatch(task) or len(task) > LONGEST_NAME or task.lower() in RESERVED:
        raise DataError(
            f"The task {task[:80]!r} cannot name a file; expected letters, digits, '.', '_' and '-', at most "
            f"{LONGEST_NAME}. Give it another name (task.name=), or leaderboard=null for no table."
        )


def render(
    results: Sequence[LeaderboardResult], scores: StoredByRun, published: Sequence[PublishedTable]
) -> dict[str, str]:
    """File name -> content: README.md, index.html, and TASK.md, TASK.csv, TASK.tex and TASK.html for each task.

    Raises:
        DataError: a task's name is not valid as the name of a file.
    """
    tasks = sorted({r.task for r in results} | {f.task for t in published for s in t.systems for f in s.figures})
    around = Surroundings(twins=twins(tasks))
    files: dict[str, str] = {}
    boards: list[Board] = []
    for task in tasks:
        check_task_name(task)
        found = board(task, [r for r in results if r.task == task], scores, published)
        boards.append(found)
        stem = Path(around.file(task)).stem
        files |= {f"{stem}.md": to_markdown(found), f"{stem}.csv": to_csv(found), f"{stem}.tex": to_latex(found)}
    together = overviews(boards)
    files["README.md"] = _readme(boards, together, around)
    return files | pages(boards, together, around)


def _readme(boards: Sequence[Board], together: Sequence[Overview], around: Surroundings) -> str:
    lines = ["# Leaderboards", ""]
    lines += [
        "Made by `python -m evalkit board` from the figures of papers in `published/`, the results of runs in",
        "`results/` and the scores of their answers in `scores/`; do not edit by hand. `index.html` has an overview,",
        "a search over all rows and a link to the page of each task.",
        "",
    ]
    stems = [(b, Path(around.file(b.task)).stem) for b in boards]
    lines += [f"- [{b.task}]({stem}.md) ([CSV]({stem}.csv), [LaTeX]({stem}.tex)): {_size(b)}" for b, stem in stems]
    lines += overviews_to_markdown(together)
    return "\n".join(lines if boards else [*lines, "There are no results and no figures yet."]) + "\n"


def _size(board: Board) -> str:
    runs, papers = row_counts(board)
    return f"{runs} rows of runs, {papers} rows of papers"
