"""ColonINST's JSON files on the Hugging Face hub, each downloaded by name at a pinned revision.

Not through a loading script or `datasets`: the repository's folders contain the files of different tasks, which such a
loader would join into one split.
"""

from __future__ import annotations

import re
from pathlib import Path

from evalkit.core.errors import ConfigError, DataError

REPOSITORY = "ai4colonoscopy/ColonINST-v1"


def hub_file(name: str, revision: str) -> Path:
    """Path of a file of the dataset, from the hub's cache or downloaded from the hub.

    Raises:
        ConfigError: `revision` is not a commit hash.  DataError: the file is not available.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    if not re.fullmatch(r"[0-9a-f]{7,40}", revision):
        raise ConfigError(
            f"task.revision={revision!r} is not a commit of {REPOSITORY}: expected 7 to 40 hexadecimal digits. With a "
            "branch name the data could change without notice."
        )
    # HfHubHTTPError derives from OSError and from the base error of its HTTP library.  That base error has changed
    # between versions, and it is raised directly when no connection can be made.
    network = (k for k in HfHubHTTPError.__mro__ if k.__name__ == "HTTPError" and issubclass(k, Exception))
    failures: tuple[type[Exception], ...] = (HfHubHTTPError, LocalEntryNotFoundError, OSError, *network)
    try:
        full = revision if len(revision) == 40 else _cached_hash(revision) or _full_hash(revision)
        return Path(hf_hub_download(REPOSITORY, name, repo_type="dataset", revision=full))
    except failures as problem:
        raise DataError(
            f"{REPOSITORY}: {name} at revision {revision} cannot be downloaded from the hub ({type(problem).__name__}: "
            f"{str(problem).splitlines()[0] if str(problem) else 'no details'}). With a network, run "
            f"`hf download --repo-type dataset {REPOSITORY}`, or give a local copy as task.path=DIR."
        ) from problem


def _cached_hash(prefix: str) -> str | None:
    """The full hash of a revision in the local cache; None if there is not exactly one match."""
    from huggingface_hub.constants import HF_HUB_CACHE

    folder = Path(HF_HUB_CACHE) / f"datasets--{REPOSITORY.replace('/', '--')}" / "snapshots"
    found = sorted(p.name for p in folder.glob(f"{prefix}*"))
    return found[0] if len(found) == 1 else None


def _full_hash(prefix: str) -> str:
    """The full hash of the only commit that starts with these digits; the hub does not accept shortened hashes."""
    from huggingface_hub import HfApi

    commits = HfApi().list_repo_commits(REPOSITORY, repo_type="dataset")
    found = [commit.commit_id for commit in commits if commit.commit_id.startswith(prefix)]
    if len(found) != 1:
        raise DataError(f"{REPOSITORY}: {len(found)} commits start with {prefix!r}, expected one. Give more digits.")
    return found[0]
