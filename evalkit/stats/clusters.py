"""Clusters of rows: their labels as numbers, sums over them, and how many equal clusters they are worth."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from evalkit.core.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np


class ClusterCodes(NamedTuple):
    """Cluster labels as numbers 0..K-1 in order of appearance, an array with one per value, and the number K."""

    code: np.ndarray[Any, Any]
    k: int

    def at(self, places: np.ndarray[Any, Any]) -> ClusterCodes:
        """The labels of some of the values, numbered in order of their appearance among these."""
        import numpy as np

        code = self.code[places]
        first = np.full(self.k, len(code))
        first[code[::-1]] = np.arange(len(code))[::-1]  # of several places of a cluster the last written, the first
        present = np.flatnonzero(first < len(code))
        number = np.empty(self.k, dtype=np.intp)
        number[present[np.argsort(first[present])]] = np.arange(len(present))
        return ClusterCodes(number[code], len(present))


# Numbers, one a row; labels of clusters, one a row, or their numbers.
Values: TypeAlias = "Sequence[float] | np.ndarray[Any, Any]"
Clusters: TypeAlias = "Sequence[Hashable] | ClusterCodes"
Codes: TypeAlias = "Sequence[int] | np.ndarray[Any, Any]"


def cluster_codes(values: Sequence[object] | np.ndarray[Any, Any], clusters: Clusters) -> ClusterCodes:
    """Number the clusters.  Raises ConfigError if there is not one label per value, or a label is NaN."""
    import numpy as np

    given = clusters.code if isinstance(clusters, ClusterCodes) else clusters
    if len(values) != len(given):
        raise ConfigError(f"{len(values)} values but {len(given)} cluster labels: expected one label per value.")
    if isinstance(clusters, ClusterCodes):
        return clusters
    seen: dict[Hashable, int] = {}
    code = [seen.setdefault(cluster, len(seen)) for cluster in clusters]
    if any(isinstance(label, float) and math.isnan(label) for label in seen):
        raise ConfigError("A cluster label is NaN, a missing value; expected a label for every value, such as its own.")
    return ClusterCodes(np.array(code, dtype=np.intp), len(seen))


def cluster_sums(values: Any, code: Codes, k: int) -> np.ndarray[Any, Any]:
    """Sum of the values of each cluster, shape (k,)."""
    import numpy as np

    return np.bincount(code, weights=values, minlength=k)


def effective_clusters(sizes: np.ndarray[Any, Any]) -> float:
    """Kish's effective number of clusters, (sum of sizes)^2 / sum of squared sizes; the number itself for equal sizes.

    Reference: Kish 1965, Survey Sampling, section 8.2.

    >>> import numpy as np
    >>> effective_clusters(np.array([4, 4, 4])), round(effective_clusters(np.array([98, 1, 1])), 2)
    (3.0, 1.04)
    """
    total = float(sizes.sum())
    return total * total / float((sizes.astype(float) ** 2).sum())
