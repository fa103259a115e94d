"""The experiments by which a protocol's habits are found: pairs of answers that differ in one thing.

A protocol is asked to score both; what the one thing does to the score is its effect.  Nothing is assumed about any
protocol, so a user's own is explained in the same way.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from evalkit.analysis.disagreement.probe_cases import CASES
from evalkit.core.types import CLOSED, OPEN, Sample


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """Two (gold, answer) pairs, the second without the thing that is tested.

    feature: a name of `evalkit.analysis.disagreement.features`; the rows that have it are explained by the probe.
    kind: what the gold answer is: yes, no, option (closed, but neither), open; with a capital where the gold has one.
    said: which of the words yes and no the answer holds (yes, no, both, neither); "" where that does not matter.
    """

    cause: str
    feature: str
    kind: str
    said: str
    probe: tuple[str, str]
    control: tuple[str, str]


_ASKED = {"yes": "Is there a mass?", "no": "Is there a mass?", "option": "Is it left or right?", "open": "Where is it?"}


def probes() -> Iterator[Probe]:
    """Every experiment, in order of precedence; each once with the gold in lower case and once with its capital."""
    for cause, feature, cases in CASES:
        for kind, said, gold, answer, control in cases:
            yield Probe(
                cause=cause, feature=feature, kind=kind, said=said, probe=(gold, answer), control=(gold, control)
            )
            big = gold[0].upper() + gold[1:]
            yield Probe(
                cause=cause,
                feature=feature,
                kind=kind.capitalize(),
                said=said,
                probe=(big, answer),
                control=(big, control),
            )
        if feature == "case":
            yield from _case_of_gold(cause)


def _case_of_gold(cause: str) -> Iterator[Probe]:
    for kind, gold in (("yes", "yes"), ("no", "no"), ("option", "left"), ("open", "left lung")):
        for answer in (gold, gold.capitalize(), f"{gold} so"):
            yield Probe(
                cause=cause,
                feature="case",
                kind=kind.capitalize(),
                said="",
                probe=(gold.capitalize(), answer),
                control=(gold, answer),
            )


def sample_for(kind: str, gold: str) -> Sample:
    """The row that a probe stands for."""
    low = kind.lower()
    other = {"yes": "no", "no": "yes", "option": "right"}.get(low)
    return Sample(
        id="probe",
        image_id="probe",
        question=_ASKED[low],
        references=(gold,),
        choices=(other, gold.split()[0]) if other else (),  # the gold is B, by its first word as in a question
        tags={"answer_type": OPEN if low == "open" else CLOSED},
    )
