"""Failures inside answer files: texts of harnesses, stops by a content filter, and texts that look like errors.

A stop by a filter and a harness's own mark are certain, and the answer becomes an error.  A text that only looks like
an error message ("Error: 429 …") stays the model's answer, and is counted: a model may have written it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from evalkit.core.finish_reasons import finish_kind
from evalkit.importers.base import Answer

FAILURES = (
    "Failed to obtain answer",  # VLMEvalKit, for an exception or a failed API call
    "[LMMS_EVAL_REQUEST_FAILED",  # lmms-eval, after its retries
)
_STATUS = r"(?:40[0-9]|41[0-9]|42[0-9]|43[0-9]|45[0-9]|50[0-9]|52[0-9])"
_ERROR_TEXT = re.compile(
    rf"""\W*(?:
      (?:(?:an?|api|server|internal|http|network|connection|request|runtime|client|model|unknown|fatal|unexpected
        |openai|upstream|inference|generation)\s+){{0,3}}error\s*(?:[:(\[\]]|code\b|{_STATUS}\b|occurred|$)
    | error\s+(?:during|in|while|processing|generating|calling|from|with)\b
    | an\s+(?:unexpected\s+)?(?:error|exception)\b
    | exception\b\s*[:(]
    | traceback\s+\(most\s+recent
    | (?:http\s*(?:/\d(?:\.\d)?)?|status(?:\s*code)?)\s*(?:error)?\s*:?\s*{_STATUS}\b
    | {_STATUS}\s+(?:client|server|bad|unauthori[sz]ed|payment|forbidden|not\s+found|method|request|conflict|payload
        |unsupported|unprocessable|too\s+many|internal|service|gateway|error)
    | (?:(?:upstream\s+)?request|api\s+call|api\s+request|connection|generation|inference)
        \s+(?:failed|time(?:d\s*|-)?out|error|refused|reset|aborted)
    | (?:rate\s*limit|quota)\s*(?:exceeded|reached|error)
    | (?:too\s+many\s+requests|internal\s+server\s+error|service\s+unavailable|bad\s+gateway|gateway\s+time-?out)\b
    | (?:cuda\s+)?out\s+of\s+memory\b
    | <error\b
    | \{{\s*["']error["']\s*:
    )""",
    re.IGNORECASE | re.VERBOSE,
)
# RateLimitError: …, openai.APIError(…, requests.exceptions.ReadTimeout; the case tells them from words.
_CAMEL = re.compile(r"\W*(?:[A-Za-z_]\w*\.)*(?:[A-Z][A-Za-z]*)?(?:Error|Exception|[a-z]Timeout)(?:\s*[:(]|\s*$| code)")


def failure(text: str) -> str | None:
    """The error, if a text is what a harness writes in place of a missing answer; else None."""
    return f"not an answer: the harness wrote {text.strip()[:80]!r}" if text.strip().startswith(FAILURES) else None


def stop_error(reason: object) -> str | None:
    """The error for an answer that a content filter or a failure stopped, whatever text it has; None otherwise."""
    match finish_kind(reason):
        case "withheld":
            return f"stopped by a content filter ({str(reason)[:80]})"
        case "broken off":
            return f"broken off by a failure ({str(reason)[:80]})"
    return None


def finish_reason(reason: object) -> Literal["stop", "length", "unknown"]:
    """The reason of a stop in evalkit's words."""
    kind = finish_kind(reason)
    return kind if kind in ("stop", "length") else "unknown"


def looks_like_error(text: str) -> bool:
    """Whether an answer reads like an error message of a server, a client library or a program."""
    head = text.lstrip()[:400]
    return bool(_ERROR_TEXT.match(head) or _CAMEL.match(head))


def error_text_warning(answers: Sequence[Answer]) -> str | None:
    """A warning with the number of answers that look like error messages and the first of them; None without any."""
    found = [a for a in answers if a.text is not None and looks_like_error(a.text)]
    if not found:
        return None
    first = " ".join((found[0].text or "").split())
    shown = first if len(first) <= 100 else first[:99] + "…"
    return (
        f"{len(found)} of {len(answers)} answers read like error messages, first in row {found[0].row}: {shown!r}. "
        "They were scored as the model's answers; if they are failed requests, ask them again, or set them to null, "
        "which is counted as failed"
    )
