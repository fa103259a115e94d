"""Texts that read like error messages of a server, a client library or a program.

Such a text stays the model's answer, because a model may have written it; answers of this kind are counted and said.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from evalkit.core.columns import column_values
from evalkit.core.types import Prediction

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
    | <(?:!doctype\s+html|html)\b
    | timed?\s*-?out\.?\s*$
    | upstream\s+connect\s+error\b
    | '?nonetype'?\s+object\b
    | (?:rate_limit|overloaded|invalid_request|insufficient_quota|context_length|internal_server|server)
        (?:_exceeded|_error)\b
    | (?:you\s+(?:have\s+)?exceeded\s+your\s+current\s+quota)
    | this\s+model'?s\s+maximum\s+context\s+length
    | (?:the|your)\s+(?:response|request|prompt)\s+was\s+(?:filtered|rejected|blocked)\b
    | https?connectionpool\(
    | 错误\s*[：:] | 請求超時 | 请求超时 | 請求失敗 | 请求失败
    | \{{\s*["']detail["']\s*:
    | \{{\s*["']error["']\s*:
    )""",
    re.IGNORECASE | re.VERBOSE,
)
# RateLimitError: …, openai.APIError(…, requests.exceptions.ReadTimeout; the case tells them from words.
_CAMEL = re.compile(
    r"\W*(?:[A-Za-z_]\w*\.)*(?:(?:[A-Z][A-Za-z]*)?(?:Error|Exception|[a-z]Timeout)|[A-Z][a-z]+(?:Unavailable|Exhausted|Exceeded"
    r"|Timeout))(?:\s*[:(]|\s*$| code)"
)


def looks_like_error(text: str) -> bool:
    """Whether an answer reads like an error message of a server, a client library or a program."""
    head = text.lstrip()[:400]
    return bool(_ERROR_TEXT.match(head) or _CAMEL.match(head))


def error_text_warning(predictions: Sequence[Prediction]) -> str | None:
    """A warning with the number of answers that look like error messages and the first of them; None without any."""
    texts = enumerate(column_values(predictions, "text"))
    found = [place for place, text in texts if text is not None and looks_like_error(text)]
    if not found:
        return None
    example = predictions[found[0]]
    first = " ".join((example.text or "").split())
    shown = first if len(first) <= 100 else first[:99] + "…"
    return (
        f"{len(found)} of {len(predictions)} answers read like error messages, first for sample {example.sample_id}: "
        f"{shown!r}. They were scored as the model's answers; if they are failed requests, ask them again, or set them "
        "to null, which is counted as failed"
    )
