"""Predictions held as columns: of a million answers, an object each would be most of what a run holds."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields
from operator import attrgetter, eq
from typing import Any, NamedTuple

from evalkit.core.columns import Packed, SharedValues
from evalkit.core.types import OptionScore, Prediction

# Equal texts of up to so many characters are held once.
_SHORT = 200
# Bytes of a fingerprint, which is a sha256 in hexadecimal digits.
_DIGEST = 32
_NONE = math.nan


class _Rest(NamedTuple):
    """The fields in which most answers of a run are equal, and those that few answers have."""

    error: str | None
    finish_reason: Any
    n_tokens: int | None
    attempts: tuple[str, ...]
    reasoning: str
    raw: str | None
    options: tuple[OptionScore, ...]
    thought_forced: bool
    logprob: float | None
    thought_tokens: int | None
    fingerprint: str | None  # None: it is a sha256, and held as its bytes


class PackedPredictions(Packed[Prediction]):
    """One prediction a place, each made when it is asked for; places may be filled in any order.

    Args:
        ids: of the samples, by place.
    """

    def __init__(self, ids: Iterable[str] = ()) -> None:
        self._ids = list(ids)
        n = len(self._ids)
        self._texts: list[str | None] = [None] * n
        self._rest: list[_Rest | None] = [None] * n  # None: a place that is not filled
        self._seconds = array("d", [_NONE]) * n
        self._digests = bytearray()  # empty while no fingerprint is a sha256
        self._shared = SharedValues()

    @classmethod
    def of(cls, predictions: Sequence[Prediction]) -> PackedPredictions:
        """These predictions."""
        packed = cls([p.sample_id for p in predictions])
        for place, prediction in enumerate(predictions):
            packed[place] = prediction
        return packed

    def append(self, prediction: Prediction) -> None:
        """Add a place, filled with this prediction."""
        self._ids.append(prediction.sample_id)
        self._texts.append(None)
        self._rest.append(None)
        self._seconds.append(_NONE)
        if self._digests:
            self._digests.extend(bytes(_DIGEST))
        self[len(self._ids) - 1] = prediction

    def text(self, place: int) -> str | None:
        """The text of the prediction of a place; None where it is an error, or not filled."""
        return self._texts[place]

    def column(self, name: str) -> Iterable[Any]:
        """The values of one field (or property) of the predictions, in a tenth of the time that making them takes.

        Raises:
            LookupError: a place is not filled.
        """
        if self.n_missing:
            raise self._missing(self._rest.index(None))
        if name == "text":
            return self._texts
        if name == "sample_id":
            return self._ids
        return map(attrgetter(name), self._rest) if name in _COMMON else super().column(name)

    def of_sample(self, place: int, sample_id: str) -> Prediction:
        """The prediction of a place, as that of another sample.

        Raises:
            LookupError: the place is not filled.
        """
        rest = self._rest[place]
        if rest is None:
            raise self._missing(place)
        digest = self._digests[_DIGEST * place : _DIGEST * (place + 1)]
        return _made(sample_id, self._texts[place], self._seconds[place], digest, rest)

    def has(self, place: int) -> bool:
        """Whether a place is filled."""
        return self._rest[place] is not None

    @property
    def n_missing(self) -> int:
        """The number of places that are not filled."""
        return self._rest.count(None)

    def __setitem__(self, place: int, prediction: Prediction) -> None:
        """Fill a place.

        Raises:
            ValueError: the answer is another sample's.
        """
        p = prediction
        if p.sample_id != self._ids[place]:
            raise ValueError(f"an answer to sample {p.sample_id!r} in the place of sample {self._ids[place]!r}")
        digest = _digest(p.fingerprint)
        rest = _Rest(
            p.error, p.finish_reason, p.n_tokens, p.attempts, p.reasoning, p.raw, p.options, p.thought_forced,
            p.logprob, p.thought_tokens, p.fingerprint if digest is None else None,
        )  # fmt: skip
        is_common = not (p.reasoning or p.raw or p.options or p.logprob is not None or rest.fingerprint)
        self._texts[place] = self._shared.once(p.text) if p.text is not None and len(p.text) <= _SHORT else p.text
        self._rest[place] = self._shared.once(rest) if is_common else rest
        self._seconds[place] = _NONE if p.seconds is None else p.seconds
        if digest is not None:
            self._digests = self._digests or bytearray(_DIGEST * len(self._ids))
            self._digests[_DIGEST * place : _DIGEST * (place + 1)] = digest

    def __eq__(self, other: object) -> bool:
        """Whether the other is a sequence of the same predictions."""
        return isinstance(other, Sequence) and len(self) == len(other) and all(map(eq, self, other))

    def __len__(self) -> int:
        return len(self._ids)

    def value_at(self, place: int) -> Prediction:
        """The prediction of a place.

        Raises:
            LookupError: the place is not filled.
        """
        return self.of_sample(place, self._ids[place])

    def __iter__(self) -> Iterator[Prediction]:
        start = 0
        for place, (sample_id, text, rest, seconds) in enumerate(
            zip(self._ids, self._texts, self._rest, self._seconds, strict=True)
        ):
            if rest is None:
                raise self._missing(place)
            yield _made(sample_id, text, seconds, self._digests[start : start + _DIGEST], rest)
            start += _DIGEST

    def _missing(self, place: int) -> LookupError:
        return LookupError(f"there is no prediction for sample {self._ids[place]!r}")


# Fields that are read from `_Rest` as they are.
_COMMON = frozenset(_Rest._fields) - {"fingerprint"}


_NEW = object.__new__
_SET = {field.name: getattr(Prediction, field.name).__set__ for field in fields(Prediction)}
_SET_ID, _SET_TEXT, _SET_SECONDS = _SET["sample_id"], _SET["text"], _SET["seconds"]
_SET_FINGERPRINT = _SET["fingerprint"]
(_ERROR, _FINISH, _N_TOKENS, _ATTEMPTS, _REASONING, _RAW, _OPTIONS, _FORCED, _LOGPROB, _THOUGHT) = (
    _SET[name] for name in _Rest._fields if name != "fingerprint"
)


def _made(sample_id: str, text: str | None, seconds: float, digest: bytearray, rest: _Rest) -> Prediction:
    """The prediction; not checked again, which would take longer than all else: every answer is made several times.

    Written out for the same reason: a loop over the fields takes half as long again.
    """
    error, finish, n_tokens, attempts, reasoning, raw, options, forced, logprob, thought, fingerprint = rest
    made: Prediction = _NEW(Prediction)
    _SET_ID(made, sample_id)
    _SET_TEXT(made, text)
    _SET_SECONDS(made, None if seconds != seconds else seconds)
    _SET_FINGERPRINT(made, digest.hex() if fingerprint is None else fingerprint)
    _ERROR(made, error)
    _FINISH(made, finish)
    _N_TOKENS(made, n_tokens)
    _ATTEMPTS(made, attempts)
    _REASONING(made, reasoning)
    _RAW(made, raw)
    _OPTIONS(made, options)
    _FORCED(made, forced)
    _LOGPROB(made, logprob)
    _THOUGHT(made, thought)
    return made


def _digest(fingerprint: str) -> bytes | None:
    """The bytes of a sha256; None for any other text."""
    if len(fingerprint) != 2 * _DIGEST:
        return None
    try:
        digest = bytes.fromhex(fingerprint)
    except ValueError:
        return None
    return digest if digest.hex() == fingerprint else None
