"""Replies of chat completion servers, parsed defensively: any field may be missing or have the wrong type."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """Reply to one call; the judge's cache stores it unchanged.

    tokens_in, tokens_out: the server's counts of prompt and answer tokens, None if not reported.  tokens_cached: prompt
    tokens that the server took from its cache.  reasoning: the model's thought, where the server's reasoning parser has
    taken it out of the text.  dropped: parameters that the server refused and that were left out.
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
    reasoning: str | None = None

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
        reasoning=_reasoning(message),
    )


def _reasoning(message: Mapping[str, Any]) -> str | None:
    """The thought in a message: `reasoning_content` (vLLM, SGLang, DeepSeek), `reasoning` (vLLM, OpenRouter, Ollama),
    `thinking`, `reasoning_details` (a list), or parts of the content of a type other than text (Mistral)."""
    for name in ("reasoning_content", "reasoning", "thinking"):
        if isinstance(found := message.get(name), str) and found.strip():
            return found.strip()
    parts = [
        text
        for name in ("reasoning_details", "content")
        if isinstance(listed := message.get(name), list)
        for part in listed
        if isinstance(part, Mapping) and str(part.get("type", "")).startswith(("reasoning", "thinking"))
        for text in _texts_in(part)
    ]
    return "\n".join(parts) or None


def _texts_in(part: Mapping[str, Any]) -> list[str]:
    """The texts of a part about reasoning: under `text`, `thinking`, `reasoning` or `summary`, once nested."""
    found: list[str] = []
    for name in ("text", "thinking", "reasoning", "summary"):
        value = part.get(name)
        if isinstance(value, str) and value.strip():
            found.append(value.strip())
        elif isinstance(value, list):
            nested = [v.get("text") for v in value if isinstance(v, Mapping)]
            found += [text.strip() for text in nested if isinstance(text, str) and text.strip()]
    return found


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
