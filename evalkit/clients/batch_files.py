"""Files of batch services in OpenAI's form: requests that are submitted, and the output that comes back within a day.

`requests-NNN.jsonl` is the input of OpenAI's Batch API and compatible services (endpoint /v1/chat/completions); every
other .jsonl file in the folder is read as their output, in any order and any number of files.  Shared by judges and
engine=server.
"""

from __future__ import annotations

import json
from collections.abc import Container, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from evalkit.clients.redaction import Redact
from evalkit.clients.response import CallFailed, Reply, cleaned, has_words, read_completion
from evalkit.core.errors import DataError
from evalkit.core.files import json_line, write_whole
from evalkit.records.json_lines import located_objects

# The provider's limits for one file: 50,000 requests and 200 MB.
MAX_REQUESTS = 50_000
MAX_BYTES = 190_000_000
PREFIX = "requests-"
ENDPOINT = "/v1/chat/completions"


class BatchRequest(NamedTuple):
    """One request: the key by which its reply is found again, and its JSON."""

    key: str
    body: dict[str, Any]


class RequestFile(NamedTuple):
    """A file of requests, and their keys."""

    path: Path
    keys: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchOutput:
    """Contents of output files: replies and failures by key, and the number of lines of other requests."""

    replies: dict[str, Reply]
    failures: dict[str, str]
    n_unknown: int


def write_requests(folder: Path, requests: Iterable[BatchRequest]) -> list[RequestFile]:
    """Write requests into as many files as the limits require; older request files are replaced."""
    folder.mkdir(parents=True, exist_ok=True)
    written: list[RequestFile] = []
    lines: list[str] = []
    keys: list[str] = []
    size = 0

    def flush() -> None:
        path = folder / f"{PREFIX}{len(written) + 1:03d}.jsonl"
        write_whole(path, "".join(lines))
        written.append(RequestFile(path, list(keys)))

    for key, body in requests:
        line = json_line({"custom_id": key, "method": "POST", "url": ENDPOINT, "body": body})
        length = len(line.encode("utf-8"))
        if lines and (len(lines) == MAX_REQUESTS or size + length > MAX_BYTES):
            flush()
            lines, keys, size = [], [], 0
        lines.append(line)
        keys.append(key)
        size += length
    if lines:
        flush()
    for old in set(folder.glob(f"{PREFIX}*.jsonl")) - {file.path for file in written}:
        old.unlink()
    return written


def read_output(folder: Path, known: Container[str], redact: Redact) -> BatchOutput:
    """Read every output file in the folder.

    Args:
        known: keys of the requests that are waited for.  redact: replaces the key in texts.

    Raises:
        DataError: a line is not in the form of a batch's output.
    """
    replies: dict[str, Reply] = {}
    failures: dict[str, str] = {}
    n_unknown = 0
    for path in sorted(folder.glob("*.jsonl")):
        if path.name.startswith(PREFIX):
            continue
        # Bytes that are not UTF-8 become halves of surrogate pairs, which `cleaned` refuses in their own line.
        with path.open(encoding="utf-8", errors="surrogateescape") as file:
            for where, line in located_objects(path, file, "Download the batch's output again."):
                key = line.get("custom_id")
                if not isinstance(key, str) or ("response" not in line and "error" not in line):
                    raise DataError(
                        f"{where} is not a line of a batch's output: expected custom_id and response (or error)."
                    )
                if key not in known:
                    n_unknown += 1
                    continue
                try:
                    replies[key] = read_reply(cleaned(line, redact))
                except CallFailed as problem:
                    failures[key] = str(problem)
    failures = {key: why for key, why in failures.items() if key not in replies}
    return BatchOutput(replies=replies, failures=failures, n_unknown=n_unknown)


def read_reply(line: dict[str, Any]) -> Reply:
    """The reply in a line of a batch's output.

    Raises:
        CallFailed: the request failed.
    """
    if has_words(line.get("error")):
        raise CallFailed(f"the batch says: {json.dumps(line['error'], ensure_ascii=False)[:200]}")
    response = line.get("response")
    if not isinstance(response, dict) or response.get("status_code") != 200:
        status = response.get("status_code") if isinstance(response, dict) else None
        raise CallFailed(f"the batch says: HTTP {status}{_words(response)}")
    return read_completion(response.get("body"), None)


def _words(response: Any) -> str:
    """The server's words about a request that failed inside a batch."""
    body = response.get("body") if isinstance(response, dict) else None
    error = body.get("error") if isinstance(body, dict) else None
    message = error.get("message") if isinstance(error, dict) else None
    return f": {' '.join(message.split())[:200]}" if isinstance(message, str) and message.strip() else ""
