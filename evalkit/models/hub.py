"""The Hugging Face hub's cache as it lies on disk, and the lock file beside it.  Makes no network call."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from evalkit.core.errors import ConfigError, DataError, EvalkitError, ModelError

LOCK = "fetch.lock.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Repo:
    """A repository to fetch.  files: patterns, empty for all that a model needs; digests: sha256 known beforehand."""

    id: str
    kind: Literal["model", "dataset"] = "model"
    revision: str | None = None
    files: tuple[str, ...] = ()
    digests: Mapping[str, str] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Its name in the lock file."""
        return f"{self.kind}:{self.id}"

    @property
    def error(self) -> type[EvalkitError]:
        """What is raised about it."""
        return ModelError if self.kind == "model" else DataError


def model_repos(config: Mapping[str, Any]) -> tuple[Repo, ...]:
    """The repositories of a model's YAML: weights, base, stock vision tower.  ConfigError when none is public."""
    if not config.get("source"):
        raise ConfigError(
            f"{config.get('about', 'this model')}: no public weights exist, so there is nothing to fetch; give the "
            "folder of your own with model.source=DIR"
        )
    repos = [Repo(id=config["source"], revision=config.get("revision"), digests=config.get("digests") or {})]
    if config.get("base"):
        repos.append(Repo(id=config["base"], revision=config.get("base_revision")))
    if config.get("vision_tower") == "stock" and config.get("vision_tower_source"):
        repos.append(Repo(id=config["vision_tower_source"], revision=config.get("vision_tower_revision")))
    return tuple(repos)


def cached(repo: Repo, lock: Path | None = None) -> Path | None:
    """The folder in the hub's cache, or None when it is not there.  Makes no network call.

    With a lock file, every file that it lists for this commit has to be there; without one, a checkpoint that is not
    whole is found out by its index when it is opened.
    """
    locked = read_lock(lock).get(repo.key, {}) if lock else {}
    home = repo_dir(repo)
    revision = repo.revision or locked.get("commit") or "main"
    ref = home / "refs" / revision
    folder = home / "snapshots" / (ref.read_text(encoding="utf-8").strip() if ref.is_file() else revision)
    wanted = list(locked.get("files", {})) if locked.get("commit") == folder.name else []
    return folder if folder.is_dir() and all((folder / name).is_file() for name in wanted) else None


def cache_dir() -> Path:
    """The hub's cache by the environment as it is now; huggingface_hub reads it once, when it is imported."""
    from huggingface_hub import constants

    if os.environ.get("HF_HUB_CACHE"):
        return Path(os.environ["HF_HUB_CACHE"]).expanduser()
    home = os.environ.get("HF_HOME")
    return Path(home).expanduser() / "hub" if home else Path(constants.HF_HUB_CACHE)


def repo_dir(repo: Repo) -> Path:
    """Where the cache keeps a repository's snapshots, blobs and refs."""
    return cache_dir() / f"{repo.kind}s--{repo.id.replace('/', '--')}"


def endpoint() -> str | None:
    """The mirror to use, None for the hub itself."""
    return os.environ.get("HF_ENDPOINT", "").rstrip("/") or None


def token() -> str | None:
    """The token in the environment; None lets huggingface_hub look where `hf auth login` put one."""
    return os.environ.get("HF_TOKEN") or None


def read_lock(path: Path) -> dict[str, Any]:
    """Repository key -> {commit, files: {name: {size, sha256}}}; empty without a file.  ConfigError when damaged."""
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        repos = content["repos"]
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise ConfigError(f"{path} is not a lock file of evalkit ({error}): restore it, or delete it") from None
    if not isinstance(repos, dict):
        raise ConfigError(f"{path} is not a lock file of evalkit (repos is no table): restore it, or delete it")
    return repos


def write_lock(path: Path, repos: Mapping[str, Any]) -> None:
    """Puts the table in place whole or not at all."""
    text = json.dumps({"schema": 1, "repos": dict(sorted(repos.items()))}, indent=1, sort_keys=True) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    work = path.with_name(f".{path.name}.{os.getpid()}")
    work.write_text(text, encoding="utf-8")
    work.replace(path)
