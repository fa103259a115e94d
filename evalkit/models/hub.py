"""Hugging Face hub's cache on disk, and the lock file of fetched revisions.  Makes no network call."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from evalkit.core import json_text
from evalkit.core.errors import ConfigError, DataError, EvalkitError, ModelError
from evalkit.core.files import write_whole

_SNAPSHOT = re.compile(r"models--([^/]+?)--([^/]+)/snapshots/([^/]+)/?$")


class Snapshot(NamedTuple):
    """A model repository (OWNER/NAME) at a commit, as a folder of the hub's cache holds it."""

    id: str
    commit: str


def snapshot_of(folder: Path) -> Snapshot | None:
    """What a folder in the hub's cache holds, by its path; None for any other folder.

    >>> snapshot_of(Path("/cache/models--lab--my-llava/snapshots/0123abc"))
    Snapshot(id='lab/my-llava', commit='0123abc')
    """
    found = _SNAPSHOT.search(folder.absolute().as_posix())
    return Snapshot(f"{found[1]}/{found[2]}", found[3]) if found else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Repo:
    """Repository to fetch.  files: patterns; empty: all files that a model needs.  digests: known sha256 by file."""

    id: str
    kind: Literal["model", "dataset"] = "model"
    revision: str | None = None
    files: tuple[str, ...] = ()
    digests: Mapping[str, str] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Key of the repository in the lock file."""
        return f"{self.kind}:{self.id}"

    @property
    def error(self) -> type[EvalkitError]:
        """Class of errors about this repository."""
        return ModelError if self.kind == "model" else DataError


def model_repos(config: Mapping[str, Any]) -> tuple[Repo, ...]:
    """List the repositories of a model's YAML: weights, base, stock vision tower, adapter.

    Raises:
        ConfigError: the model has no public weights.
    """
    if not config.get("source"):
        raise ConfigError(
            f"{config.get('about', 'this model')}: no public weights exist, so there is nothing to fetch; set "
            "model.source=DIR to the folder of your own copy"
        )
    repos = [Repo(id=config["source"], revision=config.get("revision"), digests=config.get("digests") or {})]
    if config.get("base"):
        repos.append(Repo(id=config["base"], revision=config.get("base_revision")))
    if config.get("vision_tower") == "stock" and config.get("vision_tower_source"):
        repos.append(Repo(id=config["vision_tower_source"], revision=config.get("vision_tower_revision")))
    if config.get("adapter"):
        repos.append(Repo(id=config["adapter"], revision=config.get("adapter_revision")))
    return tuple(repos)


def cached(repo: Repo, lock: Path | None = None) -> Path | None:
    """Find a repository's folder in the hub's cache; None if it is not there.  Makes no network call.

    With a lock file, every file that it lists for this commit must be present; without one, an incomplete checkpoint is
    detected by its index when it is opened.
    """
    locked = read_lock(lock).get(repo.key, {}) if lock else {}
    home = repo_dir(repo)
    revision = repo.revision or locked.get("commit") or "main"
    ref = home / "refs" / revision
    folder = home / "snapshots" / (ref.read_text(encoding="utf-8").strip() if ref.is_file() else revision)
    expected = list(locked.get("files", {})) if locked.get("commit") == folder.name else []
    return folder if folder.is_dir() and all((folder / name).is_file() for name in expected) else None


def cache_dir() -> Path:
    """Folder of the hub's cache by the current environment; huggingface_hub itself reads it only once, on import."""
    from huggingface_hub import constants

    if os.environ.get("HF_HUB_CACHE"):
        return Path(os.environ["HF_HUB_CACHE"]).expanduser()
    home = os.environ.get("HF_HOME")
    return Path(home).expanduser() / "hub" if home else Path(constants.HF_HUB_CACHE)


def repo_dir(repo: Repo) -> Path:
    """Folder in the cache with a repository's snapshots, blobs and refs."""
    return cache_dir() / f"{repo.kind}s--{repo.id.replace('/', '--')}"


def endpoint() -> str | None:
    """URL of the mirror in the environment; None for the hub itself."""
    return os.environ.get("HF_ENDPOINT", "").rstrip("/") or None


def token() -> str | None:
    """Token in the environment; None lets huggingface_hub use the one stored by `hf auth login`."""
    return os.environ.get("HF_TOKEN") or None


def read_lock(path: Path) -> dict[str, Any]:
    """Read a lock file: repository key -> {commit, files: {name: {size, sha256}}}; empty without a file.

    Raises:
        ConfigError: the file is damaged.
    """
    if not path.exists():
        return {}
    try:
        content = json_text.loads(path.read_text(encoding="utf-8"))
        repos = content["repos"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path} is not a lock file of evalkit ({error}): restore it, or delete it") from None
    if not isinstance(repos, dict):
        raise ConfigError(f"{path} is not a lock file of evalkit (repos is not a table): restore it, or delete it")
    return repos


def write_lock(path: Path, repos: Mapping[str, Any]) -> None:
    """Write a lock file atomically."""
    content = {"schema": 1, "repos": dict(sorted(repos.items()))}
    write_whole(path, json.dumps(content, indent=1, sort_keys=True) + "\n")
