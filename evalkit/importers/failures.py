"""Failures inside answer files that are certain: texts of harnesses, stops by a content filter or an error."""

from __future__ import annotations

from typing import Literal

from evalkit.core.finish_reasons import finish_kind, plain_word

FAILURES = (
    "Failed to obtain answer",  # VLMEvalKit, for an exception or a failed API call
    "[LMMS_EVAL_REQUEST_FAILED",  # lmms-eval, after its retries
)


def failure(text: str) -> str | None:
    """The error, if a text is what a harness writes in place of a missing answer; else None."""
    return f"not an answer: the harness wrote {text.strip()[:80]!r}" if text.strip().startswith(FAILURES) else None


def stop_error(reason: object, text: str | None, reasoning: str = "") -> str | None:
    """The error for an answer that a content filter or a failure stopped, whatever text it has; None otherwise.

    A blank text without any reasoning is an error too, unless the model ended it itself or no reason is given.
    """
    kind, shown = finish_kind(reason), str(reason)[:80]
    if kind == "withheld":
        return f"stopped by a content filter ({shown})"
    if kind == "broken off":
        return f"broken off by a failure ({shown})"
    is_blank = not ((text or "") + reasoning).strip()
    if is_blank and kind != "stop" and plain_word(reason) not in ("", "unknown"):
        return f"no text (finish_reason {shown})"
    return None


def finish_reason(reason: object) -> Literal["stop", "length", "unknown"]:
    """The reason of a stop in evalkit's words."""
    kind = finish_kind(reason)
    return kind if kind in ("stop", "length") else "unknown"
