"""Statistics over several answers of each sample: pass@k, votes, agreement, and where the variance is.

The scores of a sample's answers are a sequence `values`; numpy is not needed: there are as many answers as a model has
drawn.  pass@k is the unbiased estimate of Chen et al. 2021, arXiv 2107.03374, and its form for scores that are no hits:
the mean, over all choices of k among the answers, of the best score.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

# Scores that differ by no more than this are the same one.
SAME = 1e-12


def expected_best(values: Sequence[float], k: int) -> float:
    """Mean of the highest score over all choices of k answers.

    >>> expected_best([1.0, 0.0, 0.0, 0.0], 2)  # 1 - C(3, 2) / C(4, 2)
    0.5
    """
    n = len(values)
    ranked = sorted(values)
    weights = [math.comb(place, k - 1) for place in range(n)]  # choices whose best is the one at this place
    return math.fsum(w * v for w, v in zip(weights, ranked, strict=True)) / math.comb(n, k)


def expected_worst(values: Sequence[float], k: int) -> float:
    """Mean of the lowest score over all choices of k answers; for hits the estimate of pass^k, all k right.

    >>> expected_worst([1.0, 1.0, 1.0, 0.0], 2)  # C(3, 2) / C(4, 2)
    0.5
    """
    return -expected_best([-v for v in values], k)


def vote(values: Sequence[float], answers: Sequence[Hashable]) -> float:
    """Score of the answer that was given most often; the mean over the answers where several were.

    An answer that was given several times has the mean of its scores.

    >>> vote([1.0, 0.0, 0.0], ["no", "yes", "yes"]), vote([1.0, 0.0], ["no", "yes"])
    (0.0, 0.5)
    """
    scores: dict[Hashable, list[float]] = defaultdict(list)
    for answer, value in zip(answers, values, strict=True):
        scores[answer].append(value)
    most = max(map(len, scores.values()))
    means = [math.fsum(found) / most for found in scores.values() if len(found) == most]
    return math.fsum(means) / len(means)


def agreement(answers: Sequence[Hashable]) -> float:
    """Share of pairs of answers that are the same.

    >>> agreement(["yes", "yes", "no", "yes"])
    0.5
    """
    counts: dict[Hashable, int] = defaultdict(int)
    for answer in answers:
        counts[answer] += 1
    return sum(math.comb(n, 2) for n in counts.values()) / math.comb(len(answers), 2)


def flip_rate(values: Sequence[float]) -> float:
    """Share of pairs of answers whose scores differ.

    >>> flip_rate([1.0, 1.0, 0.0, 1.0])
    0.5
    """
    n = len(values)
    pairs = sum(abs(a - b) > SAME for i, a in enumerate(values) for b in values[i + 1 :])
    return pairs / math.comb(n, 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class VarianceParts:
    """Variance of single scores by its source, and the means of the draws.

    draws: between the answers of one sample.  samples: between the samples of one image.  images: between images.  None
    where it cannot be estimated (one answer a sample, one sample an image, one image); an estimate below 0 is 0.
    """

    draws: float | None
    samples: float | None
    images: float | None


def variance_parts(groups: Sequence[Sequence[Sequence[float]]]) -> VarianceParts:
    """Variance components by the analysis of variance (images, samples within images, answers within samples).

    Args:
        groups: for each image its samples, for each sample the scores of its answers; none is empty.
    """
    answers = [values for image in groups for values in image]
    within = _pooled(answers)
    n_inverse = math.fsum(1 / len(values) for values in answers) / len(answers)
    means = [[math.fsum(values) / len(values) for values in image] for image in groups]
    mean_square = _pooled(means)
    noise = None if within is None else within * n_inverse  # of a sample's mean
    samples = None if mean_square is None or noise is None else max(0.0, mean_square - noise)
    below = mean_square if mean_square is not None else noise
    return VarianceParts(draws=within, samples=samples, images=_between(means, below))


def _pooled(groups: Sequence[Sequence[float]]) -> float | None:
    """Variance within groups, pooled; None where no group has two values."""
    degrees = sum(len(values) - 1 for values in groups)
    if not degrees:
        return None
    total = 0.0
    for values in groups:
        middle = math.fsum(values) / len(values)
        total += math.fsum((v - middle) ** 2 for v in values)
    return total / degrees


def _between(groups: Sequence[Sequence[float]], below: float | None) -> float | None:
    """Variance between groups beyond that of their means; None where it cannot be estimated."""
    sizes = [len(values) for values in groups]
    if len(groups) < 2 or below is None:
        return None
    n = sum(sizes)
    middle = math.fsum(v for values in groups for v in values) / n
    square = math.fsum(m * (math.fsum(v) / m - middle) ** 2 for m, v in zip(sizes, groups, strict=True))
    size = (n - sum(m * m for m in sizes) / n) / (len(groups) - 1)
    return max(0.0, (square / (len(groups) - 1) - below) / size)
