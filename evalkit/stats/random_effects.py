"""Random-effects summary of one metric over several sets, with the heterogeneity between them.

The true values of the sets are taken as drawn from one distribution.  Its variance is DerSimonian and Laird's (1986,
Controlled Clinical Trials 7:177); the interval of its mean is Hartung and Knapp's (2001, Stat. Med. 20:3875), never
narrower than with their factor 1; the prediction interval for a further set is that of Higgins, Thompson and
Spiegelhalter (2009, JRSS A 172:137).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from evalkit.core.errors import ConfigError
from evalkit.stats.clusters import finite_numbers
from evalkit.stats.fraction_interval import t_quantile
from evalkit.stats.intervals import LEVEL

# With fewer sets the variance between them is not known at all.
MIN_SETS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomEffects:
    """The mean over sets and its interval.

    between: standard deviation of the true values (tau).  i2: share of the observed variance that is between sets.
    q, p: Cochran's statistic of "all sets have one true value", and its p value.  predicted_low, predicted_high: of
    the true value of a further set of this kind.
    """

    value: float
    low: float
    high: float
    between: float
    i2: float
    q: float
    p: float
    k: int
    predicted_low: float
    predicted_high: float


def random_effects(values: Sequence[float], errors: Sequence[float], level: float = LEVEL) -> RandomEffects:
    """The summary of values with their standard errors, one a set.

    Raises ConfigError for fewer than MIN_SETS sets, a value that is no finite number, or a standard error that is not
    above 0.
    """
    from scipy.special import chdtrc

    k = len(values)
    numbers, known = finite_numbers(values), finite_numbers(errors)
    if k < MIN_SETS or len(known) != k or known.min() <= 0:
        raise ConfigError(
            f"A summary over sets needs at least {MIN_SETS} values with standard errors above 0; got {k}."
        )
    values, errors = numbers.tolist(), known.tolist()
    fixed = [1 / e**2 for e in errors]
    total = math.fsum(fixed)
    common = math.fsum(w * v for w, v in zip(fixed, values, strict=True)) / total
    q = math.fsum(w * (v - common) ** 2 for w, v in zip(fixed, values, strict=True))
    between = max(0.0, (q - (k - 1)) / (total - math.fsum(w * w for w in fixed) / total))
    weights = [1 / (e**2 + between) for e in errors]
    mass = math.fsum(weights)
    mean = math.fsum(w * v for w, v in zip(weights, values, strict=True)) / mass
    factor = math.fsum(w * (v - mean) ** 2 for w, v in zip(weights, values, strict=True)) / (k - 1)
    error = math.sqrt(max(1.0, factor) / mass)
    half = t_quantile(level, k - 1) * error
    further = t_quantile(level, k - 2) * math.sqrt(between + error**2)
    return RandomEffects(
        value=mean,
        low=mean - half,
        high=mean + half,
        between=math.sqrt(between),
        i2=max(0.0, (q - (k - 1)) / q) if q else 0.0,
        q=q,
        p=float(chdtrc(k - 1, q)),
        k=k,
        predicted_low=mean - further,
        predicted_high=mean + further,
    )
