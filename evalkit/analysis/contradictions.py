"""Rows about the same image and question whose references differ, in a data set or a run."""

from __future__ import annotations

import re
from collections.abc import Sequence

from evalkit.analysis.diagnosis import Verdict
from evalkit.core.format import percent
from evalkit.core.types import Sample
from evalkit.stats.label_noise import Contradictions, contradictions
from evalkit.tasks.formats import duplicate_key


def names_images(samples: Sequence[Sample]) -> bool:
    """Whether the form names its images; where it does not, the readers generate one id per row."""
    return not all(re.fullmatch(r"row\d+", s.pictures) for s in samples)


def question_key(sample: Sample) -> tuple[str, str, tuple[str, ...]]:
    """The same for two samples that ask the same of the same images, with the same options."""
    return sample.pictures, duplicate_key(sample.question), tuple(sample.choices)


def contradictions_of_samples(samples: Sequence[Sample]) -> Contradictions | None:
    """The contradictions of a data set, by the first references; None where the form names no images."""
    if not names_images(samples):
        return None
    return contradictions([question_key(s) for s in samples], [duplicate_key(s.references[0]) for s in samples])


def contradictions_of_verdicts(found: Sequence[Verdict], cluster: str) -> Contradictions | None:
    """The contradictions among yes/no questions of a run; None unless its clusters are its images.

    A run's lines have the cluster alone, and two frames of a video may well have different answers.
    """
    if cluster != "image":
        return None
    return contradictions([(v.image_id, duplicate_key(v.question)) for v in found], [v.gold for v in found])


def in_words(found: Contradictions) -> str:
    """Two sentences on what the contradictions mean for every score.

    >>> in_words(Contradictions(pairs=1, rows=5, unmatched=2, n=100)).partition("; ")[0]
    'References that contradict each other: 1 pair of image and question has different ones (5 of 100 rows)'
    """
    pairs = f"{found.pairs} pairs of image and question have" if found.pairs > 1 else "1 pair of image and question has"
    return (
        f"References that contradict each other: {pairs} different ones ({found.rows:,} of {found.n:,} rows); "
        f"{ceiling(found)}, and the other {percent(found.share, 1)} % count against every model. "
        "Other errors are not counted."
    )


def ceiling(found: Contradictions) -> str:
    """The most that one answer to each question can reach, in words."""
    return f"one answer to each equals at most {percent(1 - found.share, 1)} % of all references"
