"""Download of weights and data at pinned revisions from the Hugging Face hub, verified against a lock file.

Everything goes through huggingface_hub, so HF_HOME, HF_HUB_CACHE, HF_ENDPOINT (a mirror) and HF_TOKEN work as usual
and other tools find the same files in the cache.  A broken connection resumes where it broke; after a failed call,
complete files are kept and the incomplete file is downloaded again.
"""

from __future__ import annotations

import fnmatch
import glob
import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from evalkit.core.errors import first_line
from evalkit.models.hub import Repo, cache_dir, endpoint, read_lock, repo_dir, token, write_lock

# Folders and files of model repositories that evalkit does not read.
_SKIPPED_FOLDERS = ("onnx", "openvino", "original", "coreml", "runs")
_MODEL_FILES = ("*.json", "*.txt", "*.model", "*.jinja", "*.safetensors", "*.bin")
_SKIPPED_FILES = ("training_args.bin", "optimizer.bin", "scheduler.bin", "*trainer_state.json")


class FileDigests(NamedTuple):
    """sha256 of a file's content, and git's blob id of it (sha1 over a header and the content)."""

    sha256: str
    blob_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteFile:
    """File in the hub's list of a repository; the list has sha256 for large files, git's blob id for small ones."""

    name: str
    size: int
    sha256: str | None
    blob_id: str | None
    cached: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """Files to fetch from a repository.  commit: their revision, 40 hex digits."""

    repo: Repo
    commit: str
    files: tuple[RemoteFile, ...]

    @property
    def size(self) -> int:
        """Total bytes of all files."""
        return sum(f.size for f in self.files)

    @property
    def missing(self) -> int:
        """Total bytes of the files that are not in the cache yet."""
        return sum(f.size for f in self.files if not f.cached)


def list_files(repo: Repo, lock: Path | None = None) -> Listing:
    """List the files on the hub at the pinned revision (the lock file's, if the YAML pins none).  Downloads no file."""
    from huggingface_hub import HfApi, try_to_load_from_cache

    locked = read_lock(lock).get(repo.key, {}) if lock else {}
    with explain_hub_errors(repo):
        info: Any = HfApi(endpoint=endpoint(), token=token()).repo_info(
            repo.id,
            repo_type=repo.kind,
            revision=repo.revision or locked.get("commit"),
            files_metadata=True,
        )
        found = {s.rfilename: s for s in info.siblings or ()}
        _check_listing(info.sha, found)
    names = select_files(list(found), repo)
    if not names or info.sha is None:
        raise repo.error(
            f"{repo.id} at {repo.revision or 'its newest revision'} contains none of the files that evalkit needs: "
            "check the repository's id and revision in the YAML"
        )

    def in_cache(name: str) -> bool:
        path = try_to_load_from_cache(repo.id, name, cache_dir=cache_dir(), revision=info.sha, repo_type=repo.kind)
        return isinstance(path, str)

    files = tuple(
        RemoteFile(
            name=name,
            size=found[name].size or 0,
            sha256=found[name].lfs.sha256 if found[name].lfs else None,
            blob_id=found[name].blob_id,
            cached=in_cache(name),
        )
        for name in names
    )
    return Listing(repo=repo, commit=info.sha, files=files)


def _check_listing(commit: str | None, found: Mapping[str, Any]) -> None:
    """Raise ValueError unless a hub's listing has what a commit and its files can have."""
    if commit is not None and not re.fullmatch("[0-9a-f]{40}", commit):
        raise ValueError("the commit is none")
    for name, file in found.items():
        name.encode("utf-8")
        size, parts = file.size or 0, PurePosixPath(name).parts
        if PurePosixPath(name).is_absolute() or ".." in parts or not isinstance(size, int) or size < 0:
            raise ValueError("a file's name or size is none")


