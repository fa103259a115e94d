"""Problems of a dataset copy, counts, duplicates, leaks: task=NAME task.path=DIR."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalkit.cli.config import Config
from evalkit.cli.factories import make_task
from evalkit.core import console
from evalkit.tasks.base import NO_SPLIT, why_no_split

if TYPE_CHECKING:
    from evalkit.tasks.base import LoadedTask

HELP_ORDER = 150
EXAMPLES = (
    "evalkit audit task=slake task.path=DIR",
    "evalkit audit task=vqa-rad images=false",
)


def main(config: Config) -> int:
    """Print the problems of a dataset copy, and its overlap with the copy's other splits."""
    from evalkit.analysis.dataset_audit import audit, render

    images = bool(config["images"])
    console.out(render(audit(make_task(config), images=images, others=other_splits(config, images))))
    return 0


def other_splits(config: Config, images: bool) -> dict[str, LoadedTask | str]:
    """The other splits of the same copy, and every split in its other language.

    Returns:
        Split (", language" added for another language) -> the split, or why it cannot be read.
    """
    task = dict(config["task"])
    if "split" not in task:
        return {}
    file = Path(task["path"]) if task.get("path") and Path(task["path"]).is_file() else None
    languages = ("en", "zh") if task.get("language") in ("en", "zh") else (task.get("language"),)
    found: dict[str, LoadedTask | str] = {}
    for language in languages:
        for split in ("train", "validation", "test"):
            same_language = language == task.get("language")
            if same_language and split == task["split"]:
                continue
            name = split if same_language else f"{split}, {language}"
            changed = {"split": split} | ({"language": language} if language else {})
            if file is not None:
                changed["path"] = str(file if _is_alone(task, split) else file.parent)
            try:
                found[name] = make_task({"task": task | changed}).load(images=images)
            except NO_SPLIT as problem:
                found[name] = why_no_split(problem)
    return _without_itself(found, config)


def _is_alone(task: Mapping[str, Any], split: str) -> bool:
    """Whether a task reads a table, and no file beside it has the name of a split: those there are other sets."""
    from evalkit.tasks.formats import names_split
    from evalkit.tasks.table.task import TableTask

    if not isinstance(make_task({"task": {**task, "split": split}}), TableTask):
        return False
    return not any(names_split(path, split) for path in Path(task["path"]).parent.iterdir())


def _without_itself(found: dict[str, LoadedTask | str], config: Config) -> dict[str, LoadedTask | str]:
    """The splits, without those that are the audited rows again: a table that names no split is read as any of them."""
    if all(isinstance(split, str) for split in found.values()):
        return found
    own = make_task(config).load(images=False).data_sha256
    same = "the table does not say which split its rows are of"
    return {
        name: same if not isinstance(split, str) and split.data_sha256 == own else split
        for name, split in found.items()
    }
