"""Bring weights and data into the cache, checked: model=NAME task=NAME.

Files come from the Hugging Face hub at pinned revisions, into its own cache; their digests are checked against the
lock file.  A task whose files its authors give out by hand (`manual_download:` in its YAML) says where to ask.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from evalkit.cli.config import Config
from evalkit.cli.factories import make_task
from evalkit.cli.task_settings import manual_download
from evalkit.core import console
from evalkit.core.errors import ConfigError
from evalkit.core.files import expand_home

if TYPE_CHECKING:
    from evalkit.models.hub import Repo

HELP_ORDER = 70
EXAMPLES = (
    "evalkit fetch model=llava-med task=slake",
    "evalkit fetch model=OWNER/NAME",
)


def main(config: Config) -> int:
    """Bring a model's weights or a task's data into the hub's cache, checked against pinned digests."""
    from evalkit.models.fetch import fetch
    from evalkit.tasks.table.source import is_hub_id

    repos: list[Repo] = []
    if config["choices"].get("model"):
        repos += weights_of(config["model"])
    if config["choices"].get("task"):
        repos += data_of(config)
        if text := manual_download(config["task"]):
            console.note(f"note: {text}.")
    if not repos and is_hub_id(path := str((config.get("task") or {}).get("path") or "")):
        raise ConfigError(
            f"task.path={path} is read through the datasets library, whose cache `fetch` does not fill. Name its "
            f"files: task.repo={path} task.files=[PATTERN], also in the run."
        )
    if not repos:
        console.note("nothing to fetch: what was chosen ships with evalkit or comes from its authors by hand")
        return 0
    lock = Path(config["lock"])
    folders = fetch(repos, lock=lock, report=console.note)
    if config["choices"].get("model") and (base := base_of(config["model"], folders)):
        folders |= fetch(base, lock=lock, report=console.note)
    for folder in folders.values():
        console.out(str(folder))
    return 0


def base_of(model: Config | None, fetched: Mapping[str, Path]) -> list[Repo]:
    """The base of a PEFT adapter that was fetched as a model, which only its files name; none where it is here."""
    from evalkit.models.adapters import is_adapter, stated_base
    from evalkit.models.hub import Repo
    from evalkit.tasks.table.source import is_hub_id

    folder = fetched.get(str((model or {}).get("source")))
    if folder is None or not is_adapter(folder):
        return []
    base = stated_base(folder)
    return [Repo(id=base)] if is_hub_id(base) and not expand_home(base).is_dir() else []


def weights_of(model: Config) -> list[Repo]:
    """The hub repositories of a model; none for baselines, weights that ship with evalkit and local folders."""
    from evalkit.models.hub import model_repos

    shipped = str(model.get("source") or "").startswith("package:")
    if model.get("kind") != "checkpoint" or shipped:
        return []
    return [repo for repo in model_repos(model) if not expand_home(repo.id).is_dir()]


def data_of(config: Config) -> list[Repo]:
    """The hub repository of a task, with the files of the configured split and of train; none for local data."""
    from evalkit.models.hub import Repo

    patterns = getattr(make_task(config), "hub_patterns", None)
    if patterns is None or not config["task"].get("repo"):
        return []
    revision = config["task"].get("revision")
    return [Repo(id=config["task"]["repo"], kind="dataset", revision=revision, files=patterns())]
