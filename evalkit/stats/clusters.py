"""Clusters of rows: their labels as numbers, sums over them, and how many equal clusters they are worth."""

from __future__ import annotations

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
        number = np.empty(self.k, dtype=np.int32)
        number[present[np.argsort(first[present])]] = np.arange(len(present))
        return ClusterCodes(number[code], len(present))


# Numbers, one a row; labels of clusters, one a row, or their numbers.
Values: TypeAlias = "Sequence[float] | np.ndarray[Any, Any]"
Clusters: TypeAlias = "Sequence[Hashable] | ClusterCodes"
Codes: TypeAlias = "Sequence[int] | np.ndarray[Any, Any]"


def cluster_codes(values: Sequence[object] | np.ndarray[Any, Any], clusters: Clusters) -> ClusterCodes:
    """Number the clusters.

    Raises ConfigError if there is not one label per value, or a label is missing (None, NaN) or not hashable.
    """
    import numpy as np

    given = clusters.code if isinstance(clusters, ClusterCodes) else clusters
    try:
        n, labels = len(values), len(given)
    except TypeError:
        raise ConfigError("Values and cluster labels are sequences of the same length, one label per value.") from None
    if n != labels:
        raise ConfigError(f"{n} values but {labels} cluster labels: expected one label per value.")
    if isinstance(clusters, ClusterCodes):
        return clusters
    seen: dict[Hashable, int] = {}
    try:
        code = np.fromiter((seen.setdefault(cluster, len(seen)) for cluster in clusters), dtype=np.int32, count=n)
    except TypeError as problem:
        raise ConfigError(f"A cluster label is not possible ({problem}); expected texts or numbers.") from None
    if any(map(_is_missing, seen)):
        raise ConfigError(
            "A cluster label is NaN or None, a missing value; expected a label for every value, such as its own."
        )
    return ClusterCodes(code, len(seen))


def _is_missing(label: Hashable) -> bool:
    """Whether a label is None, or no value is equal to it, itself included, as of NaN, NaT and pandas' NA."""
    if label is None:
        return True
    try:
        return bool(label != label)
    except TypeError:  # NA is neither equal nor unequal to itself
        return True


def finite_numbers(values: Values) -> np.ndarray[Any, Any]:
    """The values as an array of floats, shape (n,).  Raises ConfigError for a text, a missing or an infinite value."""
    import numpy as np

    try:
        given = np.asarray(values)
        # Texts that look like numbers are a column that was read as text.
        texts = given.dtype.kind not in "biufO" or (given.dtype.kind == "O" and any(isinstance(v, str) for v in given))
        array = None if texts or given.ndim != 1 else given.astype(float)
    except (TypeError, ValueError):
        array = None
    if array is None:
        raise ConfigError(f"Values are a sequence of numbers, one a row; got {str(values)[:80]!r}.")
    known = np.isfinite(array)
    if not known.all():
        wrong = int(np.argmin(known))
        raise ConfigError(
            f"Numbers are expected; value {wrong} is {array[wrong]:g}. Leave out what has no value, or count it as 0."
        )
    return array


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
