"""The verb audit: what is wrong with a copy of a dataset."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from evalkit.cli.build import make_task
from evalkit.cli.config import Config
from evalkit.core import console
from evalkit.core.errors import EvalkitError

if TYPE_CHECKING:
    from evalkit.tasks.base import LoadedTask


def audit(config: Config) -> int:
    """Print what is wrong with a copy of a dataset, and what it shares with the copy's other splits."""
    from evalkit.analysis.dataset_audit import audit as findings_of
    from evalkit.analysis.dataset_audit import render

    images = bool(config["images"])
    console.out(render(findings_of(make_task(config), images=images, others=other_splits(config, images))))
    return 0


def other_splits(config: Config, images: bool) -> dict[str, LoadedTask | str]:
    """The other splits of the same copy, and every split in its other language; or why one cannot be read."""
    task = dict(config["task"])
    if "split" not in task:
        return {}
    if task.get("path") and Path(task["path"]).is_file():
        task["path"] = str(Path(task["path"]).parent)
    languages = ("en", "zh") if task.get("language") in ("en", "zh") else (task.get("language"),)
    found: dict[str, LoadedTask | str] = {}
    for language in languages:
        for split in ("train", "validation", "test"):
            mine = language == task.get("language")
            if mine and split == task["split"]:
                continue
            own = {"split": split} | ({"language": language} if language else {})
            try:
                found[split if mine else f"{split}, {language}"] = make_task({"task": task | own}).load(images=images)
            except EvalkitError as problem:
                found[split if mine else f"{split}, {language}"] = str(problem)
    return found
