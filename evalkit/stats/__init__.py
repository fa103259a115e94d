"""Intervals, paired tests and ranks for numbers whose rows come in clusters (several questions about one image)."""

from evalkit.stats.intervals import (
    AGGREGATES,
    ONE_CLUSTER,
    Aggregate,
    Interval,
    bootstrap_interval,
    cluster_standard_error,
    design_effect,
    mean_interval,
    wilson,
)
from evalkit.stats.paired import (
    McNemar,
    holm,
    mcnemar,
    paired_interval,
    paired_minimum_detectable_effect,
    sign_flip_p,
    unpaired_minimum_detectable_effect,
)
from evalkit.stats.ranking import Rank, rank_models
from evalkit.stats.restricted import gather, restricted_interval, restricted_t

__all__ = [
    "AGGREGATES",
    "ONE_CLUSTER",
    "Aggregate",
    "Interval",
    "McNemar",
    "Rank",
    "bootstrap_interval",
    "cluster_standard_error",
    "design_effect",
    "gather",
    "holm",
    "mcnemar",
    "mean_interval",
    "paired_interval",
    "paired_minimum_detectable_effect",
    "rank_models",
    "restricted_interval",
    "restricted_t",
    "sign_flip_p",
    "unpaired_minimum_detectable_effect",
    "wilson",
]
