"""Verbs that look at or change checkpoints: fetch, doctor, convert."""

from __future__ import annotations

from pathlib import Path

from evalkit.cli.build import make_spec, make_task
from evalkit.cli.config import Config
from evalkit.core import console
from evalkit.core.errors import ConfigError, ModelError


def fetch(config: Config) -> int:
    """Bring a model's weights or a task's data into the hub's cache, checked against pinned digests."""
    from evalkit.models.fetch import BY_HAND
    from evalkit.models.fetch import fetch as fetch_repos
    from evalkit.models.hub import Repo, model_repos

    chosen = {group: config["choices"].get(group) for group in ("model", "task")}
    repos: list[Repo] = []
    if chosen["model"] and config["model"].get("kind") == "checkpoint" and not _shipped(config["model"]):
        repos += [repo for repo in model_repos(config["model"]) if not Path(repo.id).expanduser().is_dir()]
    if chosen["task"]:
        task = make_task(config)
        if (files := getattr(task, "hub_patterns", None)) is not None and config["task"].get("repo"):
            repo, revision = config["task"]["repo"], config["task"].get("revision")
            repos.append(Repo(id=repo, kind="dataset", revision=revision, files=files()))
        for name, text in BY_HAND.items():
            if str(chosen["task"]).startswith(name):
                console.note(f"note: {text}.")
    if not repos:
        console.note("nothing to fetch: what was chosen ships with evalkit or comes from its authors by hand")
        return 0
    for folder in fetch_repos(repos, lock=Path(config["lock"]), report=console.note).values():
        console.out(str(folder))
    return 0


def _shipped(model: Config) -> bool:
    return str(model.get("source") or "").startswith("package:")


def doctor(config: Config) -> int:
    """What a model is, needs and would be asked, before anything is fetched or loaded."""
    from evalkit.models.doctor import describe, diagnose

    name = str(config["model"].get("name") or config["choices"]["model"])
    if config["model"].get("kind") != "checkpoint":
        raise ConfigError(
            f"{name} is not a checkpoint, so there is nothing to look at: {config['model'].get('about')}."
        )
    spec = make_spec(config, name)
    diagnosis = diagnose(name, spec.config, device=config["device"], task=config["choices"].get("task"))
    console.out(describe(diagnosis))
    if diagnosis.problems:
        raise ModelError(f"{name} cannot run here as it is: {'; '.join(diagnosis.problems)}")
    return 0


def convert(config: Config) -> int:
    """Save a checkpoint of any form once in Hugging Face form."""
    from evalkit.models.checkpoint import locate
    from evalkit.models.convert import convert as convert_folder
    from evalkit.models.llava_original import load_arguments

    name = str(config["model"].get("name") or config["choices"]["model"])
    spec = make_spec(config, name)
    folder, options_given = load_arguments({**spec.config, "name": name}, locate(spec))
    convert_folder(folder, Path(config["to"]), **options_given, dtype=spec.dtype or "float32")
    console.out(str(config["to"]))
    return 0
