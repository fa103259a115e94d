"""Provider batch files: half the price, replies within a day; exchanged by hand or by any tool.

`requests-NNN.jsonl` is the input of OpenAI's Batch API and compatible services (endpoint /v1/chat/completions); every
other .jsonl file in the folder is read as their output, in any order and any number of files.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evalkit.clients.redaction import redactor
from evalkit.clients.response import CallFailed, Reply, cleaned, has_words, read_completion
from evalkit.core.errors import DataError
from evalkit.core.files import json_line, write_whole
from evalkit.judge.executor import Session
from evalkit.judge.json_lines import located_objects
from evalkit.judge.plan import Plan, ReadImage, request_body
from evalkit.judge.records import error_judgment

# The provider's limits for one file: 50,000 requests and 200 MB.
MAX_REQUESTS = 50_000
MAX_BYTES = 190_000_000
PREFIX = "requests-"


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchOutput:
    """Contents of output files: replies and failures by call key, and the number of lines of other requests."""

    replies: dict[str, Reply]
    failures: dict[str, str]
    n_unknown: int


def batch_folder(run_dir: Path, plan: Plan) -> Path:
    """The folder of a plan's batch files."""
    return run_dir / "judge-batch" / f"{plan.config.name}-{plan.id[:8]}"


def exchange_files(run_dir: Path, session: Session, keys: list[str], say: Callable[[str], None]) -> list[Path]:
    """Store the replies that output files hold, and write request files for the other calls; returns these files."""
    plan = session.plan
    folder = batch_folder(run_dir, plan)
    output = collect(folder, plan) if folder.is_dir() else BatchOutput(replies={}, failures={}, n_unknown=0)
    wanted = set(keys)
    for key, reply in output.replies.items():
        if key in wanted:
            session.n_calls += 1
            session.save({key: reply})
            session.budget.tokens_in += reply.tokens_in or 0
            session.budget.tokens_out += reply.tokens_out or 0
    for key, why in output.failures.items():
        if key in wanted:
            session.n_calls += 1
            session.n_failed_calls += 1
            session.write(error_judgment(plan, slot, key, why) for slot in plan.calls[key])
    session.check_written()
    if output.n_unknown:
        say(f"warning: {output.n_unknown} lines of the output in {folder} belong to other requests and were ignored")
    pending = [k for k in keys if k not in output.replies]
    if not pending:
        return []
    files = write_requests(folder, plan, pending, session.read_image)
    session.stopped = (
        f"{len(pending)} requests are written to {', '.join(str(f) for f in files[:3])}; submit them to the provider's "
        f"batch service, put its output files (.jsonl) into {folder}, and run the same command again"
    )
    return files


def write_requests(folder: Path, plan: Plan, keys: Sequence[str], read_image: ReadImage) -> list[Path]:
    """Write the requests of `keys` into as many files as the limits require; older request files are replaced."""
    folder.mkdir(parents=True, exist_ok=True)
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
        if lines and (len(lines) == MAX_REQUESTS or size + length > MAX_BYTES):
            flush()
            lines, size = [], 0
        lines.append(line)
        size += length
    if lines:
        flush()
    for old in set(folder.glob(f"{PREFIX}*.jsonl")) - set(written):
        old.unlink()
    return written


def collect(folder: Path, plan: Plan) -> BatchOutput:
    """Read every output file in the folder.

    Raises:
        DataError: a line is not in the form of a batch's output.
    """
    redact = redactor(os.environ.get(plan.config.api_key_env or ""))
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
                if key not in plan.calls:
                    n_unknown += 1
                    continue
                try:
                    replies[key] = _reply(cleaned(line, redact))
                except CallFailed as problem:
                    failures[key] = str(problem)
    return BatchOutput(
        replies=replies, failures={k: v for k, v in failures.items() if k not in replies}, n_unknown=n_unknown
    )


def _reply(line: dict[str, Any]) -> Reply:
    if has_words(line.get("error")):
        raise CallFailed(f"the batch says: {json.dumps(line['error'], ensure_ascii=False)[:200]}")
    response = line.get("response")
    if not isinstance(response, dict) or response.get("status_code") != 200:
        status = response.get("status_code") if isinstance(response, dict) else None
        raise CallFailed(f"the batch says: HTTP {status}")
    return read_completion(response.get("body"), None)
