"""Paired differences of the two runs of a page, or the reason why there are none."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from evalkit.analysis.compare import compare
from evalkit.analysis.paired import Paired
from evalkit.analysis.run_scores import read_run_scores
from evalkit.core.errors import EvalkitError


class Differences(NamedTuple):
    """Differences, second run minus first, one a metric.  incomparable: why there are none; empty where there are."""

    pairs: tuple[Paired, ...] = ()
    incomparable: str = ""


def paired_differences(runs: Sequence[Path]) -> Differences:
    """The paired differences of two runs in every metric that both have; nothing for one run."""
    if len(runs) < 2:
        return Differences()
    try:
        (comparison,) = compare([read_run_scores(run) for run in runs], None)
    except EvalkitError as problem:
        return Differences(incomparable=str(problem))
    return Differences(pairs=comparison.pairs)
