"""Intervals, paired tests and ranks for metrics over clustered rows (several questions about one image)."""

from evalkit.stats.clusters import ClusterCodes, cluster_codes, cluster_sums, effective_clusters
from evalkit.stats.intervals import (
    AGGREGATES,
    ONE_CLUSTER,
    Aggregate,
    Estimate,
    Interval,
    cluster_standard_error,
    design_effect,
    exact_sum,
    mean_interval,
    wilson,
)
from evalkit.stats.paired import (
    PERMUTATION_FLOOR,
    holm,
    paired_interval,
    paired_minimum_detectable_effect,
    sign_flip_p,
    sign_flip_p_of_sums,
    unpaired_minimum_detectable_effect,
)
from evalkit.stats.ranking import Rank, rank_models
from evalkit.stats.restricted import equivalence_p, group_by_cluster, restricted_interval, restricted_t

__all__ = [
    "AGGREGATES",
    "ONE_CLUSTER",
    "PERMUTATION_FLOOR",
    "Aggregate",
    "ClusterCodes",
    "Estimate",
    "Interval",
    "Rank",
    "cluster_codes",
    "cluster_standard_error",
    "cluster_sums",
    "design_effect",
    "effective_clusters",
    "equivalence_p",
    "exact_sum",
    "group_by_cluster",
    "holm",
    "mean_interval",
    "paired_interval",
    "paired_minimum_detectable_effect",
    "rank_models",
    "restricted_interval",
    "restricted_t",
    "sign_flip_p",
    "sign_flip_p_of_sums",
    "unpaired_minimum_detectable_effect",
    "wilson",
]
