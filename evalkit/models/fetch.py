"""Weights and data at pinned revisions, from the Hugging Face hub into its own cache, checked against a lock file.

Everything goes through huggingface_hub, so HF_HOME, HF_HUB_CACHE, HF_ENDPOINT (a mirror) and HF_TOKEN mean what they
mean everywhere and other tools find the same files.  A connection that breaks is taken up again where it broke; after
a call that failed, whole files are kept and the file that was under way begins anew.
"""

from __future__ import annotations

import fnmatch
import glob
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from evalkit.core.errors import first_line
from evalkit.models.hub import Repo, cache_dir, endpoint, read_lock, repo_dir, token, write_lock

# What a model repository may hold that nothing here reads.
_NO_FOLDERS = ("onnx", "openvino", "original", "coreml", "runs")
_MODEL_FILES = ("*.json", "*.txt", "*.model", "*.jinja", "*.safetensors", "*.bin")
_NO_FILES = ("training_args.bin", "optimizer.bin", "scheduler.bin", "*trainer_state.json")
_SIDE_WEIGHTS = ("non_lora_trainables.bin", "mm_projector.bin")


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteFile:
    """A file of a repository as the hub lists it; sha256 for large files, git's blob id for small ones."""

    name: str
    size: int
    sha256: str | None
    blob_id: str | None
    cached: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """What would be fetched of a repository: `commit` is the 40-hex revision that the files belong to."""

    repo: Repo
    commit: str
    files: tuple[RemoteFile, ...]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(f.size for f in self.files)

    @property
    def missing(self) -> int:
        """Bytes that are not in the cache yet."""
        return sum(f.size for f in self.files if not f.cached)


def listing(repo: Repo, lock: Path | None = None) -> Listing:
    """What the hub has at the pinned revision (the lock's, where the YAML pins none).  Downloads no file."""
    from huggingface_hub import HfApi, try_to_load_from_cache

    locked = read_lock(lock).get(repo.key, {}) if lock else {}
    with explained(repo):
        info: Any = HfApi(endpoint=endpoint(), token=token()).repo_info(
            repo.id,
            repo_type=repo.kind,
            revision=repo.revision or locked.get("commit"),
            files_metadata=True,
        )
    found = {s.rfilename: s for s in info.siblings or ()}
    names = select(list(found), repo)
    if not names or info.sha is None:
        raise repo.error(f"{repo.id} at {repo.revision or 'its newest revision'} holds none of the files wanted")

    def in_cache(name: str) -> bool:
        where = try_to_load_from_cache(repo.id, name, cache_dir=cache_dir(), revision=info.sha, repo_type=repo.kind)
        return isinstance(where, str)

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


def select(names: Sequence[str], repo: Repo) -> tuple[str, ...]:
    """The files wanted of those a repository has: the patterns', or what loading a model needs.

    Weights that are there in both forms are fetched once, as safetensors, folder by folder.

    >>> select(["config.json", "pytorch_model.bin", "model.safetensors", "a.png"], Repo(id="x/y"))
    ('config.json', 'model.safetensors')
    """
    if repo.files:
        return tuple(sorted(n for n in names if any(fnmatch.fnmatchcase(n, pattern) for pattern in repo.files)))
    safe = {str(PurePosixPath(n).parent) for n in names if n.endswith(".safetensors") and "adapter" not in n}
    wanted = []
    for name in names:
        path = PurePosixPath(name)
        if not any(fnmatch.fnmatchcase(path.name, pattern) for pattern in _MODEL_FILES):
            continue
        if path.parts[0] in _NO_FOLDERS or any(fnmatch.fnmatchcase(path.name, p) for p in _NO_FILES):
            continue
        twin = path.name.startswith("pytorch_model") and str(path.parent) in safe
        if not twin:
            wanted.append(name)
    return tuple(sorted(wanted))


