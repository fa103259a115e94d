"""p values of a family of comparisons: adjusted over all that is shown, with the least value that permutations show."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from evalkit.core.errors import ConfigError
from evalkit.stats import PERMUTATION_FLOOR, holm

LEVEL = 0.95
# A slice on fewer clusters says nothing about a difference.
FEWEST_CLUSTERS = 5
# Slices on fewer clusters are also shown drawn towards the mean of all slices of their tag.
SHRUNKEN_BELOW = 20
# Standard errors up to this, or up to this share of the largest one, are what rounding leaves, or of a sentence BLEU of
# nearly 0: their inverse squares overflow, or leave nothing of the others.
_NO_ERROR, _NO_SHARE = 1e-12, 1e-6


class AdjustedP(NamedTuple):
    """An adjusted p value.  at_floor: no random permutation was as extreme, so that the true one is below it."""

    value: float
    at_floor: bool = False

    @property
    def text(self) -> str:
        """As printed: a floor as "<", rounded up.

        >>> AdjustedP(0.04321).text, AdjustedP(0.00029997, at_floor=True).text, AdjustedP(1.0, at_floor=True).text
        ('=0.0432', '<0.0003', '=1.0000')
        """
        if self.at_floor and self.value < 1:
            return f"<{math.ceil(1e4 * self.value - 1e-6) / 1e4:.4f}"
        return f"={self.value:.4f}"


def holm_over_all(p_values: Sequence[float]) -> list[AdjustedP]:
    """Holm's adjustment of sign-flip p values over one family."""
    return _marked(p_values, holm(p_values))


def false_discovery(p_values: Sequence[float]) -> list[AdjustedP]:
    """Benjamini and Hochberg's adjustment (1995, J. R. Stat. Soc. B 57:289) of sign-flip p values over one family.

    >>> [round(q.value, 3) for q in false_discovery([0.01, 0.04, 0.03, 0.5])]
    [0.04, 0.053, 0.053, 0.5]
    """
    from scipy.stats import false_discovery_control

    return _marked(p_values, false_discovery_control(list(p_values)).tolist() if len(p_values) else [])


def _marked(p_values: Sequence[float], adjusted: Sequence[float]) -> list[AdjustedP]:
    lowest = PERMUTATION_FLOOR * (1 + 1e-9)
    return [AdjustedP(q, p <= lowest) for p, q in zip(p_values, adjusted, strict=True)]


def check_equivalence_margin(margin: object) -> None:
    """Check a margin of equivalence; None is no margin.

    Raises:
        ConfigError: it is not a fraction between 0 and 1.
    """
    if margin is None:
        return
    if isinstance(margin, bool) or not isinstance(margin, int | float) or not 0 < margin < 1:
        raise ConfigError(
            f"equivalence={margin} is invalid; expected the largest difference that counts as none, as a fraction such "
            "as 0.02 for two percentage points."
        )


def shrunken(values: Sequence[float], errors: Sequence[float]) -> list[float]:
    """Estimates drawn towards their mean as far as their standard errors exceed the differences among them.

    Empirical Bayes with the between-variance of DerSimonian and Laird (1986, Control. Clin. Trials 7:177).  Errors of
    (nearly) 0 and NaN (one cluster, or no difference) are replaced by the largest known one; without any, values stay
    as they are.

    >>> [round(v, 3) for v in shrunken([0.1, 0.1, 0.4], [0.01, 0.01, 0.2])]
    [0.1, 0.1, 0.101]
    """
    largest = max((e for e in errors if e > _NO_ERROR), default=0.0)
    if not largest or len(values) < 2:
        return list(values)
    variances = [(e if e > _NO_SHARE * largest else largest) ** 2 for e in errors]
    weights = [1 / v for v in variances]
    total = math.fsum(weights)
    fixed = math.fsum(w * v for w, v in zip(weights, values, strict=True)) / total
    q = math.fsum(w * (v - fixed) ** 2 for w, v in zip(weights, values, strict=True))
    scale = total - math.fsum(w * w for w in weights) / total
    between = max(0.0, (q - (len(values) - 1)) / scale)
    wide = [1 / (between + v) for v in variances]
    centre = math.fsum(w * v for w, v in zip(wide, values, strict=True)) / math.fsum(wide)
    return [centre + between / (between + own) * (value - centre) for value, own in zip(values, variances, strict=True)]
