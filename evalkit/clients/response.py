"""Replies of chat completion servers, parsed defensively: any field may be missing or have the wrong type."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from evalkit.clients.redaction import Redact
from evalkit.core import json_text
from evalkit.core.errors import first_line

# Characters of a server's own words that are kept in an error.
MAX_WORDS = 300
# Characters of a name (of a model, a finish reason) in a reply, of which the rest is left out.
MAX_NAME = 200
# Levels of a reply's JSON; those of servers have about ten.
MAX_DEPTH = 100
# Values of a reply's JSON, which is read while other calls wait; those of servers have some dozens.
MAX_VALUES = 200_000
_STRINGS = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
# Fields with the model's thought: vLLM, SGLang and DeepSeek; vLLM, OpenRouter and Ollama; Ollama; and lists of parts.
_THOUGHTS = ("reasoning_content", "reasoning", "thinking")
_THOUGHT_LISTS = ("reasoning_details", "thinking_blocks")
# Where servers count the tokens of a thought: in an object of details of `usage`, or in `usage` itself.
_TOKEN_DETAILS = ("completion_tokens_details", "output_tokens_details")
_THOUGHT_TOKENS = ("reasoning_tokens", "thinking_tokens", "thoughts_token_count", "thoughtsTokenCount")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """Reply to one call; the judge's cache stores it unchanged.

    text: the text, the parts of a list joined.  error: the server's own words about a failure inside the reply.
    reasoning: the model's thought, where the server's reasoning parser has taken it out of the text.  reasoning_only:
    there is a thought, shown or only counted, and no text.  tokens_in, tokens_out: the server's counts of prompt and
    answer tokens, None if not reported.  tokens_cached: prompt tokens that the server took from its cache.  dropped:
    parameters that the server refused and that were left out.  logprob: the log-probability of all tokens of the reply.
    tokens_thought: the server's count of the thought's tokens.
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
    error: str | None = None
    reasoning_only: bool = False
    reasoning: str | None = None
    logprob: float | None = None
    tokens_thought: int | None = None

    def record(self) -> dict[str, Any]:
        """Convert to a JSON object; without `logprob` and `tokens_thought` where there are none."""
        found = {**asdict(self), "dropped": list(self.dropped)}
        return {k: v for k, v in found.items() if v is not None or k not in ("logprob", "tokens_thought")}

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Reply:
        """Read from a JSON object."""
        refusal = _words(record.get("refusal"))  # a blank one is none, also in a cache of earlier versions
        return cls(**{**record, "refusal": refusal, "dropped": tuple(record.get("dropped") or ())})


class CallFailed(Exception):
    """Raised when a call got no reply.

    transient: the server was busy, failing or unreachable, and another call may succeed; False: it refused the request.
    """

    def __init__(self, text: str, *, transient: bool = True) -> None:
        super().__init__(text)
        self.transient = transient


def read_json(content: bytes, redact: Redact) -> Any:
    """Parse the JSON of a server: the key replaced in every text, numbers that are not finite as None.

    Raises:
        CallFailed: it is no JSON, is nested too deeply, has too many values, or half of a surrogate pair, which no file
            can hold.
    """
    if _most_values(content) > MAX_VALUES:
        raise CallFailed(f"the server's reply has more than {MAX_VALUES} values")
    try:
        text = content.decode("utf-8-sig")
        return cleaned(json_text.loads(text, parse_constant=lambda _: None), redact)
    except UnicodeDecodeError:
        raise CallFailed("the server's reply is not JSON: its bytes are not UTF-8") from None
    except json_text.TooDeepError:
        raise CallFailed("the server's reply is not JSON that can be read: it is nested too deeply") from None
    except json_text.DoubledKeyError as problem:  # its message quotes values that are cut, in which no key is found
        key = redact(problem.key)[:MAX_WORDS]
        raise CallFailed(f"the server's reply is not JSON (the key {key!r} occurs twice in one object)") from None
    except ValueError as problem:
        start = " ".join(redact(text)[:10_000].split())[:60]
        if start and not start.startswith("{"):
            raise CallFailed(f"the server's reply is not a JSON object; it begins with {start!r}") from None
        raise CallFailed(f"the server's reply is not JSON ({redact(first_line(problem))[:MAX_WORDS]})") from None


