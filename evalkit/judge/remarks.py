"""Sentences about judged numbers that their reader must know."""

from __future__ import annotations

from evalkit.judge.config import RELATIVE
from evalkit.runs.schema import JudgedFile


def remarks(scores: JudgedFile) -> list[str]:
    """Failures, missing answers, undecided verdicts, position bias and spread, in sentences."""
    return [*_counts(scores), *_position_bias(scores), *_spread(scores)]


def _counts(scores: JudgedFile) -> list[str]:
    sentences: list[str] = []
    failed = {k: n for k, n in scores.outcomes.items() if k not in ("judged", "no_answer")}
    if failed:
        sentences.append(f"judgments without a score: {', '.join(f'{n} {k}' for k, n in sorted(failed.items()))}")
    if scores.n_no_answer:
        sentences.append(
            f"{scores.n_no_answer} of {scores.n} samples have no answer to judge and are not included in the values"
        )
    if scores.n_cannot_tell:
        sentences.append(f"{scores.n_cannot_tell} of {scores.n} answers: the judge replied that it cannot tell")
    return sentences


def _position_bias(scores: JudgedFile) -> list[str]:
    flip, effect = scores.find("flip_rate"), scores.find("order_effect")
    if flip is None or flip.value is None or effect is None or effect.value is None:
        return []
    unit = "points of 10" if scores.judged == RELATIVE else "of the credit"
    sentences = [
        f"presentation order: the judge changed its preference in {flip.value:.1%} of the pairs; the first position "
        f"gains {effect.value:+.2f} {unit}"
    ]
    if flip.value >= 0.5:
        sentences.append("more than half of the preferences follow the order, not the answers: do not use this judge")
    return sentences


def _spread(scores: JudgedFile) -> list[str]:
    spread = scores.spread
    if spread.get("within_item_sd") is None:
        return []
    return [
        f"{spread['replicates']} replicates: standard deviation within an item {spread['within_item_sd']:.3f}, between "
        f"the scores of replicates {spread['scores_sd']:.4f}"
    ]
