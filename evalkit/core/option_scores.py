"""Log-probabilities of options: three normalisations, and the option with the highest score."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from evalkit.core.types import OptionScore

# Scores that differ by no more are a tie: in float32 another batch may move a log-probability by as much.
TIE = 1e-5

# sum: of the log-probabilities of the continuation's tokens.  token: their mean.  byte: the sum divided by the number
# of bytes of the continuation in UTF-8.  The space that joins it to the prompt is no part of the bytes.
NORMALISATIONS: Mapping[str, Callable[[OptionScore], float]] = {
    "sum": lambda option: option.logprob,
    "token": lambda option: option.logprob / option.n_tokens,
    "byte": lambda option: option.logprob / len(option.text.encode()),
}


def normalised(options: Sequence[OptionScore], by: str) -> list[float]:
    """The scores of options under a normalisation.

    >>> normalised([OptionScore(text="ab", logprob=-3.0, n_tokens=1)], "byte")
    [-1.5]
    """
    return [NORMALISATIONS[by](option) for option in options]


def highest(values: Sequence[float]) -> list[int]:
    """The positions of the highest score: one, or several that tie.

    >>> highest([-3.0, -1.0, -2.0]), highest([-1.0, -1.0]), highest([-4.0])
    ([1], [0, 1], [0])
    """
    most = max(values)
    return [k for k, value in enumerate(values) if most - value <= TIE]