def _most_values(content: bytes) -> int:
    """An upper bound of the number of values in JSON, found without parsing it."""
    if (n_marks := _count_marks(content)) <= MAX_VALUES:
        return n_marks
    n_quotes = content.count(b'"') - content.count(b'\\"')
    if n_quotes > 4 * MAX_VALUES:  # two around each text, and at most two texts a value: its key and itself
        return n_marks
    return _count_marks(_STRINGS.sub(b"", content))  # marks in a text are none


def _count_marks(content: bytes) -> int:
    return 1 + sum(content.count(mark) for mark in (b",", b"[", b"{"))


def cleaned(value: Any, redact: Redact, depth: int = 0) -> Any:
    """Parsed JSON as `read_json` returns it.

    Raises:
        CallFailed: see `read_json`.
    """
    if isinstance(value, str):
        return _clean_text(value, redact)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if depth > MAX_DEPTH:
        raise CallFailed(f"the server's reply is nested more than {MAX_DEPTH} levels deep")
    if isinstance(value, dict):
        return {_clean_text(k, redact): cleaned(v, redact, depth + 1) for k, v in value.items()}
    return [cleaned(v, redact, depth + 1) for v in value] if isinstance(value, list) else value


def _clean_text(text: str, redact: Redact) -> str:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise CallFailed("the server's reply has half of a surrogate pair, which is no character") from None
    return redact(text)


def transient_status(content: Any) -> int | None:
    """The status of a passing failure (408, 409, 429, 5xx) that an error in a reply without choices names."""
    if not isinstance(content, Mapping) or content.get("choices"):
        return None
    error = content.get("error")
    holder = error if isinstance(error, Mapping) else content
    for value in (holder.get("code"), holder.get("status")):
        status = int(value) if isinstance(value, str) and value.isdecimal() and len(value) == 3 else value
        if isinstance(status, int) and is_transient(status):
            return status
    return None


def is_transient(status: int) -> bool:
    """Whether a call that got an HTTP status may succeed when it is made again."""
    return status in (408, 409, 429) or 500 <= status <= 599


def entries_of(listed: Any) -> list[Mapping[str, Any]] | None:
    """Entries of a list of models; None if the content is not such a list."""
    entries = listed.get("data") if isinstance(listed, Mapping) else None
    if not isinstance(entries, list):
        return None
    return [e for e in entries if isinstance(e, Mapping) and isinstance(e.get("id"), str)]


def read_completion(content: Any, seconds: float | None, dropped: tuple[str, ...] = ()) -> Reply:
    """Parse the JSON of a chat completion, or of an error that a server sent with HTTP 200.

    Raises:
        CallFailed: it is neither.
    """
    if not isinstance(content, Mapping):
        raise CallFailed("the server's reply is not a JSON object")
    choices = content.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, Mapping) else None
    error = _error_of(content) or (_error_of(choice) if isinstance(choice, Mapping) else None)
    if not isinstance(choice, Mapping) or not isinstance(message, Mapping):
        # A filtered reply may have a reason and no message at all.
        finish = _finish(choice, None) if isinstance(choice, Mapping) else None
        if error is None and not finish:
            words = " ".join(json.dumps(content, ensure_ascii=False).split())[:MAX_WORDS]
            raise CallFailed(f"the server's reply is not a chat completion (it has no choices with a message): {words}")
        choice, message = choice if isinstance(choice, Mapping) else {}, {}
    usage = _mapping(content.get("usage"))
    text = _content(message.get("content"))
    reasoning = _reasoning(message)
    tokens_thought = _thought_tokens(usage)
    thought = bool(reasoning or tokens_thought) or any(
        has_words(message.get(name)) for name in (*_THOUGHTS, *_THOUGHT_LISTS)
    )
    return Reply(
        text=text,
        refusal=_words(message.get("refusal")) or _refusal_part(message.get("content")),
        finish=_finish(choice, text),
        model=_name(content.get("model")),
        fingerprint=_name(content.get("system_fingerprint")),
        tokens_in=json_text.count(usage.get("prompt_tokens")),
        tokens_out=json_text.count(usage.get("completion_tokens")),
        tokens_cached=json_text.count(_mapping(usage.get("prompt_tokens_details")).get("cached_tokens")),
        seconds=None if seconds is None else round(seconds, 4),
        dropped=dropped,
        error=error or _error_of(message),
        reasoning=reasoning,
        reasoning_only=thought and not (text or "").strip(),
        logprob=_logprob(choice),
        tokens_thought=tokens_thought,
    )


