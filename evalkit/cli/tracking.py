"""`tracker=NAME`: a finished run sent to an experiment tracker.

A tracker that fails loses nothing of the run, which is on disk by then: it is a warning, and exit code 3 at the end.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from evalkit.cli.commands.report import samples_as_seen, write_report
from evalkit.cli.config import Config, build
from evalkit.cli.factories import make_task
from evalkit.cli.saved_config import saved_task
from evalkit.core import console
from evalkit.core.errors import DataError, EvalkitError, Partial, first_line

if TYPE_CHECKING:
    from evalkit.pipeline.conclude import Conclusion
    from evalkit.reports.tracking import TrackedRun, TrackedSample, Tracker
    from evalkit.runs.verify import StoredRun


def make_tracker(config: Config) -> Tracker | None:
    """The chosen tracker, checked to be usable; None where none is chosen.

    Raises:
        ConfigError: a setting is invalid, or its library is not installed.
    """
    if not config.get("tracker"):
        return None
    tracker: Tracker = build(config["tracker"], "tracker")
    tracker.check()
    return tracker


def untracked(config: Config) -> Config:
    """The configuration as a run records it: where it was sent says nothing about it, nor what was asked with it."""
    kept = {key: value for key, value in config.items() if key not in ("tracker", "probe")}
    if not kept.get("confidence"):  # as in runs of versions without it
        kept.pop("confidence", None)
    if "choices" in kept:
        kept["choices"] = {key: value for key, value in kept["choices"].items() if key != "tracker"}
    return kept


def track(config: Config, conclusion: Conclusion) -> Conclusion:
    """Send a finished run to the chosen tracker; returns its conclusion, with the reason where that failed."""
    if not config.get("tracker") or conclusion.summary is None:
        return conclusion
    name = str(config["choices"].get("tracker"))
    try:
        tracker = make_tracker(config)
        assert tracker is not None, "a tracker is chosen"
        with tempfile.TemporaryDirectory(prefix="evalkit-page-") as folder, _output_kept_apart():
            place = tracker.log(tracked_run(conclusion.folder, tracker, Path(folder)))
    except Exception as problem:  # noqa: BLE001 - whatever a tracker's library raises, the run is finished
        text = str(problem) if isinstance(problem, EvalkitError) else f"{type(problem).__name__}: {first_line(problem)}"
        console.warn(f"tracker={name}: the run was not sent, or in part: {text}. Its files are in {conclusion.folder}.")
        return replace(conclusion, untracked=f"tracker={name}: {text}")
    console.note(f"tracker={name}: {place}")
    return conclusion


def check_tracked(conclusions: Sequence[Conclusion | None]) -> None:
    """Check that every run was sent to its tracker, after everything was printed and written.

    Raises:
        Partial: one was not.
    """
    reasons = [c.untracked for c in conclusions if c is not None and c.untracked is not None]
    if reasons:
        raise Partial(
            f"The numbers above are complete, and {len(reasons)} run(s) were not sent to the tracker: {reasons[0]}. "
            "The same command sends them again, without asking the model."
        )


@contextlib.contextmanager
def _output_kept_apart() -> Iterator[None]:
    """What a library prints goes to standard error: on standard output is the table, and the folder last."""
    with contextlib.redirect_stdout(sys.stderr):
        yield


def tracked_run(folder: Path, tracker: Tracker, page_folder: Path) -> TrackedRun:
    """A run as its tracker gets it; the page is written into `page_folder`."""
    from evalkit.pipeline.conclude import remarks
    from evalkit.reports.tracking import TrackedRun, sent_config, without_folders
    from evalkit.runs.verify import open_run

    stored = open_run(folder)
    summary, manifest = stored.summary, stored.manifest
    facts = {
        key: getattr(summary, key) for key in ("model", "task", "split", "form", "n", "data_sha256", "closed_rule")
    }
    facts |= {key: getattr(summary, key) for key in ("prompt", "image", "generation", "limit", "n_failed", "evalkit")}
    given = {} if manifest is None else {**manifest.config, "checkpoint": manifest.checkpoint}
    return TrackedRun(
        run_id=summary.run_id,
        name=f"{summary.model} on {summary.task} ({summary.split})",
        task=summary.task,
        config={**sent_config(given), **sent_config({"run": {**facts, "id": summary.run_id}})},
        metrics=summary.metrics,
        samples=_samples(stored, tracker),
        files=_page(folder, tracker, page_folder) if tracker.page else (),
        notes=[without_folders(text) for text in (*summary.notes, *remarks(summary))],
    )


def _page(folder: Path, tracker: Tracker, page_folder: Path) -> tuple[Path, ...]:
    """The page of the run, and the folder of its pictures where there is one."""
    settings = {"run": folder, "against": None, "images": tracker.pictures, "data": {"path": None}}
    page = write_report({**settings, "file": page_folder / "report.html"})
    pictures = page.with_name(f"{page.stem}-images")
    return (page, pictures) if pictures.is_dir() else (page,)


def _samples(stored: StoredRun, tracker: Tracker) -> list[TrackedSample]:
    """The first samples of a run, with their scores and pictures."""
    from evalkit.reports.tracking import TrackedSample, without_folders

    prompts, lines = stored.prompts(), {line.sample_id: line for line in stored.predictions()}
    order = [i for i in (prompts.ids if prompts is not None else lines) if i in lines][: tracker.samples]
    scores: dict[str, dict[str, float | None]] = {i: {} for i in order}
    for score in stored.scores() if order else ():
        if score.sample_id in scores:
            scores[score.sample_id][f"{score.protocol} {score.metric}"] = score.value
    pictures = _pictures(stored, order) if order and tracker.pictures else {}
    return [
        TrackedSample(
            sample_id=i,
            question=lines[i].question,
            references=" | ".join(lines[i].references),
            answer=lines[i].text or "",
            error=without_folders(lines[i].error or ""),
            scores=scores[i],
            picture=pictures.get(i),
        )
        for i in order
    ]


def _pictures(stored: StoredRun, ids: Sequence[str]) -> dict[str, bytes]:
    """The first picture of each of these samples as its model saw it; without those that cannot be read."""
    from evalkit.reports.run_page.page import scaled_down

    if stored.manifest is None:
        return {}
    wanted, found = set(ids), dict[str, bytes]()
    try:
        loaded = make_task({"task": saved_task(stored.manifest, {"path": None})}).load(images=True)
        samples = samples_as_seen(stored.folder.path, loaded.samples)
    except EvalkitError as problem:
        console.warn(f"the table of samples has no pictures, because the data cannot be read: {problem}")
        return {}
    for sample in samples:
        if sample.id in wanted and sample.images:
            with contextlib.suppress(DataError):  # the page says so
                found[sample.id] = scaled_down(sample.images[0]).jpeg
    return found