def select_files(names: Sequence[str], repo: Repo) -> tuple[str, ...]:
    """Select the files to fetch from a repository: those that match its patterns, or those that a model needs.

    If a folder has weights in both formats, only the safetensors are selected.

    >>> select_files(["config.json", "pytorch_model.bin", "model.safetensors", "a.png"], Repo(id="x/y"))
    ('config.json', 'model.safetensors')
    """
    if repo.files:
        return tuple(sorted(n for n in names if any(fnmatch.fnmatchcase(n, pattern) for pattern in repo.files)))
    safe = {str(PurePosixPath(n).parent) for n in names if n.endswith(".safetensors") and "adapter" not in n}
    selected = []
    for name in names:
        path = PurePosixPath(name)
        if not any(fnmatch.fnmatchcase(path.name, pattern) for pattern in _MODEL_FILES):
            continue
        if path.parts[0] in _SKIPPED_FOLDERS or any(fnmatch.fnmatchcase(path.name, p) for p in _SKIPPED_FILES):
            continue
        duplicate = path.name.startswith("pytorch_model") and str(path.parent) in safe
        if not duplicate:
            selected.append(name)
    return tuple(sorted(selected))


def fetch(repos: Sequence[Repo], *, lock: Path, report: Callable[[str], None] = print) -> dict[str, Path]:
    """Fetch missing files, verify every file's digest, update the lock file; return repository id -> cache folder.

    Reports the number of bytes first; huggingface_hub shows the progress.  A file with a wrong digest is removed from
    the cache, so that the next call downloads it again.

    Raises:
        ModelError, DataError: the download or the verification failed; the message is one paragraph.
    """
    _refuse_offline(repos)
    plans = [list_files(repo, lock) for repo in repos]
    for plan in plans:
        report(
            f"{plan.repo.id} at {plan.commit[:8]}: {len(plan.files)} files, {_size(plan.size)}, "
            f"{_size(plan.missing)} to fetch"
        )
    _check_disk(plans)
    folders = {}
    for plan in plans:
        folder = _download(plan)
        locked = read_lock(lock)
        digests = _verify(plan, folder, locked.get(plan.repo.key, {}))
        files = {f.name: {"size": f.size, "sha256": digests[f.name]} for f in plan.files}
        write_lock(lock, {**locked, plan.repo.key: {"commit": plan.commit, "files": files}})
        folders[plan.repo.id] = folder
        report(f"{plan.repo.id}: {len(files)} digests checked and written to {lock}")
    return folders


def _download(plan: Listing) -> Path:
    from huggingface_hub import snapshot_download

    with explain_hub_errors(plan.repo):
        folder = snapshot_download(
            plan.repo.id,
            repo_type=plan.repo.kind,
            revision=plan.commit,
            cache_dir=cache_dir(),
            endpoint=endpoint(),
            token=token(),
            allow_patterns=[glob.escape(f.name) for f in plan.files],
        )
        _record_revision(plan)
    return Path(folder)


def _record_revision(plan: Listing) -> None:
    """Record in the cache which commit the requested revision was, so that it can be resolved offline."""
    name = plan.repo.revision or "main"
    if name == plan.commit:
        return
    ref = repo_dir(plan.repo) / "refs" / name
    ref.parent.mkdir(parents=True, exist_ok=True)
    ref.write_text(plan.commit, encoding="utf-8")


def _verify(plan: Listing, folder: Path, locked: Mapping[str, Any]) -> dict[str, str]:
    before = locked.get("files", {}) if locked.get("commit") == plan.commit else {}
    digests = {}
    for file in plan.files:
        path = folder / file.name
        sha256, blob_id = _digests(path)
        expected = {
            "the hub": (file.sha256 or sha256) if file.sha256 or blob_id == file.blob_id else f"git {file.blob_id}",
            "the lock file": before.get(file.name, {}).get("sha256", sha256),
            "the model's YAML": plan.repo.digests.get(file.name, sha256),
        }
        for origin, digest in expected.items():
            if digest != sha256:
                path.resolve().unlink(missing_ok=True)
                path.unlink(missing_ok=True)
                raise plan.repo.error(
                    f"{file.name} of {plan.repo.id} at {plan.commit[:8]} has sha256 {sha256}, but {origin} says "
                    f"{digest}: it was damaged in transit or changed; the file was removed from the cache, fetch again"
                )
        digests[file.name] = sha256
    return digests


