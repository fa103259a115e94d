"""Execution of a plan: bounded concurrency, replies stored at once, a clean stop without budget, server or key."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from evalkit.clients.budget import Budget
from evalkit.clients.response import CallFailed, Reply
from evalkit.core.errors import DataError, EvalkitError, Partial, StoreError
from evalkit.core.finish_reasons import finish_kind
from evalkit.judge.budget import max_tokens_of
from evalkit.judge.cache import ReplyCache
from evalkit.judge.client import JudgeClient
from evalkit.judge.journal import Journal
from evalkit.judge.plan import Plan, ReadImage, request_body
from evalkit.judge.records import error_judgment, judgments_of
from evalkit.runs.schema import Judgment

# This many failed calls without a success in between are an outage; continuing would only prolong it.
MAX_FAILURES_IN_A_ROW = 10


@dataclass(slots=True)
class Session:
    """One session of judging.

    stopped: reason why it ended early.  n_calls, n_failed_calls: calls made, and those without a reply.  fatal: the
    error after which no call can succeed.  unwritten: the error of the first judgment that the journal could not take,
    after which no call is made and nothing more is written to it.  warnings: for the user, at the end.
    """

    plan: Plan
    journal: Journal
    cache: ReplyCache | None
    budget: Budget
    read_image: ReadImage
    advance: Callable[[int], None]
    stopped: str = ""
    n_calls: int = 0
    n_failed_calls: int = 0
    seconds: float = 0.0
    fatal: EvalkitError | None = None
    unwritten: OSError | None = None
    warnings: list[str] = field(default_factory=list)
    _n_kept: int = 0
    _n_lost: int = 0
    _failed_in_a_row: int = field(default=0)
    _unsaved: dict[str, Reply] = field(default_factory=dict)

    async def run(self, keys: Sequence[str], client: JudgeClient) -> None:
        """Make the calls `keys`; returns when each has ended or there is a reason to stop.  The caller closes `client`.

        Raises:
            EvalkitError: no call can succeed, and none did; or a reply could not be written.
        """
        started = time.perf_counter()
        pending = iter(keys)
        workers = 1 if self.plan.config.transport == "local" else min(self.plan.config.concurrency, len(keys))
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(workers):
                    group.create_task(self._work(pending, client))
        finally:
            self._save_pending()
            self.seconds = time.perf_counter() - started
        self.check_written()
        if self.fatal is not None and self.n_calls == self.n_failed_calls:
            raise self.fatal

    async def _work(self, pending: Iterator[str], client: JudgeClient) -> None:
        for key in pending:
            if self.stopped:
                return
            if not self.budget.limited:
                if (reply := await self._call(key, client)) is not None:
                    self.budget.count(reply)
                continue
            limit = max_tokens_of(self.plan, key)
            reserved = await self.budget.reserve(limit)
            if reserved is None:
                self.stopped = self.stopped or self.budget.exhausted
                return
            await self.budget.settle(reserved, limit, await self._call(key, client))

    async def _call(self, key: str, client: JudgeClient) -> Reply | None:
        """Make one call and store its reply; None where it failed, or where the session stopped before it."""
        if self.stopped:
            return None
        self.n_calls += 1
        try:
            reply = await self._ask(key, client)
        except CallFailed as problem:
            self._failed(key, str(problem))
            return None
        except DataError as problem:  # an image that cannot be sent; the other calls may have better ones
            self._keep_failure(key, str(problem))
            self.fatal = self.fatal or problem
            return None
        except EvalkitError as problem:
            self.n_failed_calls += 1
            self.fatal = self.fatal or problem
            self.stopped = self.stopped or str(problem)
            return None
        self._failed_in_a_row = 0
        self._save_soon(key, reply)
        await asyncio.sleep(0)  # the reply is written before this worker makes another call
        return reply

    async def _ask(self, key: str, client: JudgeClient) -> Reply:
        """The reply to a call; of several rounds, one reply with a JSON list of their texts.

        A round without a text ends the call: its reply is refused or unreadable, and so is the whole.
        """
        body, rounds = request_body(self.plan, key, self.read_image), self.plan.config.rounds
        if rounds == 1:
            return await client.send(body)
        messages, replies = list(body["messages"]), list[Reply]()
        for _ in range(rounds):
            replies.append(await client.send({**body, "messages": list(messages)}))
            text = replies[-1].text
            if text is None or replies[-1].refusal or finish_kind(replies[-1].finish) not in ("stop", "unknown"):
                break
            again = {"role": "user", "content": self.plan.config.again}
            messages += [{"role": "assistant", "content": text}, again]
        return _joined(replies)

    def _keep_failure(self, key: str, why: str) -> None:
        self.n_failed_calls += 1
        self.write(error_judgment(self.plan, slot, key, why) for slot in self.plan.calls[key])
        self.advance(len(self.plan.calls[key]))

    def _failed(self, key: str, why: str) -> None:
        self._keep_failure(key, why)
        self._failed_in_a_row += 1
        limit = max(MAX_FAILURES_IN_A_ROW, self.plan.config.concurrency)
        if self._failed_in_a_row >= limit and not self.stopped:
            self.stopped = f"{self._failed_in_a_row} calls in a row brought no reply (the last: {why})"

    def save(self, replies: Mapping[str, Reply]) -> None:
        """Store paid replies: first in the cache, then in the run, so that a kill in between loses nothing."""
        is_kept = False
        if self.cache is not None:
            try:
                self.cache.put((key, reply.record()) for key, reply in replies.items())
                is_kept = True
            except sqlite3.Error as problem:
                # A full disk or a locked cache must not lose a paid reply.
                self.warnings.append(f"the judge's cache failed ({problem}); judging continues without it")
                self.cache = None
        if self.write(judgments_of(self.plan, replies, cached=False)):
            is_kept = True
            self.advance(sum(len(self.plan.calls[key]) for key in replies))
        self._n_kept += len(replies) if is_kept else 0
        self._n_lost += 0 if is_kept else len(replies)

    def write(self, judgments: Iterable[Judgment]) -> bool:
        """Append to the run's judgments; the first failure stops the session, and after it nothing is appended."""
        if self.unwritten is not None:
            return False
        try:
            self.journal.write(judgments)
        except OSError as problem:
            self.unwritten = problem
            self.stopped = self.stopped or "a judgment could not be written"
            return False
        return True

    def check_written(self) -> None:
        """Raise an error if a judgment could not be written: Partial where replies of this session are kept."""
        if self.unwritten is None:
            return
        where, why = self.unwritten.filename or self.journal.path, self.unwritten.strerror or self.unwritten
        lost = f"{self._n_lost} replies that had come are lost" if self._n_lost else "no reply is lost"
        cache = "" if self.cache is None else f" or in the cache {self.cache.path}"
        error = Partial if self._n_kept else StoreError
        raise error(
            f"{where}: {why}. The judge was asked nothing more from the first judgment on that could not be written; "
            f"{self._n_kept} replies of this session are kept there{cache}, {lost}. Make room on the disk (or for the "
            "quota), then run the same command again: it asks for the missing judgments alone."
        ) from self.unwritten

    def _save_soon(self, key: str, reply: Reply) -> None:
        """Store a reply together with all others of this turn of the event loop: one transaction, one write."""
        if not self._unsaved:
            asyncio.get_running_loop().call_soon(self._save_pending)
        self._unsaved[key] = reply

    def _save_pending(self) -> None:
        if self._unsaved:
            replies, self._unsaved = self._unsaved, {}
            self.save(replies)


def _joined(replies: Sequence[Reply]) -> Reply:
    """The replies of one call as one: their texts as a JSON list, what they cost together, the rest as of the last."""
    last = replies[-1]
    texts = [reply.text for reply in replies if reply.text is not None]
    return replace(
        last,
        text=json.dumps(texts, ensure_ascii=False),
        tokens_in=_total([reply.tokens_in for reply in replies]),
        tokens_out=_total([reply.tokens_out for reply in replies]),
        seconds=sum(reply.seconds or 0.0 for reply in replies),
    )


def _total(counts: Sequence[int | None]) -> int | None:
    """The sum of the counts; None where one was not reported."""
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None
