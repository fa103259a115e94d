"""Words with which servers and harnesses say why an answer ended, sorted into five kinds."""

from __future__ import annotations

import re
from typing import Literal

FinishKind = Literal["stop", "length", "withheld", "broken off", "unknown"]
# Words in the form of `plain_word`.  The model ended the answer itself, or reached the limit of new tokens:
_STOP = frozenset(
    {
        "stop", "eos", "eos_token", "endoftext", "stop_sequence", "end_turn", "complete", "completed", "finished",
    }
)  # fmt: skip
_LENGTH = frozenset({"length", "max_tokens", "max_output_tokens", "model_length", "max_new_tokens"})
# Parts of the words with which services say that a filter withheld the answer (OpenAI, Azure, Gemini, Anthropic,
# Bedrock, Cohere, Zhipu; HELM: "The prompt violates OpenAI's content policy", "Content blocked"), or that the server or
# its host failed in the middle.
_WITHHELD = re.compile(
    r"filter|safety|recitation|prohibit|block|spii|^language$|model_armor|jailbreak|guardrail|toxic|sensitive|moderat|"
    r"refus|polic|violat|harm"
)
_BROKEN_OFF = re.compile(
    r"error|abort|cancel|fail|time_?out|insufficient_system_resource|malformed|unexpected|overload|disconnect"
)


def plain_word(reason: object) -> str:
    """A finish reason in lower case with underscores, without the prefix of an enumeration; "" for None.

    >>> plain_word("FinishReason.PROHIBITED_CONTENT"), plain_word("content-filter"), plain_word(None)
    ('prohibited_content', 'content_filter', '')
    """
    text = "" if reason is None else str(reason).strip()
    member = text.rpartition(".")[2] if re.fullmatch(r"\w+(\.\w+)+", text) else text
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", member).lower()
    return re.sub(r"[^a-z0-9]+", "_", words).strip("_").removeprefix("finish_reason_")


def finish_kind(reason: object) -> FinishKind:
    """Kind of a finish reason in any service's words.

    >>> [finish_kind(r) for r in ("end_turn", "MAX_TOKENS", "SAFETY", "FinishReason.ERROR", "tool_calls", None)]
    ['stop', 'length', 'withheld', 'broken off', 'unknown', 'unknown']
    """
    word = plain_word(reason)
    if _WITHHELD.search(word):
        return "withheld"
    if _BROKEN_OFF.search(word):
        return "broken off"
    return "stop" if word in _STOP else "length" if word in _LENGTH else "unknown"
