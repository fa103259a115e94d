"""JSON text of other programs, read so that nothing is lost: a key that occurs twice in an object is an error."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from typing import Any

# Largest number that is taken for a count of tokens.
MAX_COUNT = 10**9


class TooDeepError(ValueError):
    """JSON whose arrays and objects are nested more deeply than can be read."""

    def __init__(self) -> None:
        super().__init__("arrays or objects are nested too deeply")


class DoubledKeyError(ValueError):
    """A key that occurs twice in one JSON object; the JSON standard leaves open which one holds.

    Equal values are refused too: where a key was written twice, the second value may be meant for another key.

    key: the key.  values: both values.
    """

    def __init__(self, key: str, first: Any, second: Any) -> None:
        self.key = key
        self.values = (first, second)
        super().__init__(
            f"the key {shown(key)} occurs twice in one object, with {shown(first)} and {shown(second)}; keep one"
        )


def unique_keys(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """An `object_pairs_hook` for json.  Raises DoubledKeyError."""
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    first: dict[str, Any] = {}
    for key, value in pairs:
        if key in first:
            raise DoubledKeyError(key, first[key], value)
        first[key] = value
    return first


def loads(text: str | bytes, *, parse_constant: Callable[[str], Any] | None = None) -> Any:
    """Parse JSON.

    Raises:
        ValueError: a doubled key (DoubledKeyError), text that is not JSON (json.JSONDecodeError), bytes that are not
            UTF-8, a number of thousands of digits, or arrays and objects nested too deeply (TooDeepError).
    """
    import jiter

    try:
        # Twice as fast as json, which reads some texts that it refuses, such as half a surrogate pair.
        content = text if isinstance(text, bytes) else text.encode("utf-8")
        has_constants = parse_constant is None
        return jiter.from_json(content, catch_duplicate_keys=True, cache_mode="keys", allow_inf_nan=has_constants)
    except ValueError:
        pass
    try:
        return json.loads(text, object_pairs_hook=unique_keys, parse_constant=parse_constant)
    except RecursionError:
        raise TooDeepError from None


def decoder(parse_constant: Callable[[str], Any] | None = None) -> json.JSONDecoder:
    """A decoder with the same check, for `raw_decode`."""
    return json.JSONDecoder(object_pairs_hook=unique_keys, parse_constant=parse_constant)


def lines_of(text: str) -> list[str]:
    """The lines of a text, split at LF, CRLF or CR alone; U+2028, VT and FF are characters of an answer."""
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def finite_number(value: Any) -> float | None:
    """The value as a float; None for what is no number, NaN, infinity, and an integer too large for a float.

    >>> finite_number(3), finite_number(True), finite_number(10**400), finite_number("3")
    (3.0, None, None, None)
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None


def count(value: Any) -> int | None:
    """The value as a count, such as that of tokens; None for what is none, or is more than MAX_COUNT.

    >>> count(3), count(True), count(-1), count(2.0), count(10**400)
    (3, None, None, None, None)
    """
    is_count = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_COUNT
    return value if is_count else None


def shown(value: Any, most: int = 60) -> str:
    """A value as it is quoted in a message, of at most `most` characters."""
    text = repr(value)
    return text if len(text) <= most else text[: most - 1] + "…"
