"""A judge's batch files: half the price, replies within a day; exchanged by hand or by any tool."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from evalkit.clients.batch_files import BatchOutput, BatchRequest, read_output, write_requests
from evalkit.clients.redaction import redactor
from evalkit.judge.executor import Session
from evalkit.judge.plan import Plan, request_body
from evalkit.judge.records import error_judgment


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
            session.budget.count(reply)
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
    requests = (BatchRequest(key, request_body(plan, key, session.read_image)) for key in pending)
    files = [file.path for file in write_requests(folder, requests)]
    session.stopped = (
        f"{len(pending)} requests are written to {', '.join(str(f) for f in files[:3])}; submit them to the provider's "
        f"batch service, put its output files (.jsonl) into {folder}, and run the same command again"
    )
    return files


def collect(folder: Path, plan: Plan) -> BatchOutput:
    """Read every output file in the folder.

    Raises:
        DataError: a line is not in the form of a batch's output.
    """
    return read_output(folder, plan.calls, redactor(os.environ.get(plan.config.api_key_env or "")))