def _digests(path: Path) -> FileDigests:
    sha256 = hashlib.sha256()
    blob = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            sha256.update(block)
            blob.update(block)
    return FileDigests(sha256.hexdigest(), blob.hexdigest())


@contextmanager
def explain_hub_errors(repo: Repo) -> Iterator[None]:
    """Convert exceptions of huggingface_hub to errors of one paragraph that say what to do."""
    from huggingface_hub import errors

    transport: Any = errors.HTTPError  # type: ignore[attr-defined]  # of the HTTP library, which differs by version
    page = f"{endpoint() or 'https://huggingface.co'}/{'datasets/' if repo.kind == 'dataset' else ''}{repo.id}"
    try:
        yield
    except errors.GatedRepoError:
        raise repo.error(
            f"{repo.id} is gated: sign in at {page}, accept its terms, then set HF_TOKEN to a token of that account "
            "(or run `hf auth login`) and fetch again"
        ) from None
    except errors.RevisionNotFoundError:
        raise repo.error(f"{repo.id} has no revision {repo.revision}: see {page}/commits/main") from None
    except errors.RepositoryNotFoundError:
        raise repo.error(
            f"{repo.id} was not found at {page}: the name is wrong, or the repository is private or was deleted; if "
            "you have access, set HF_TOKEN to your token and fetch again"
        ) from None
    except errors.OfflineModeIsEnabled:
        raise repo.error(_offline(repo)) from None
    except errors.HfHubHTTPError as error:
        status = error.response.status_code
        raise repo.error(
            f"{page} answered {status} while {repo.id} was fetched: "
            + ("the token was refused; check HF_TOKEN" if status in (401, 403) else "the server failed")
            + "; complete files are kept, fetch again to continue"
        ) from None
    except (transport, errors.LocalEntryNotFoundError, errors.FileMetadataError, OSError) as error:
        raise repo.error(
            f"{repo.id} could not be fetched from {page} ({first_line(error)}): check the network, HF_ENDPOINT and the "
            "disk; complete files are kept, fetch again to continue"
        ) from None
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        why = first_line(error) if isinstance(error, errors.HFValidationError) else type(error).__name__
        raise repo.error(
            f"{page} did not answer as a hub does while {repo.id} was fetched ({why}): check the name and HF_ENDPOINT; "
            "complete files are kept, fetch again to continue"
        ) from None


def _refuse_offline(repos: Sequence[Repo]) -> None:
    from huggingface_hub import constants

    if repos and (constants.HF_HUB_OFFLINE or os.environ.get("HF_HUB_OFFLINE", "0") not in ("0", "")):
        raise repos[0].error(_offline(repos[0]))


def _offline(repo: Repo) -> str:
    return f"HF_HUB_OFFLINE is set, so {repo.id} cannot be fetched: unset it on a machine with a network"


def _check_disk(plans: Sequence[Listing]) -> None:
    needed = sum(plan.missing for plan in plans)
    cache = cache_dir()
    existing = next(p for p in (cache, *cache.parents) if p.exists())
    free = shutil.disk_usage(existing).free
    if needed > free:
        raise plans[0].repo.error(
            f"{_size(needed)} must be fetched into {cache}, but only {_size(free)} are free there: free some space, or "
            "set HF_HOME to a larger disk"
        )


def _size(n: int) -> str:
    """Format a number of bytes with a decimal unit.

    >>> _size(15_134_000_000), _size(2500), _size(12)
    ('15.1 GB', '2.5 kB', '12 B')
    """
    for unit, scale in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if n >= scale:
            return f"{n / scale:.1f} {unit}"
    return f"{n} B"
