"""Replies that are already known: from the run's own judgments, also of other plans, or from the cache."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from evalkit.clients.response import Reply
from evalkit.judge.cache import ReplyCache
from evalkit.judge.journal import REPLIED, JournalLine, JudgmentKey
from evalkit.judge.plan import Plan, Slot
from evalkit.runs.schema import Judgment


def missing_calls(plan: Plan, judgments: Mapping[JudgmentKey, Judgment]) -> list[str]:
    """The calls of a plan whose reply is not among its judgments yet."""

    def has_reply(slot: Slot) -> bool:
        key = JudgmentKey(plan.items[slot.item].sample.id, slot.order, slot.replicate)
        return key in judgments and judgments[key].status in REPLIED

    return [key for key, slots in plan.calls.items() if not all(has_reply(slot) for slot in slots)]


def known_replies(keys: Sequence[str], lines: Iterable[JournalLine], cache: ReplyCache | None) -> dict[str, Reply]:
    """The replies to calls with the same content, by key: from the cache, else from any plan of the run."""
    in_run = {line.key: line for line in lines if isinstance(line, Judgment) and line.status in REPLIED}
    found: dict[str, Reply] = {}
    for key in keys:
        cached = cache.get(key) if cache is not None else None
        if cached is not None:
            found[key] = Reply.of(cached)
        elif key in in_run:
            found[key] = reply_of(in_run[key])
    return found


def reply_of(judgment: Judgment) -> Reply:
    """The reply that a judgment was made from."""
    refused = judgment.status == "refused" and judgment.finish_reason != "content_filter"
    return Reply(
        text=None if refused else judgment.raw,
        refusal=judgment.raw if refused else None,
        finish=judgment.finish_reason,
        model=judgment.model_returned,
        fingerprint=judgment.system_fingerprint,
        tokens_in=judgment.usage.tokens_in if judgment.usage is not None else None,
        tokens_out=judgment.usage.tokens_out if judgment.usage is not None else None,
        seconds=judgment.seconds,
        dropped=judgment.dropped,
    )
