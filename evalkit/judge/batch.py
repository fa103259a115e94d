"""Provider batch files: half the price and a day's patience, handed in and fetched by hand or by any tool.

`requests-NNN.jsonl` is what OpenAI's Batch API and its compatibles take (endpoint /v1/chat/completions); whatever
other .jsonl file lies in the folder is read as their output, in any order and any number of files.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evalkit.clients.response import CallFailed, Reply, read_completion
from evalkit.core.errors import DataError
from evalkit.core.files import json_line, write_whole
from evalkit.judge.plan import Plan, ReadImage, request_body

# The provider's own limits for one file: 50,000 requests and 200 MB.
MOST_REQUESTS = 50_000
MOST_BYTES = 190_000_000
PREFIX = "requests-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """What output files hold: replies and failures by call key, and how many lines belong to no call of the plan."""

    replies: dict[str, Reply]
    failures: dict[str, str]
    strangers: int


def folder_of(run_dir: Path, plan: Plan) -> Path:
    """Where the batch files of a plan are."""
    return run_dir / "judge-batch" / f"{plan.config.name}-{plan.id[:8]}"


def write_requests(folder: Path, plan: Plan, keys: Sequence[str], read_image: ReadImage) -> list[Path]:
    """Write the requests of `keys`, in as many files as the limits need; older request files are replaced."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob(f"{PREFIX}*.jsonl"):
        old.unlink()
    written: list[Path] = []
    lines: list[str] = []
    size = 0

    def flush() -> None:
        path = folder / f"{PREFIX}{len(written) + 1:03d}.jsonl"
        write_whole(path, "".join(lines))
        written.append(path)

    for key in keys:
        body = request_body(plan, key, read_image)
        line = json_line({"custom_id": key, "method": "POST", "url": "/v1/chat/completions", "body": body})
        length = len(line.encode("utf-8"))
        if lines and (len(lines) == MOST_REQUESTS or size + length > MOST_BYTES):
            flush()
            lines, size = [], 0
        lines.append(line)
        size += length
    if lines:
        flush()
    return written


def collect(folder: Path, plan: Plan) -> Collected:
    """Read every output file in the folder.

    Raises:
        DataError: a line is not one that a batch gives back.
    """
    replies: dict[str, Reply] = {}
    failures: dict[str, str] = {}
    strangers = 0
    for path in sorted(folder.glob("*.jsonl")):
        if path.name.startswith(PREFIX):
            continue
        for where, line in _lines(path):
            key = line.get("custom_id")
            if not isinstance(key, str) or ("response" not in line and "error" not in line):
                raise DataError(
                    f"{where} is not a line of a batch's output: custom_id and response (or error) were expected."
                )
            if key not in plan.calls:
                strangers += 1
                continue
            try:
                replies[key] = _reply(line)
            except CallFailed as problem:
                failures[key] = str(problem)
    return Collected(
        replies=replies, failures={k: v for k, v in failures.items() if k not in replies}, strangers=strangers
    )


def _lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    with path.open(encoding="utf-8") as file:
        for number, text in enumerate(file, start=1):
            where = f"{path}:{number}"
            if not text.strip():
                continue
            try:
                line = json.loads(text)
            except ValueError as problem:
                raise DataError(f"{where} is not JSON ({problem}); fetch the batch's output again.") from problem
            if not isinstance(line, dict):
                raise DataError(f"{where} is not a JSON object.")
            yield where, line


def _reply(line: dict[str, Any]) -> Reply:
    if line.get("error"):
        raise CallFailed(f"the batch says: {json.dumps(line['error'])[:200]}")
    response = line.get("response")
    if not isinstance(response, dict) or response.get("status_code") != 200:
        status = response.get("status_code") if isinstance(response, dict) else None
        raise CallFailed(f"the batch says: HTTP {status}")
    return read_completion(response.get("body"), None)
