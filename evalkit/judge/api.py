"""Entry points of the judge: judge a run, recompute its scores."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from evalkit.core.types import Prediction, Sample
from evalkit.judge import image_encoding
from evalkit.judge.batch import exchange_files
from evalkit.judge.budget import Estimate, budget_of, estimate, tokens_spent
from evalkit.judge.cache import ReplyCache
from evalkit.judge.client import JudgeClient, LocalClient, ServerClient
from evalkit.judge.config import JudgeConfig, check_lifetime
from evalkit.judge.draws import run_metrics
from evalkit.judge.executor import Session
from evalkit.judge.journal import Journal, PlanJudgments, choose_judge, latest_judgments
from evalkit.judge.known_replies import known_replies, missing_calls
from evalkit.judge.metrics import check_complete, compute
from evalkit.judge.plan import Plan, ReadImage, make_plan
from evalkit.judge.records import judgments_of, missing_answers, plan_line, settled_judgments
from evalkit.runs.read import journal_at
from evalkit.runs.schema import JudgedFile, JudgePlan
from evalkit.runs.store import RunFolder, cut_torn_line, write_record
from evalkit.runs.verify import list_files, listed_files, stored_judgments

Say = Callable[[str], None]
Complete = Callable[[list[dict[str, Any]]], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeOutcome:
    """Outcome of one session of judging.

    n_calls: calls made in this session; n_failed_calls: those without a reply.  n_from_cache: judgments filled from the
    cache or another plan of the run.  seconds: wall time of the calls.  files: batch request files that were written.
    """

    scores: JudgedFile
    estimate: Estimate
    n_calls: int
    n_failed_calls: int
    n_from_cache: int
    tokens_in: int
    tokens_out: int
    seconds: float
    files: tuple[Path, ...] = ()

    def check(self) -> None:
        """Raise Partial (exit code 3) when there is no value, or judging stopped before all answers were judged."""
        check_complete(self.scores)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Environment:
    """Callbacks and settings of one session; see `judge_run`."""

    say: Say
    advance: Callable[[int], None]
    complete: Complete | None
    read_image: ReadImage
    today: date


def judge_run(
    run_dir: Path,
    config: JudgeConfig,
    samples: Sequence[Sample],
    predictions: Sequence[Prediction],
    *,
    say: Say = lambda _: None,
    advance: Callable[[int], None] = lambda _: None,
    complete: Complete | None = None,
    read_image: ReadImage = image_encoding.read_image,
    today: date | None = None,
) -> JudgeOutcome:
    """Judge the answers of a run, continuing where an earlier session stopped.

    Appends every judgment to `judgments.jsonl` as it arrives and writes the values to `judged-NAME.json`.

    Args:
        run_dir: the run's folder.
        samples, predictions: of the run; joined by id.
        say: receives lines for the user (the estimate, warnings).
        advance: called with the number of judgments that were just made.
        complete: for transport "local": maps chat messages (in the API's form) to the text of the reply.
        read_image: returns the bytes of an image.
        today: date for the check of the judge's lifetime; today by default.

    Returns:
        The outcome; call its `check()` after showing it.

    Raises:
        ConfigError, DataError: the judge does not fit the run.
        JudgeError: no key, a refused key, an unknown model or one that was shut down; before anything is spent.
        StoreError: another process judges this run, or its file is damaged.
    """
    plan = make_plan(config, samples, predictions, read_image)
    environment = _Environment(
        say=say, advance=advance, complete=complete, read_image=read_image, today=today or date.today()
    )
    with RunFolder(run_dir).locked():
        return _judge(RunFolder(run_dir), plan, environment)


def _judge(folder: RunFolder, plan: Plan, environment: _Environment) -> JudgeOutcome:
    config, say, advance = plan.config, environment.say, environment.advance
    cut_torn_line(folder.judgments)
    lines = stored_judgments(folder, listed_files(folder)).lines
    done = latest_judgments(lines, plan.id)
    path = config.cache_path()
    cache = ReplyCache(path) if path is not None else None
    journal = Journal(folder.judgments)
    session = Session(
        plan=plan,
        journal=journal,
        cache=cache,
        budget=budget_of(config, tokens_spent(done.values())),
        read_image=environment.read_image,
        advance=advance,
    )
    try:
        if not any(isinstance(line, JudgePlan) and line.plan == plan.id for line in lines):
            journal.write([plan_line(plan), *missing_answers(plan), *settled_judgments(plan)])
        missing = missing_calls(plan, done)
        known = known_replies(missing, lines, cache)
        journal.write(judgments_of(plan, known, cached=True))
        pending = [key for key in missing if key not in known]
        advance(plan.n_slots - sum(len(plan.calls[k]) for k in pending))
        expected = estimate(plan, pending)
        say(expected.sentence())
        files = _obtain(folder, session, pending, environment)
    finally:
        if cache is not None:
            cache.close()
        # A disk that took no judgment fails here too, and the session's own error says more.
        with suppress(OSError) if session.unwritten is not None else nullcontext():
            journal.close()
    for text in session.warnings:
        say(f"warning: {text}")
    scores = _scores(folder, session)
    name = f"judged-{config.name}.json"
    # A kill in between leaves judged numbers that are not listed, which nothing takes for finished ones.
    list_files(folder, present=(), absent=(name,))
    write_record(folder.path / name, scores)
    list_files(folder, present=(folder.judgments.name, name))
    return JudgeOutcome(
        scores=scores,
        estimate=expected,
        n_calls=session.n_calls,
        n_failed_calls=session.n_failed_calls,
        n_from_cache=sum(len(plan.calls[key]) for key in known),
        tokens_in=session.budget.tokens_in,
        tokens_out=session.budget.tokens_out,
        seconds=session.seconds,
        files=tuple(files),
    )


def _obtain(folder: RunFolder, session: Session, pending: list[str], environment: _Environment) -> list[Path]:
    """Obtain the pending replies by the plan's transport; returns the batch request files that were written."""
    config = session.plan.config
    if pending and config.offline:
        session.stopped = "judge.offline=true, and these are neither in the run's folder nor in the cache"
    elif pending and config.transport == "batch":
        return exchange_files(folder.path, session, pending, environment.say)
    elif pending:
        asyncio.run(_call_judge(session, pending, environment))
    return []


async def _call_judge(session: Session, keys: Sequence[str], environment: _Environment) -> None:
    config = session.plan.config
    client: JudgeClient
    if config.transport == "local":
        if environment.complete is None:
            raise RuntimeError("transport=local needs the callable `complete`")
        client = LocalClient(config, environment.complete)
    else:
        _warn_of_lifetime(config, environment)
        client = ServerClient(config)
    try:
        if isinstance(client, ServerClient):
            await client.check()
            if client.announced_shutdown and client.announced_shutdown != config.shutdown:
                _warn_of_lifetime(config, environment, client.announced_shutdown)
        await session.run(keys, client)
    finally:
        await client.close()


def _warn_of_lifetime(config: JudgeConfig, environment: _Environment, announced: str | None = None) -> None:
    for text in check_lifetime(config, environment.today, announced):
        environment.say(f"warning: {text}")


def _scores(folder: RunFolder, session: Session) -> JudgedFile:
    plan = session.plan
    judgments = tuple(latest_judgments(journal_at(folder.judgments), plan.id).values())
    judged = PlanJudgments(plan=plan_line(plan), judgments=judgments)
    return compute(
        judged,
        run_metrics=run_metrics(folder.path),
        max_failed=plan.config.max_failed,
        stopped=session.stopped,
    )


def recompute(path: Path, judge: str | None = None, *, max_failed: float | None = None) -> JudgedFile:
    """The judged scores of a run from its judgments.jsonl, without answers, task or judge.

    Of a run with several answers a sample, the scores of the answers that the judge rates best are read from the run's
    scores.jsonl.

    Args:
        path: the run's folder, or the file.
        judge: the judge's name, where there are several.
        max_failed: limit for the share of failed answers; by default the one that the plan records.
    """
    return compute(choose_judge(path, judge), run_metrics=run_metrics(path), max_failed=max_failed)
