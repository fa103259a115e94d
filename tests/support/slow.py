"""Parameters of long suites: a few of each kind in the default suite, all others with `-m slow`."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import pytest


def mostly_slow(cases: Iterable[Any], quick: Collection[Any]) -> list[Any]:
    """The cases as parameters of a test, marked slow but for the quick ones, each of which must be a case."""
    cases = list(cases)
    unknown = [case for case in quick if case not in cases]
    assert not unknown, f"these are no cases: {unknown}"
    return [case if case in quick else pytest.param(case, marks=pytest.mark.slow) for case in cases]
