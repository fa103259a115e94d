"""The experiments that find a protocol's rules: pairs of answers that differ in one thing.

A protocol scores both answers of a pair; the difference of the two scores is the effect of that one thing.  Nothing is
assumed about any protocol, so a plug-in protocol is explained in the same way.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from evalkit.analysis.disagreement.choice_cases import CHOICE_KIND, CHOICE_OPTIONS
from evalkit.analysis.disagreement.probe_cases import CASES, Case
from evalkit.core.types import CHOICE, CLOSED, OPEN, Sample


class GoldAnswer(NamedTuple):
    """A gold answer and an answer to score against it."""

    gold: str
    answer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """Two answers with their gold answers, the second without the thing that is tested.

    feature: a name of `evalkit.analysis.disagreement.features`; the probe explains samples that have it.
    kind: the kind of the gold answer: yes, no, option (closed, but neither), open; capitalised where the gold is.
        "choice" for multiple choice, whatever the case.
    verdict: which of the words yes and no the answer contains (yes, no, both, neither); "" where that does not matter.
    """

    cause: str
    feature: str
    kind: str
    verdict: str
    probe: GoldAnswer
    control: GoldAnswer


_QUESTIONS = {
    "yes": "Is there a mass?", "no": "Is there a mass?", "option": "Is it left or right?", "open": "Where is it?",
}  # fmt: skip


def probes() -> Iterator[Probe]:
    """Every experiment, in order of precedence; each once with the gold in lower case and once capitalised.

    Those of multiple choice are once as they are: their options are given.
    """
    for cause, feature, cases in CASES:
        for case in cases:
            yield _probe(cause, feature, case, case.kind, case.gold)
            if case.kind == CHOICE_KIND:
                continue
            yield _probe(cause, feature, case, case.kind.capitalize(), case.gold[0].upper() + case.gold[1:])
        if feature == "case":
            yield from _case_of_gold(cause)


def _probe(cause: str, feature: str, case: Case, kind: str, gold: str) -> Probe:
    return Probe(
        cause=cause,
        feature=feature,
        kind=kind,
        verdict=case.verdict,
        probe=GoldAnswer(gold, case.answer),
        control=GoldAnswer(gold, case.control),
    )


def _case_of_gold(cause: str) -> Iterator[Probe]:
    for kind, gold in (("yes", "yes"), ("no", "no"), ("option", "left"), ("open", "left lung")):
        for answer in (gold, gold.capitalize(), f"{gold} so"):
            yield Probe(
                cause=cause,
                feature="case",
                kind=kind.capitalize(),
                verdict="",
                probe=GoldAnswer(gold.capitalize(), answer),
                control=GoldAnswer(gold, answer),
            )


def sample_for(kind: str, gold: str) -> Sample:
    """A sample with this gold answer, as a probe needs it."""
    low = kind.lower()
    if low == CHOICE_KIND:
        return Sample(
            id="probe", image_id="probe", question="Which is it?", references=(gold,), choices=CHOICE_OPTIONS,
            tags={"answer_type": CHOICE},
        )  # fmt: skip
    other = {"yes": "no", "no": "yes", "option": "right"}.get(low)
    return Sample(
        id="probe",
        image_id="probe",
        question=_QUESTIONS[low],
        references=(gold,),
        choices=(other, gold.split()[0]) if other else (),  # the gold is option B, named by its first word
        tags={"answer_type": OPEN if low == "open" else CLOSED},
    )
