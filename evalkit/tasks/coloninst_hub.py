"""ColonINST's JSON files on the hub, each by its name at a pinned revision.

Never through a loading script or `datasets`: the repository's folders hold the files of different tasks, which such a
loader would join into one split.
"""

from __future__ import annotations

import re
from pathlib import Path

from evalkit.core.errors import ConfigError, DataError

REPOSITORY = "ai4colonoscopy/ColonINST-v1"


def hub_file(name: str, revision: str) -> Path:
    """A file of the data set, from the hub's cache or the hub.

    Raises:
        ConfigError: `revision` is no commit hash.  DataError: it cannot be had; says how to give a local copy.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    if not re.fullmatch(r"[0-9a-f]{7,40}", revision):
        raise ConfigError(
            f"task.revision={revision!r} is no commit of {REPOSITORY}: give 7 to 40 hexadecimal digits. A branch's "
            "name would let the data change under the numbers."
        )
    # The hub's own HTTP error derives from OSError and from its HTTP library's base error, which has changed its name
    # between versions and is raised bare where no connection can be made.
    network = (k for k in HfHubHTTPError.__mro__ if k.__name__ == "HTTPError" and issubclass(k, Exception))
    failures: tuple[type[Exception], ...] = (HfHubHTTPError, LocalEntryNotFoundError, OSError, *network)
    try:
        full = revision if len(revision) == 40 else _cached(revision) or _listed(revision)
        return Path(hf_hub_download(REPOSITORY, name, repo_type="dataset", revision=full))
    except failures as problem:
        raise DataError(
            f"{REPOSITORY}: {name} at revision {revision} cannot be had from the hub ({type(problem).__name__}: "
            f"{str(problem).splitlines()[0] if str(problem) else 'no details'}). With a network, run "
            f"`hf download --repo-type dataset {REPOSITORY}`, or give a local copy as task.path=DIR."
        ) from problem


def _cached(prefix: str) -> str | None:
    """The full hash of a revision that the cache has."""
    from huggingface_hub.constants import HF_HUB_CACHE

    folder = Path(HF_HUB_CACHE) / f"datasets--{REPOSITORY.replace('/', '--')}" / "snapshots"
    found = sorted(p.name for p in folder.glob(f"{prefix}*"))
    return found[0] if len(found) == 1 else None


def _listed(prefix: str) -> str:
    """The full hash of the one commit that begins with these digits: the hub takes no shortened ones."""
    from huggingface_hub import HfApi

    commits = HfApi().list_repo_commits(REPOSITORY, repo_type="dataset")
    found = [commit.commit_id for commit in commits if commit.commit_id.startswith(prefix)]
    if len(found) != 1:
        raise DataError(f"{REPOSITORY}: {len(found)} commits begin with {prefix!r}, expected exactly one.")
    return found[0]
