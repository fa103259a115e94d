"""Verbs that show finished runs: report, paper, board."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from evalkit import console
from evalkit.config import Config
from evalkit.errors import DataError, EvalkitError
from evalkit.verbs.build import make_task

if TYPE_CHECKING:
    from evalkit.report.data import Picture
    from evalkit.types import Sample


def report(config: Config) -> int:
    """Write a run's page, or the page of two runs side by side."""
    from evalkit.report import page_data, write_page
    from evalkit.report.page import pictures
    from evalkit.rescore import manifest_beside

    run = Path(config["run"])
    runs = [run, Path(config["against"])] if config["against"] else [run]
    target = Path(config["file"]) if config["file"] else run / "report.html"
    manifest = manifest_beside(run) or {}
    # The run's own configuration says where its data is; what is given now goes first.
    task_config = {**manifest.get("config", {}).get("task", {}), **{k: v for k, v in config["data"].items() if v}}
    samples: dict[str, Sample] = {}
    images: dict[str, Picture] = {}
    if task_config:
        try:
            loaded = make_task({"task": task_config}).load(images=bool(config["images"]))
            samples = {s.id: s for s in loaded.samples}
            if config["images"]:
                images = pictures(loaded.samples, target.with_name(f"{target.stem}-images"))
        except EvalkitError as problem:
            console.warn(f"the page has no images and no slices, because its data cannot be read: {problem}")
    write_page(target, page_data(runs, samples, images))
    console.out(str(target))
    return 0


def paper(config: Config) -> int:
    """Print a paper's table, published beside what the runs below some folders reproduced of it."""
    from evalkit.paper import compare_paper, markdown, read_summaries, show
    from evalkit.published import load_published
    from evalkit.store import write_whole

    wanted = config["paper"]
    published = load_published(str(wanted["published"]))
    folders = [config["runs"]] if isinstance(config["runs"], str) else list(config["runs"])
    cells = compare_paper(published, read_summaries(map(Path, folders)), wanted["models"])
    console.out(show(published, cells))
    if config["file"]:
        write_whole(Path(config["file"]), markdown(published, cells))
        console.out(str(config["file"]))
    return 0


def board(config: Config) -> int:
    """Rebuild the tables from the results, or check that they are what would be built."""
    from evalkit.board import check, rebuild

    folder = Path(config["leaderboard"])
    if config["board"]["check"]:
        if differing := check(folder):
            raise DataError(
                f"{len(differing)} files of {folder} are not what its figures, results and scores make: "
                f"{', '.join(differing[:5])}. "
                f"Run `python -m evalkit board leaderboard={folder}` and commit what it writes."
            )
        console.out(f"{folder}: the tables are what the figures, results and scores make")
        return 0
    for path in rebuild(folder):
        console.out(str(path))
    return 0
