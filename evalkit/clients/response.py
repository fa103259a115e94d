"""Replies of chat completion servers, parsed defensively: any field may be missing or have the wrong type."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """Reply to one call; the judge's cache stores it unchanged.

    tokens_in, tokens_out: the server's counts of prompt and answer tokens, None if not reported.  tokens_cached: prompt
    tokens that the server took from its cache.  dropped: parameters that the server refused and that were left out.
    """

    text: str | None
    refusal: str | None = None
    finish: str | None = None
    model: str | None = None
    fingerprint: str | None = None
    tokens_in: int | None = None
    tokens_out: int | None = None
    tokens_cached: int | None = None
    seconds: float | None = None
    dropped: tuple[str, ...] = ()

    def record(self) -> dict[str, Any]:
        """Convert to a JSON object."""
        return {**asdict(self), "dropped": list(self.dropped)}

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Reply:
        """Read from a JSON object."""
        return cls(**{**record, "dropped": tuple(record.get("dropped") or ())})


class CallFailed(Exception):
    """Raised when a call got no reply.

    transient: the server was busy, failing or unreachable, and another call may succeed; False: it refused the request.
    """

    def __init__(self, text: str, *, transient: bool = True) -> None:
        super().__init__(text)
        self.transient = transient


def entries_of(listed: Any) -> list[Mapping[str, Any]] | None:
    """Entries of a list of models; None if the content is not such a list."""
    entries = listed.get("data") if isinstance(listed, Mapping) else None
    if not isinstance(entries, list):
        return None
    return [e for e in entries if isinstance(e, Mapping) and isinstance(e.get("id"), str)]


def read_completion(content: Any, seconds: float | None, dropped: tuple[str, ...] = ()) -> Reply:
    """Parse the JSON of a chat completion.

    Raises:
        CallFailed: it is not a chat completion.
    """
    if not isinstance(content, Mapping):
        raise CallFailed("the server's reply is not a JSON object")
    choices = content.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, Mapping) else None
    if not isinstance(choice, Mapping) or not isinstance(message, Mapping):
        raise CallFailed("the server's reply is not a chat completion (it has no choices with a message)")
    usage = _mapping(content.get("usage"))
    return Reply(
        text=_text(message.get("content")),
        refusal=_text(message.get("refusal")),
        finish=_text(choice.get("finish_reason")),
        model=_text(content.get("model")),
        fingerprint=_text(content.get("system_fingerprint")),
        tokens_in=_count(usage.get("prompt_tokens")),
        tokens_out=_count(usage.get("completion_tokens")),
        tokens_cached=_count(_mapping(usage.get("prompt_tokens_details")).get("cached_tokens")),
        seconds=None if seconds is None else round(seconds, 4),
        dropped=dropped,
    )


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
