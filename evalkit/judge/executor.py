"""Asking: bounded concurrency, every reply landed at once, a clean stop when money, server or key is gone."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from evalkit.clients.response import CallFailed, Reply
from evalkit.core.errors import EvalkitError
from evalkit.judge.budget import Budget, most_tokens, price_of
from evalkit.judge.cache import ReplyCache
from evalkit.judge.client import Asker
from evalkit.judge.columns import answers_digest
from evalkit.judge.config import REFERENCE_FIRST, RELATIVE
from evalkit.judge.journal import Journal
from evalkit.judge.parse_response import Verdict, read_verdict
from evalkit.judge.plan import Plan, ReadImage, Slot, request_body

# So many failed calls with no success between them are an outage; to go on would only make it longer.
FAILURES_IN_A_ROW = 10


@dataclass(slots=True)
class Session:
    """One session of judging.  `stopped` says why it ended early; `asked` and `failed` count calls."""

    plan: Plan
    journal: Journal
    cache: ReplyCache | None
    budget: Budget
    read_image: ReadImage
    advance: Callable[[int], None]
    stopped: str = ""
    asked: int = 0
    failed: int = 0
    seconds: float = 0.0
    fatal: EvalkitError | None = None
    notes: list[str] = field(default_factory=list)
    _in_a_row: int = field(default=0)
    _landing: dict[str, Reply] = field(default_factory=dict)

    async def run(self, keys: Sequence[str], asker: Asker) -> None:
        """Ask all of `keys`; returns when each is landed, or there is a reason to stop.  The caller closes `asker`.

        Raises:
            EvalkitError: no call can succeed, and none has.
        """
        started = time.perf_counter()
        waiting = iter(keys)
        workers = 1 if self.plan.config.transport == "local" else min(self.plan.config.concurrency, len(keys))
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(workers):
                    group.create_task(self._work(waiting, asker))
        finally:
            self._land_now()
            self.seconds = time.perf_counter() - started
        if self.fatal is not None and self.asked == self.failed:
            raise self.fatal

    async def _work(self, waiting: Iterator[str], asker: Asker) -> None:
        for key in waiting:
            if self.stopped:
                return
            if not self.budget.limited:
                self._count(await self._ask(key, asker))
                continue
            most = most_tokens(self.plan, key)
            aside = await self.budget.take(most)
            if aside is None:
                self.stopped = self.stopped or self.budget.exhausted
                return
            await self.budget.settle(aside, most, await self._ask(key, asker))

    def _count(self, reply: Reply | None) -> None:
        if reply is not None:
            self.budget.tokens_in += reply.tokens_in or 0
            self.budget.tokens_out += reply.tokens_out or 0

    async def _ask(self, key: str, asker: Asker) -> Reply | None:
        """Ask and land one call; not when there was a reason to stop while it waited for its turn."""
        if self.stopped:
            return None
        self.asked += 1
        try:
            reply = await asker.ask(request_body(self.plan, key, self.read_image))
        except CallFailed as problem:
            self._failed(key, str(problem))
            return None
        except EvalkitError as problem:
            self.failed += 1
            self.fatal = self.fatal or problem
            self.stopped = self.stopped or str(problem)
            return None
        self._in_a_row = 0
        self._land_soon(key, reply)
        return reply

    def _failed(self, key: str, why: str) -> None:
        self.failed += 1
        self._in_a_row += 1
        self.journal.write([error_record(self.plan, slot, key, why) for slot in self.plan.calls[key]])
        self.advance(len(self.plan.calls[key]))
        limit = max(FAILURES_IN_A_ROW, self.plan.config.concurrency)
        if self._in_a_row >= limit and not self.stopped:
            self.stopped = f"{self._in_a_row} calls in a row brought no reply (the last: {why})"

    def land(self, replies: Mapping[str, Reply]) -> None:
        """Keep replies that were paid for: first in the cache, then in the run; a kill between loses nothing."""
        if self.cache is not None:
            try:
                self.cache.put((key, reply.record()) for key, reply in replies.items())
            except sqlite3.Error as problem:
                # A full or locked disk under the cache must not cost a reply that was paid for.
                self.notes.append(f"the judge's cache was given up ({problem}); this run's own file goes on")
                self.cache = None
        fill(self.plan, self.journal, replies, cached=False)
        self.advance(sum(len(self.plan.calls[key]) for key in replies))

    def _land_soon(self, key: str, reply: Reply) -> None:
        """Land a reply together with all that came in the same turn of the event loop: one transaction, one write."""
        if not self._landing:
            asyncio.get_running_loop().call_soon(self._land_now)
        self._landing[key] = reply

    def _land_now(self) -> None:
        if self._landing:
            replies, self._landing = self._landing, {}
            self.land(replies)


def fill(plan: Plan, journal: Journal, replies: Mapping[str, Reply], *, cached: bool) -> None:
    """Write the judgments that replies give."""
    records = []
    for key, reply in replies.items():
        verdict = read_verdict(plan.judged, reply.text, refusal=reply.refusal, finish=reply.finish)
        records += [judgment_record(plan, slot, key, reply, verdict, cached=cached) for slot in plan.calls[key]]
    journal.write(records)


def judgment_record(
    plan: Plan, slot: Slot, key: str, reply: Reply, verdict: Verdict, *, cached: bool
) -> dict[str, Any]:
    """A line of judgments.jsonl for a reply."""
    return {
        **_head(plan, slot, key),
        "status": verdict.status,
        "scores": _scores(plan, slot, verdict),
        "verdict": verdict.label,
        "why": verdict.why,
        "raw": reply.refusal if reply.text is None else reply.text,
        "model_returned": reply.model,
        "system_fingerprint": reply.fingerprint,
        "finish_reason": reply.finish,
        "dropped": list(reply.dropped),
        "usage": {"tokens_in": reply.tokens_in, "tokens_out": reply.tokens_out},
        "usd": 0.0 if cached else price_of(plan.config, reply.tokens_in, reply.tokens_out),
        "seconds": reply.seconds,
        "cached": cached,
    }


def error_record(plan: Plan, slot: Slot, key: str, why: str) -> dict[str, Any]:
    """A line of judgments.jsonl for a call without a reply."""
    return {**_head(plan, slot, key), "status": "error", "scores": None, "verdict": None, "why": why, "cached": False}


def no_answer_records(plan: Plan) -> Iterator[dict[str, Any]]:
    """Lines for the samples that have no answer to judge."""
    for index, item in enumerate(plan.items):
        if item.answer is None:
            head = _head(plan, Slot(index, REFERENCE_FIRST, 0), "")
            yield {**head, "status": "no_answer", "scores": None, "verdict": None, "why": item.error, "cached": False}


def plan_record(plan: Plan) -> dict[str, Any]:
    """The line that says what a plan's judgments are of."""
    return {
        "record": "plan",
        "plan": plan.id,
        "judge": plan.config.name,
        "judged": plan.judged,
        "server": plan.config.server,
        "model_requested": plan.config.model,
        "prompt": plan.prompt.name,
        "prompt_sha256": plan.prompt.sha256,
        "style": plan.config.style,
        "n_items": len(plan.items),
        "answers_sha256": answers_digest({item.sample.id: item.answer for item in plan.items}),
        "n_judgments": plan.n_slots,
        "config": plan.config.record(),
        "created": _now(),
    }


def _head(plan: Plan, slot: Slot, key: str) -> dict[str, Any]:
    sample = plan.items[slot.item].sample
    return {
        "record": "judgment",
        "plan": plan.id,
        "judge": plan.config.name,
        "sample_id": sample.id,
        "image_id": sample.image_id,
        "tags": dict(sample.tags),
        "order": slot.order,
        "replicate": slot.replicate,
        "key": key,
        "model_requested": plan.config.model,
        "prompt": plan.prompt.name,
        "prompt_sha256": plan.prompt.sha256,
        "created": _now(),
    }


def _scores(plan: Plan, slot: Slot, verdict: Verdict) -> dict[str, float] | None:
    if plan.judged != RELATIVE or verdict.first is None or verdict.second is None:
        return None
    first, second = verdict.first, verdict.second
    if slot.order == REFERENCE_FIRST:
        return {"reference": first, "candidate": second}
    return {"reference": second, "candidate": first}


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