def fetch(repos: Sequence[Repo], *, lock: Path, say: Callable[[str], None] = print) -> dict[str, Path]:
    """Fetches what is missing, checks every file's digest, writes the lock file; returns id -> folder in the cache.

    Says the bytes before it starts; huggingface_hub shows the progress.  A file whose digest is wrong is removed from
    the cache, so that the next call gets it again.  ModelError or DataError, one paragraph, on every failure.
    """
    _refuse_offline(repos)
    plans = [listing(repo, lock) for repo in repos]
    for plan in plans:
        say(
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
        say(f"{plan.repo.id}: {len(files)} digests checked and written to {lock}")
    return folders


def _download(plan: Listing) -> Path:
    from huggingface_hub import snapshot_download

    with explained(plan.repo):
        folder = snapshot_download(
            plan.repo.id,
            repo_type=plan.repo.kind,
            revision=plan.commit,
            cache_dir=cache_dir(),
            endpoint=endpoint(),
            token=token(),
            allow_patterns=[glob.escape(f.name) for f in plan.files],
        )
        _name_commit(plan)
    return Path(folder)


def _name_commit(plan: Listing) -> None:
    """Notes in the cache which commit the revision asked for was, so that it is found by that name offline."""
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
        for who, wanted in expected.items():
            if wanted != sha256:
                path.resolve().unlink(missing_ok=True)
                path.unlink(missing_ok=True)
                raise plan.repo.error(
                    f"{file.name} of {plan.repo.id} at {plan.commit[:8]} has sha256 {sha256}, and {who} says {wanted}: "
                    "it was damaged on the way or changed; the file was removed from the cache, fetch again"
                )
        digests[file.name] = sha256
    return digests


def _digests(path: Path) -> tuple[str, str]:
    """sha256 of the content, and git's blob id of it (sha1 over a header and the content)."""
    sha256 = hashlib.sha256()
    blob = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            sha256.update(block)
            blob.update(block)
    return sha256.hexdigest(), blob.hexdigest()


@contextmanager
def explained(repo: Repo) -> Iterator[None]:
    """Turns what huggingface_hub raises into one paragraph that says what to do."""
    from huggingface_hub import errors

    transport: Any = errors.HTTPError  # type: ignore[attr-defined]  # the HTTP library's own, which differs by version
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
            f"{repo.id} was not found at {page}: the name is wrong, or it is private or was withdrawn; if you may "
            "see it, set HF_TOKEN to your token and fetch again"
        ) from None
    except errors.OfflineModeIsEnabled:
        raise repo.error(_offline(repo)) from None
    except errors.HfHubHTTPError as error:
        status = error.response.status_code
        raise repo.error(
            f"{page} answered {status} while {repo.id} was fetched: "
            + ("the token was refused; check HF_TOKEN" if status in (401, 403) else "the server has trouble")
            + "; whole files that arrived are kept, fetch again to go on"
        ) from None
    except (transport, errors.LocalEntryNotFoundError, errors.FileMetadataError, OSError) as error:
        raise repo.error(
            f"{repo.id} could not be fetched from {page} ({first_line(error)}): check the network, HF_ENDPOINT and the "
            "disk; whole files that arrived are kept, fetch again to go on"
        ) from None


def _refuse_offline(repos: Sequence[Repo]) -> None:
    from huggingface_hub import constants

    if repos and (constants.HF_HUB_OFFLINE or os.environ.get("HF_HUB_OFFLINE", "0") not in ("0", "")):
        raise repos[0].error(_offline(repos[0]))


def _offline(repo: Repo) -> str:
    return f"HF_HUB_OFFLINE is set, so {repo.id} cannot be fetched: unset it on a machine with a network"


def _check_disk(plans: Sequence[Listing]) -> None:
    needed = sum(plan.missing for plan in plans)
    place = cache_dir()
    existing = next(p for p in (place, *place.parents) if p.exists())
    free = shutil.disk_usage(existing).free
    if needed > free:
        raise plans[0].repo.error(
            f"{_size(needed)} are to be fetched into {place}, and {_size(free)} are free there: make room, or set "
            "HF_HOME to a larger disk"
        )


def _size(n: int) -> str:
    """Bytes as people read them: 15.1 GB, 3 kB.

    >>> _size(15_134_000_000), _size(2500), _size(12)
    ('15.1 GB', '2.5 kB', '12 B')
    """
    for unit, scale in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if n >= scale:
            return f"{n / scale:.1f} {unit}"
    return f"{n} B"
