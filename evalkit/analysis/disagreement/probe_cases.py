"""The pairs of made-up answers that the probes try: per cause, pairs that differ in that one thing.

The order is the order of precedence of the causes.
"""

from __future__ import annotations

from typing import NamedTuple

from evalkit.analysis.disagreement import choice_cases, verdict_cases, wording_cases


class Case(NamedTuple):
    """A gold answer, an answer with the thing that is tested and one without it; kind and verdict as in `Probe`."""

    kind: str
    verdict: str
    gold: str
    answer: str
    control: str


class CauseCases(NamedTuple):
    """A cause, the feature of the samples that it explains, and its cases."""

    cause: str
    feature: str
    cases: tuple[Case, ...]


CASES = tuple(
    CauseCases(cause, feature, tuple(Case(*case) for case in cases))
    for cause, feature, cases in (*choice_cases.CASES, *verdict_cases.CASES, *wording_cases.CASES)
)
