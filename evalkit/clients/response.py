"""What a server replied, read without trust: nothing in it need be there or be what it should."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What came back from one call; kept in the judge's cache as it is.

    tokens_in, tokens_out: as the server counted them, None where it did not say; tokens_cached: of those in, how many
    it says it did not have to compute.
    dropped: parameters that the server refused and that were left out.
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
        """As JSON."""
        return {**asdict(self), "dropped": list(self.dropped)}

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Reply:
        """From JSON."""
        return cls(**{**record, "dropped": tuple(record.get("dropped") or ())})


class CallFailed(Exception):
    """A call brought no reply.

    passing: the server was busy, broken or gone, and another call may fare better; False: it refused this request.
    """

    def __init__(self, text: str, *, passing: bool = True) -> None:
        super().__init__(text)
        self.passing = passing


def entries_of(listed: Any) -> list[Mapping[str, Any]] | None:
    """The entries of a list of models, None where the content is no such list."""
    entries = listed.get("data") if isinstance(listed, Mapping) else None
    if not isinstance(entries, list):
        return None
    return [e for e in entries if isinstance(e, Mapping) and isinstance(e.get("id"), str)]


def read_completion(content: Any, seconds: float | None, dropped: tuple[str, ...] = ()) -> Reply:
    """A chat completion's JSON as a Reply.

    Raises:
        CallFailed: it is not a chat completion.
    """
    if not isinstance(content, Mapping):
        raise CallFailed("the server's reply is no JSON object")
    choices = content.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, Mapping) else None
    if not isinstance(choice, Mapping) or not isinstance(message, Mapping):
        raise CallFailed("the server's reply is no chat completion (it has no choices with a message)")
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