def _thought_tokens(usage: Mapping[str, Any]) -> int | None:
    """The server's count of the thought's tokens; None where it states none, or 0."""
    holders = (*(_mapping(usage.get(name)) for name in _TOKEN_DETAILS), usage)
    counts = (json_text.count(holder.get(name)) for holder in holders for name in _THOUGHT_TOKENS)
    return next((n for n in counts if n), None)


def _logprob(choice: Mapping[str, Any]) -> float | None:
    """The log-probability of a choice's tokens; None where the server does not give that of each of them."""
    listed = _mapping(choice.get("logprobs")).get("content")
    parts = [_mapping(token).get("logprob") for token in listed] if isinstance(listed, list) else []
    values = [float(v) for v in parts if isinstance(v, int | float) and not isinstance(v, bool)]
    if not values or len(values) < len(parts):
        return None
    total = math.fsum(values)
    return min(0.0, round(total, 6)) if math.isfinite(total) else None


def _error_of(holder: Mapping[str, Any]) -> str | None:
    """The server's words about a failure: an `error` that is set, or the fields of an object that is an error."""
    found = holder.get("error")
    if found is None and (holder.get("object") == "error" or holder.get("type") == "error"):
        found = {k: v for k, v in holder.items() if k not in ("object", "type")}
    if not has_words(found):
        return None
    if isinstance(found, Mapping):
        words = next((found[k] for k in ("message", "detail", "msg") if isinstance(found.get(k), str)), None)
        code = next((found[k] for k in ("code", "status", "type") if isinstance(found.get(k), str | int)), None)
        if words is not None:
            found = words if code is None else f"{words} (code {code})"
    shown = found if isinstance(found, str) else json.dumps(found, ensure_ascii=False, default=str)
    return " ".join(shown.split())[:MAX_WORDS]


def _finish(choice: Mapping[str, Any], text: str | None) -> str | None:
    """The finish reason; without a text the model's own word (OpenRouter), which gateways replace by "stop".

    A filter of Azure that has taken the whole text is a content filter, whatever the reason given.
    """
    verdicts = _mapping(choice.get("content_filter_results")).values()
    if not (text or "").strip() and any(isinstance(v, Mapping) and v.get("filtered") is True for v in verdicts):
        return "content_filter"
    native = None if (text or "").strip() else _name(_words(choice.get("native_finish_reason")))
    return native or _name(choice.get("finish_reason"))


def _content(value: Any) -> str | None:
    """The text of a message: a string, or a list whose text parts are joined; None where there is no text."""
    if not isinstance(value, list):
        return _text(value)
    texts = [part if isinstance(part, str) else _part_text(part) for part in value]
    found = [text for text in texts if text is not None]
    return "".join(found) if found else None


def _part_text(part: Any) -> str | None:
    """The text of a part of a message; None for another kind of part, such as a thought or a refusal."""
    if not isinstance(part, Mapping) or (part.get("type") or "text") not in ("text", "output_text"):
        return None
    text = part.get("text")
    return _text(text.get("value")) if isinstance(text, Mapping) else _text(text)


def _refusal_part(value: Any) -> str | None:
    parts = value if isinstance(value, list) else ()
    return next((words for p in parts if isinstance(p, Mapping) and (words := _words(p.get("refusal")))), None)


def has_words(value: Any) -> bool:
    """Whether a field says anything: not where it is blank, false, 0, empty, or holds only such values.

    The type of a part in a list, and its number there, say nothing by themselves.
    """
    if isinstance(value, str):
        return bool(value.strip())
    if isinstance(value, Mapping):
        return any(map(has_words, value.values()))
    if isinstance(value, list):
        parts = (
            {k: v for k, v in p.items() if k not in ("type", "index")} if isinstance(p, Mapping) else p for p in value
        )
        return any(map(has_words, parts))
    return bool(value)


def _reasoning(message: Mapping[str, Any]) -> str | None:
    """The thought in a message: a text of its own, a list of parts, or parts of the content of a type other than text.

    Gateways may keep the field of the service in `provider_specific_fields`.
    """
    holders = (message, _mapping(message.get("provider_specific_fields")))
    for name in _THOUGHTS:
        for holder in holders:
            if isinstance(found := holder.get(name), str) and found.strip():
                return found.strip()
    parts = [
        text
        for name in (*_THOUGHT_LISTS, "content")
        for holder in holders
        if isinstance(listed := holder.get(name), list)
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


def _words(value: Any) -> str | None:
    """A text that says something; None for a blank one."""
    return value if isinstance(value, str) and value.strip() else None


def _name(value: Any) -> str | None:
    return value[:MAX_NAME] if isinstance(value, str) else None
