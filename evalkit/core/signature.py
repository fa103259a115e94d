"""The signature of a number: everything that determines it, in one line of text.

`closed_accuracy|task:slake.test|n:416|slice:all|data:1f2e3d4c|protocol:llava-med.1|…|v:0.1.0`: the metric's name, then
`key:value` parts in a fixed order, the program's version last.  Two numbers may share a column of a table only when
their signatures differ in nothing but the model's own parts.  The idea is sacreBLEU's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from evalkit.core.plain_text import is_hidden

# Parts that belong to one row of a table rather than to its column: how the model was prompted, shown images, decoded.
ROW_PARTS = frozenset({"prompt", "image", "gen", "answers", "limit", "v"})
# A part that is the row's own for some of its values: whether a model thinks before it answers is its own affair, but
# a score of texts in which the thought was kept is another quantity.
REASONING = "reasoning"
REASONING_KEPT = "keep"
# Parts that name the data a number is over; the remaining parts say how it is computed.
DATA_PARTS = frozenset({"task", "n", "slice", "data"})


def plain_parts(parts: Mapping[str, str]) -> dict[str, str]:
    """Parts whose values are texts of others (tags, names that a server gives), as a signature can hold them.

    >>> plain_parts({"slice": "organ=a|b"})
    {'slice': 'organ=a¦b'}
    """
    return {key: "".join(c for c in value.replace("|", "¦") if not is_hidden(c)) for key, value in parts.items()}


@dataclass(frozen=True, slots=True)
class Signature:
    """A metric's name and the ordered parts that determine its value.

    >>> s = Signature.of("accuracy", {"task": "slake.test", "protocol": "strict.1", "v": "0.1.0"})
    >>> str(s)
    'accuracy|task:slake.test|protocol:strict.1|v:0.1.0'
    >>> Signature.parse(str(s)) == s, s["task"], s.get("gen")
    (True, 'slake.test', None)
    """

    metric: str
    parts: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, metric: str, parts: Mapping[str, str]) -> Signature:
        """The signature of a metric with these parts, in this order.

        Raises:
            ValueError: the name or a part contains `|`, a key contains `:`, or `task` or `protocol` is missing.
        """
        if not metric or "|" in metric or any("|" in f"{k}{v}" or not k or ":" in k for k, v in parts.items()):
            raise ValueError(f"a signature cannot be built from {metric!r} and {dict(parts)!r}")
        if missing := [k for k in ("task", "protocol") if k not in parts]:
            raise ValueError(f"a signature of {metric!r} needs the part {missing[0]!r}")
        return cls(metric, tuple((k, str(v)) for k, v in parts.items()))

    @classmethod
    def parse(cls, text: str) -> Signature:
        """The signature in a text.

        Raises:
            ValueError: the text is not a signature.
        """
        metric, *rest = text.split("|")
        pairs = [part.partition(":") for part in rest]
        keys = [key for key, _, _ in pairs]
        if not metric or any(not colon or not key for key, colon, _ in pairs) or len(set(keys)) != len(keys):
            raise ValueError(f"{text!r} is not a signature (expected METRIC|KEY:VALUE|…)")
        return cls.of(metric, {key: value for key, _, value in pairs})

    def __str__(self) -> str:
        return "|".join([self.metric, *(f"{k}:{v}" for k, v in self.parts)])

    def __getitem__(self, key: str) -> str:
        return dict(self.parts)[key]

    def get(self, key: str) -> str | None:
        """The value of a part; None where the signature has no such part."""
        return dict(self.parts).get(key)

    @property
    def column(self) -> str:
        """The text that every row of a table column shares: the signature without the row's own parts."""
        return "|".join([self.metric, *_texts(self.parts, ROW_PARTS)])

    @property
    def recipe(self) -> str:
        """The computation of the number: the signature without the metric's name, the data and the row's own parts."""
        return "|".join(_texts(self.parts, ROW_PARTS | DATA_PARTS))

    def differences(self, other: Signature, ignored: Iterable[str] = ()) -> list[tuple[str, str, str]]:
        """The parts whose values differ, as (key, value here, value there); – for a missing part."""
        here, there = dict(self.parts), dict(other.parts)
        keys = [k for k in dict.fromkeys((*here, *there)) if k not in set(ignored)]
        return [(k, here.get(k, "–"), there.get(k, "–")) for k in keys if here.get(k) != there.get(k)]

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        """Validation from a file: a JSON string."""
        from pydantic_core import core_schema

        return core_schema.no_info_after_validator_function(
            cls.parse,
            core_schema.str_schema(),
            serialization=core_schema.plain_serializer_function_ser_schema(str),
        )


def _texts(parts: Iterable[tuple[str, str]], left_out: frozenset[str]) -> list[str]:
    return [f"{k}:{v}" for k, v in parts if k not in left_out and (k != REASONING or v == REASONING_KEPT)]
