"""Strategies of damaged and made-up input, and what evalkit owes for it: a value, or an error of one paragraph."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import settings
from hypothesis import strategies as st

from evalkit.core.errors import EvalkitError

Result = TypeVar("Result")

# The most characters of an error: one paragraph, whatever is in the file.
LONGEST_ERROR = 4000
# Values at which readers break: not finite, too large for a float, half a surrogate pair, equal and different at once.
ODD = st.sampled_from(
    [
        None, True, False, 0, -1, 1, 2.0, 0.5, -0.0, 1e308, float("nan"), float("inf"), 10**400, -(10**25), 2**63, "",
        " ", "\n", "a\x00b", "\ud83d", "\x1b[2J", "../../x", "x" * 5000, "1e999", "NaN", "yes", [], {}, [[]], [None],
        {"": None},
    ]
)  # fmt: skip
# Pieces of the syntaxes that evalkit reads.
TOKENS = st.sampled_from(
    [
        b"{", b"}", b"[", b"]", b'"', b",", b":", b"\\", b"\\ud83d", b"\n", b"\r", b"\t", b"\x00", b"\xff",
        b"\xef\xbb\xbf", b"null", b"NaN", b"-Infinity", b"1e999", b"9" * 400, b"true", b"<", b">", b"&", b"*a",
        b"&a ", b"!!python/object ",
        b"${oc.env:HOME}", b"${", b"- ", b"? ", b"PK\x03\x04", b"PK\x05\x06", b"\x1b[2J", b"\xe2\x80\xa8",
    ]
)  # fmt: skip


def examples(many: int) -> int:
    """The number of examples of a test that has this many under the profile `thorough`, and a share by default."""
    return max(1, many * min(settings.default.max_examples, 100) // 100)


def json_values(keys: Sequence[str]) -> st.SearchStrategy[Any]:
    """JSON values of any form, with objects under the given keys."""
    return st.recursive(
        ODD | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(keys), inner, max_size=5),
        max_leaves=12,
    )


_PLACE = st.floats(0, 1, exclude_max=True)
_EDIT = st.tuples(st.sampled_from(("flip", "cut", "drop", "double", "insert", "replace")), _PLACE, _PLACE, TOKENS)
# Edits of bytes, for `edited`.
EDITS = st.lists(_EDIT, min_size=1, max_size=4)


def edited(content: bytes, edits: Sequence[tuple[str, float, float, bytes]]) -> bytes:
    """The content after edits, each at a share of its length: flip a bit, cut, drop or double a part, insert."""
    for kind, place, length, token in edits:
        at = int(place * len(content))
        end = at + max(1, int(length**3 * (len(content) - at)))
        if kind == "flip" and at < len(content):
            content = content[:at] + bytes([content[at] ^ 1 << int(length * 8)]) + content[at + 1 :]
        elif kind == "cut":
            content = content[:at]
        elif kind == "drop":
            content = content[:at] + content[end:]
        elif kind == "double":
            content = content[:end] + content[at:]
        elif kind == "insert":
            content = content[:at] + token + content[at:]
        else:
            content = content[:at] + token + content[end:]
    return content


# Changes of parsed JSON, for `grafted`: a place, and the value that comes there, or a removal.
GRAFTS = st.lists(
    st.tuples(_PLACE, st.booleans(), json_values(["id", "name", "schema", "value", "text"])), min_size=1, max_size=3
)


def grafted(value: Any, grafts: Sequence[tuple[float, bool, Any]]) -> Any:
    """The value with parts of it removed or replaced, each at a share of all places in it."""
    value = copy.deepcopy(value)
    for place, removes, new in grafts:
        places = list(_places(value))
        if not places:
            break
        holder, key = places[int(place * len(places))]
        if removes:
            del holder[key]
        else:
            holder[key] = copy.deepcopy(new)  # one value in two places would be put into itself
    return value


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every place in a JSON value, as the object or list that holds it and the key there."""
    for key, inner in list(value.items() if isinstance(value, dict) else enumerate(value)):
        yield value, key
        if isinstance(inner, dict | list):
            yield from _places(inner)


def grafted_file(content: bytes, grafts: Sequence[tuple[float, bool, Any]], *, lines: bool) -> bytes:
    """A JSON or JSON Lines file with parts of its values removed or replaced."""
    value = [json.loads(line) for line in content.splitlines()] if lines else json.loads(content)
    changed = grafted(value, grafts)
    texts = [json.dumps(v) for v in changed] if lines else [json.dumps(changed, indent=1)]
    return "".join(f"{text}\n" for text in texts).encode()


def value_or_error(call: Callable[[], Result], *names: str) -> Result | None:
    """The result of a call; None where it raises an error of evalkit, of one paragraph, that has one of the names."""
    try:
        return call()
    except EvalkitError as problem:
        text = str(problem)
        assert "\n" not in text and len(text) < LONGEST_ERROR, text
        assert not names or any(name in text for name in names), text
        text.encode("utf-8")
        return None


def read_file(path: Path, content: bytes, read: Callable[[Path], Result], *names: str) -> Result | None:
    """Write a file and read it; see `value_or_error`.  The error names the file or one of the names."""
    path.write_bytes(content)
    return value_or_error(lambda: read(path), path.name, *names)
