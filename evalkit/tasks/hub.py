"""Files of a dataset's repository on the Hugging Face hub, from its cache or downloaded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from evalkit.core.errors import DataError


def dataset_snapshot(repo: str, revision: str | None, patterns: Sequence[str], name: str) -> Path:
    """The folder of a repository's snapshot with the files that match the patterns; it is named after the commit.

    Args:
        name: of the task, for the message.

    Raises:
        DataError: the files are not in the cache and cannot be downloaded.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    # Time-outs and proxy errors are raised as the base error of the hub's HTTP library, whichever that is.
    transport = [base for base in HfHubHTTPError.__bases__ if issubclass(base, Exception)]
    failures: tuple[type[Exception], ...] = (*transport, OSError, ValueError)
    try:
        folder = snapshot_download(repo, repo_type="dataset", revision=revision, allow_patterns=[*patterns, "*.md"])
    except failures as problem:
        raise DataError(
            f"{name} ({repo}) is not in the local cache and could not be downloaded from the hub "
            f"({type(problem).__name__}). Set task.path=DIR to a local copy, or run "
            f"`python -m evalkit fetch task={name}` on a machine with a network."
        ) from problem
    return Path(folder)
