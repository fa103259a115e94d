"""Parameters of a chat completion that a server refuses: found in its error, left out or renamed, and remembered."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

# Name of the interface -> the name that newer models want instead.  Such a parameter is renamed and never left out.
SUCCESSORS = {"max_tokens": "max_completion_tokens"}
# The order in which parameters are left out where a server accepts each of them alone.
LEAST_FIRST = ("top_p", "top_k", "repetition_penalty", "seed", "stop", "temperature")
# Other words by which errors name a parameter.
ALIASES = {"response_format": ("json_schema",)}
# Bytes of an error's body that are searched.
MAX_ERROR = 20_000
# Seconds for which other calls wait for the first one: a refusal comes at once, an answer may take longer.
FIRST_CALL_SECONDS = 10.0

_REFUSES = re.compile(
    r"unsupported|un?recogni[sz]ed|unknown|unexpected|deprecated|forbidden|no longer|"
    r"(?:not|n't|never) (?:\w+ )?(?:support|permit|allow|accept|available|recogni|implement)|"
    r"cannot (?:both )?be (?:used|set|specified)|extra (?:input|field|parameter)|"
    r"invalid (?:argument|parameter|field)|use ['\"`]?\w+['\"`]? instead",
    re.I,
)
# Errors about a value, which another value would avoid: the parameter itself is accepted.
_ABOUT_VALUE = re.compile(
    r"too (?:large|small|long|high|low|many)|must be|should be|between|at (?:least|most)|out of range|"
    r"(?:greater|less|larger|higher|lower) than|exceed|maximum|minimum|context length|"
    r"invalid (?:type|value)|\bexpected",
    re.I,
)
_TECHNICAL = re.compile(r"param|argument|field|propert|setting|input|value|unknown name|this model", re.I)
_TOGETHER = re.compile(r"\b(?:both|together|at the same time|only one of|either)\b", re.I)


@dataclass(slots=True, kw_only=True)
class Parameters:
    """What is left out of the requests to a server, or sent under another name, for all calls of a run.

    Args:
        dispensable: parameters that may be left out where the server refuses them.
        dropped: those that are left out.
        renamed: parameter -> the name under which it is sent.
        say: told once of each parameter that the server refuses.
        seconds: see FIRST_CALL_SECONDS.
    """

    dispensable: Sequence[str] = ()
    dropped: set[str] = field(default_factory=set)
    renamed: dict[str, str] = field(default_factory=dict)
    say: Callable[[str], None] = lambda _: None
    seconds: float = FIRST_CALL_SECONDS
    _is_accepted: bool = False
    _first: asyncio.Event | None = None

    def apply(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """The body of a request as the server accepts it."""
        return {self.renamed.get(key, key): value for key, value in body.items() if key not in self.dropped}

    def learn(self, content: bytes, param: str | None, sent: Mapping[str, Any]) -> bool:
        """Take in the error of a 400 or 422; True if the request is worth sending again, without what it names.

        Args:
            content: the error's body.  param: the parameter that the error names by itself.  sent: the request's body.
        """
        named = refused_parameters(content, param, sent, [*self.dispensable, *SUCCESSORS])
        for name in named:
            if name in SUCCESSORS:
                self.renamed[name] = SUCCESSORS[name]
                self.say(f"the server refuses {name}; it is sent as {SUCCESSORS[name]} from now on")
            elif name not in self.dropped:
                self.dropped.add(name)
                self.say(f"the server refuses {name}; it is left out from now on, and the server's default applies")
        self._is_accepted = self._is_accepted and not named
        return bool(named)

    @asynccontextmanager
    async def turn(self) -> Any:
        """Enter a call: the first one goes alone until the server has accepted its parameters.

        So a refusal costs one call and not one for each of the calls in flight.  A call that fails otherwise or takes
        long lets the others go.
        """
        while not self._is_accepted and self._first is not None:
            first = self._first
            try:
                await asyncio.wait_for(first.wait(), self.seconds)
            except TimeoutError:
                self._is_accepted = True
        if self._is_accepted:
            yield
            return
        self._first = asyncio.Event()
        try:
            yield
        finally:
            self._is_accepted = True
            self._first.set()
            self._first = None


def refused_parameters(
    content: bytes, param: str | None, sent: Mapping[str, Any], candidates: Iterable[str]
) -> list[str]:
    """The parameters of a request that an error refuses; none where it is about a value, or about something else.

    Args:
        content: the error's body.  param: its own field with a parameter's name.  sent: the request's body.
        candidates: parameters that can be spared.
    """
    wanted = [name for name in dict.fromkeys(candidates) if name in sent]
    try:
        error = json.loads(content[:MAX_ERROR].decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        error = content[:MAX_ERROR].decode("utf-8", "replace")
    texts, places = list(_messages(error)), set(_places(error))
    text = "\n".join(texts)
    for own in _sent_texts(sent.get("messages")):  # a question may hold any word
        text = text.replace(own, " ")
    if _ABOUT_VALUE.search(_without_advice(text)) and not _is_only(text):
        return []
    if pointed := [name for name in wanted if name == param or name in places]:
        return pointed
    if not _REFUSES.search(text):
        return []
    found = [name for name in wanted if _names(text, name)]
    if len(found) > 1 and _TOGETHER.search(text):
        return [min(found, key=lambda name: LEAST_FIRST.index(name) if name in LEAST_FIRST else len(LEAST_FIRST))]
    return found


def _names(text: str, name: str) -> bool:
    """Whether a text has the name of a parameter as a word, with underscores or as camelCase."""
    head, *rest = name.split("_")
    camel = head + "".join(part.capitalize() for part in rest)
    words = (name, camel, *ALIASES.get(name, ()))
    if "_" not in name and not _TECHNICAL.search(text):  # "stop" and "seed" are ordinary words
        return any(re.search(rf"['\"`]{re.escape(word)}['\"`]", text) for word in words)
    return any(re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text) for word in words)


def _is_only(text: str) -> bool:
    """Whether an error about a value accepts the default alone, so that the parameter must be left out."""
    return bool(re.search(r"only the default|unsupported value|unsupported parameter|not supported with", text, re.I))


def _without_advice(text: str) -> str:
    """A text without what a server advises to use instead."""
    return re.sub(r"use ['\"`]?\w+['\"`]? instead", "", text, flags=re.I)


def _messages(error: Any, depth: int = 0) -> Iterator[str]:
    """The texts of an error in which the server says something, in the forms of OpenAI, Google and FastAPI."""
    if isinstance(error, str):
        yield error
    elif isinstance(error, list) and depth < 4:
        for part in error:
            yield from _messages(part, depth + 1)
    elif isinstance(error, Mapping) and depth < 4:
        for key in ("error", "message", "detail", "msg", "errors", "type", "code"):
            yield from _messages(error.get(key), depth + 1)


def _places(error: Any, depth: int = 0) -> Iterator[str]:
    """The fields of the request that an error of FastAPI (`loc`) or of the interface (`param`) points at."""
    if isinstance(error, list) and depth < 4:
        for part in error:
            yield from _places(part, depth + 1)
    elif isinstance(error, Mapping) and depth < 4:
        if isinstance(location := error.get("loc"), list):
            yield from (part for part in location if isinstance(part, str))
        if isinstance(param := error.get("param"), str):
            yield param
        for key in ("error", "detail", "errors"):
            yield from _places(error.get(key), depth + 1)


def _sent_texts(messages: Any) -> Iterator[str]:
    """The texts of a request's messages, the longest first."""
    found: set[str] = set()
    for message in messages if isinstance(messages, list) else ():
        content = message.get("content") if isinstance(message, Mapping) else None
        parts = [content] if isinstance(content, str) else content if isinstance(content, list) else []
        found |= {p if isinstance(p, str) else str(p.get("text") or "") for p in parts if isinstance(p, str | Mapping)}
    yield from sorted(filter(str.strip, found), key=len, reverse=True)
