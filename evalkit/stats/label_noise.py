"""What a score means where some of the reference answers are wrong.

With a share e of wrong references, a score of p stands for a true score somewhere in [p - e, p + e], and a model
without a mistake gets 1 - e.  If references are wrong independently of the model, the true score is
(p - e) / (1 - 2 e) for two possible answers, where a mistake agrees with a wrong reference, and p / (1 - e) for open
answers, where it hardly ever does; differences of two models are too small by the factor 1 - 2 e, or 1 - e.
"""

from __future__ import annotations

from typing import NamedTuple

from evalkit.core.errors import ConfigError

SHARES = (0.01, 0.03, 0.05)


class TrueScore(NamedTuple):
    """The true score behind an observed one: bounds without any assumption, and under independent mistakes.

    two_answers: of yes/no rows.  open_answers: of rows where a mistake never agrees with a wrong reference.  highest:
    the score that a model without a mistake gets.
    """

    low: float
    high: float
    two_answers: float
    open_answers: float
    highest: float


def true_score(score: float, wrong: float) -> TrueScore:
    """What a score in [0, 1] means with a share `wrong` of wrong references.

    Raises ConfigError unless 0 <= wrong < 0.5.
    """
    if not 0 <= wrong < 0.5 or not 0 <= score <= 1:
        raise ConfigError(f"A score of {score:g} with a share of {wrong:g} wrong references is not possible.")
    return TrueScore(
        low=max(0.0, score - wrong),
        high=min(1.0, score + wrong),
        two_answers=min(1.0, max(0.0, (score - wrong) / (1 - 2 * wrong))),
        open_answers=min(1.0, score / (1 - wrong)),
        highest=1 - wrong,
    )
