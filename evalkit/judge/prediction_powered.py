"""Accuracy of a judged run from all judgments and some human labels of the same answers.

The prediction-powered estimator (Angelopoulos, Duchi and Zrnic 2023, "PPI++", arXiv 2311.01453) of a mean,

    mean of the judgments of all answers * tuning + mean of (label - tuning * judgment) over the labelled answers.

For verdicts of right or not, the tuning with the smallest variance is the difference of the labelled accuracies of the
answers judged right and not right, and the estimator is post-stratification by verdict: the labelled accuracy of each
verdict, weighted by the share of that verdict among all answers.  In that form it also holds for labels that were
picked by verdict, at random within each.  The variance is that of the sums of the influences of each image's answers,
so that answers may share an image and a labelled answer is among the judged ones.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from evalkit.judge.correction import CorrectedAccuracy

if TYPE_CHECKING:
    import numpy as np

# A random sample has a share of answers judged right as far from that of all answers in one case of a hundred.
PICKED_P = 0.01
# Labels of a verdict below which its accuracy is not estimated.
MIN_LABELS = 2


class JudgedAnswers(NamedTuple):
    """Answers of a run: whether each was judged right, and its image."""

    right: Sequence[bool]
    images: Sequence[Hashable]


class LabelledAnswers(NamedTuple):
    """Some of the judged answers: whether people call each right, whether it was judged right, image and weight."""

    human: Sequence[bool]
    right: Sequence[bool]
    images: Sequence[Hashable]
    weights: Sequence[float]


def prediction_powered_accuracy(
    judged: JudgedAnswers, labelled: LabelledAnswers, level: float = 0.95
) -> CorrectedAccuracy:
    """The accuracy by people's standard, of which the labels are a sample: random, or random within each verdict.

    weights: of the labelled answers within a verdict (equal for a random draw); only their ratios count.  t with two
    fewer degrees of freedom than labelled images.
    """
    import numpy as np
    from scipy.special import stdtrit

    right, is_labelled_right = np.asarray(judged.right, bool), np.asarray(labelled.right, bool)
    human, weights = np.asarray(labelled.human, float), np.asarray(labelled.weights, float)
    strata = [verdict for verdict in (True, False) if (right == verdict).any()]
    counts = {verdict: int((is_labelled_right == verdict).sum()) for verdict in strata}
    if min(counts.values()) < MIN_LABELS:
        if len(strata) > 1 and picked_by_verdict(labelled.right, judged.right):
            few = min(counts, key=lambda verdict: counts[verdict])
            return CorrectedAccuracy(
                value=None,
                why=f"{counts[few]} labels of answers judged {'right' if few else 'not right'}, of which the run has "
                f"{int((right == few).sum())}: label a random sample, or some of each verdict",
            )
        strata = []  # too rare to be labelled: the labels alone
    n_images = len(set(labelled.images))
    if n_images < 4:
        return CorrectedAccuracy(value=None, why=f"labels of {n_images} images: at least 4 are needed")
    parts = _strata(right, is_labelled_right, human, weights, strata)
    value = math.fsum(part.share * part.accuracy for part in parts)
    error = _standard_error(judged, labelled, parts, value)
    half = float(stdtrit(n_images - 2, (1 + level) / 2)) * error
    return CorrectedAccuracy(value=value, low=max(0.0, value - half), high=min(1.0, value + half))


class _Stratum(NamedTuple):
    """A verdict: its share among all answers and its labelled accuracy.

    all, labelled: masks over the judged and the labelled answers.  pull: the influence of each labelled answer.
    unseen: variance that the labels do not show, where almost all of them are alike.
    """

    all: np.ndarray[Any, Any]
    labelled: np.ndarray[Any, Any]
    share: float
    accuracy: float
    pull: np.ndarray[Any, Any]
    unseen: float


def _strata(
    right: np.ndarray[Any, Any],
    is_labelled_right: np.ndarray[Any, Any],
    human: np.ndarray[Any, Any],
    weights: np.ndarray[Any, Any],
    strata: Sequence[bool],
) -> list[_Stratum]:
    import numpy as np

    found = []
    for verdict in strata or (None,):
        among = np.ones(len(right), bool) if verdict is None else right == verdict
        own = np.ones(len(human), bool) if verdict is None else is_labelled_right == verdict
        relative = np.where(own, weights, 0.0) / weights[own].sum()
        accuracy, n, share = float(relative @ human), int(own.sum()), float(among.mean())
        # Laplace's estimate, so that five right answers of five leave some doubt.
        smooth = (n * accuracy + 1) / (n + 2)
        unseen = max(0.0, smooth * (1 - smooth) - accuracy * (1 - accuracy)) * float(relative @ relative)
        pull = share * relative * (human - accuracy)
        found.append(_Stratum(among, own, share, accuracy, pull, share**2 * unseen))
    return found


def _standard_error(judged: JudgedAnswers, labelled: LabelledAnswers, parts: Sequence[_Stratum], value: float) -> float:
    import numpy as np

    number = {image: k for k, image in enumerate(dict.fromkeys((*judged.images, *labelled.images)))}
    sums, alone = np.zeros(len(number)), 0.0
    of_all = np.array([number[image] for image in judged.images])
    of_labelled = np.array([number[image] for image in labelled.images])
    for part in parts:
        own = np.where(part.all, (part.accuracy - value) / len(part.all), 0.0)
        np.add.at(sums, of_all, own)
        np.add.at(sums, of_labelled, part.pull)
        alone += float(own @ own) + float(part.pull @ part.pull)
    k = len(set(labelled.images))
    # Images whose influences cancel are no evidence of more answers: at least the variance of independent ones.
    variance = k / (k - 1) * max(float(sums @ sums), alone)
    return math.sqrt(variance + math.fsum(part.unseen for part in parts))


def picked_by_verdict(labelled: Sequence[bool], judged: Sequence[bool]) -> bool:
    """Whether the share of answers judged right among the labelled ones is not that of a random draw of all answers.

    A two-sided test at PICKED_P of the hypergeometric distribution.
    """
    from scipy.stats import hypergeom

    n, hits = len(labelled), sum(labelled)
    draw = hypergeom(len(judged), sum(judged), min(n, len(judged)))
    return bool(2 * min(draw.cdf(hits), draw.sf(hits - 1)) < PICKED_P)


def verdict_weights(labelled: Sequence[bool], judged: Sequence[bool]) -> list[float]:
    """The weight of each labelled answer: how many answers of its verdict it stands for, on average 1."""
    among = {verdict: sum(right is verdict for right in judged) / len(judged) for verdict in (True, False)}
    own = {verdict: sum(right is verdict for right in labelled) / len(labelled) for verdict in (True, False)}
    return [among[right] / own[right] for right in labelled]
