"""How labelled answers were chosen from those of a run: at random, with weights, picked by verdict, or elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from evalkit.judge.human_labels import Labels
from evalkit.judge.items import ItemResult
from evalkit.judge.labelled_answers import LabelledAnswer, judge_value
from evalkit.judge.prediction_powered import PICKED_P, picked_by_verdict, verdict_weights


class Sampling(NamedTuple):
    """How the labelled answers came out of all answers.

    right, images: of the judged answers of the run, where there is one.  elsewhere: the labels are of other answers.
    weights: of the labelled answers, where they differ.  refusal: why no accuracy can be corrected by these labels.
    """

    right: list[bool] | None
    images: list[str]
    elsewhere: bool = False
    weights: list[float] | None = None
    refusal: str = ""
    notes: tuple[str, ...] = ()


def sampling_of(
    labels: Labels, answers: Sequence[LabelledAnswer], items: Mapping[str, ItemResult] | None, *, elsewhere: bool
) -> Sampling:
    """Whether the labels are a random draw of the run's answers; where not, their weights or why they are refused."""
    weights = [a.weight for a in answers] if labels.has_weights else None
    if items is None or labels.scale != "verdict":
        return Sampling(None, [], weights=weights)
    scored = [i for i in items.values() if i.status == "judged"]
    right = [judge_value(i, "verdict") == 1.0 for i in scored]
    found = Sampling(right, [i.image_id for i in scored], elsewhere, weights)
    own = [a.judge == 1.0 for a in answers]
    shares = f"the judge calls {sum(own) / len(own):.0%} of the labelled answers right"
    if labels.has_weights or not right:
        return found
    if elsewhere:
        if not _differ(own, right):
            return found
        why = (
            f"{shares}, and {sum(right) / len(right):.0%} of the run's. If labels were picked by verdict, sensitivity "
            "and specificity are wrong: label a random sample of the run's own answers (`judge sample run=RUN`), or "
            "state in a column weight how many answers each labelled one stands for (1 everywhere for a random draw)"
        )
        return found._replace(refusal=why, notes=(why,))
    if not picked_by_verdict(own, right):
        return found
    note = (
        f"{shares}, and {sum(right) / len(right):.0%} of all: they were picked by verdict, so every measure here "
        "weights them back to the run's shares, which is right if they are a random draw within each verdict"
    )
    reweighted = verdict_weights(own, right) if len(set(own)) > 1 else None
    return found._replace(weights=reweighted, notes=(note,))


def _differ(first: Sequence[bool], second: Sequence[bool]) -> bool:
    """Whether two independent draws have different shares, at PICKED_P."""
    from scipy.stats import fisher_exact

    table = [[sum(values), len(values) - sum(values)] for values in (first, second)]
    return bool(fisher_exact(table)[1] < PICKED_P)
