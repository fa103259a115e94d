"""Causes of a score difference: the first feature of an answer on which two protocols are known to differ.

The rules of each protocol are measured with the probes: an effect is what a feature does to a score.  The cause of a
difference is that of the first probe whose feature the answer has and whose effects separate the two protocols in the
direction of the difference.  What no probe explains is "other".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import NamedTuple

from evalkit.analysis.disagreement.choice_cases import CHOICE_KIND
from evalkit.analysis.disagreement.features import AnswerFeatures
from evalkit.analysis.disagreement.probes import GoldAnswer, Probe, probes, sample_for
from evalkit.core.types import MetricKey, Prediction
from evalkit.scoring.base import ScoringProtocol

OTHER = "other"
UNREAD = "left unscored by one of them"
LABEL = "closed by label against closed by yes or no"
NO_SUCH_ROW = "a row that one of them does not count"
CHINESE = "Chinese text"
# The level of an unscored answer; the other levels are scores in [0, 1], so it is below wrong.
UNSCORED = -0.25
# Effects closer than this are equal.
NEAR = 1e-6

# The explanation of each cause, in order of precedence; part of lens.json and docs/lens.md.
CAUSES: dict[str, str] = {
    LABEL: "one takes the row's label, the other whether the gold answer is yes or no, so one counts the row as closed "
    "and the other as open",
    NO_SUCH_ROW: "one of them has no such row at all (it wants options, say)",
    "the letter of an option": "one of them reads the letter of an option and nothing else",
    "empty answer": "nothing was said; one of them reads that as an answer",
    "role prefix": "\"Assistant:\" before the answer is taken off by one and is a word of the answer for the other",
    "both yes and no": "one finds the gold answer in it, the other sees a contradiction",
    "cannot tell": "\"cannot be determined\" holds the letters of no",
    "no inside another word": "\"no\" is found in normal, abnormal, know, diagnosis ...",
    "yes inside another word": "\"yes\" is found in eyes ...",
    "a negation other than no": "not, without, none: for one they deny, for the other they are words like any other, "
    "or hold the letters of no",
    "no of something else": "\"no\" belongs to a noun (\"no fracture\"): for one it answers the question, for the "
    "other it does not",
    "said after the first sentence": "one of them reads the first sentence only",
    "restates the question": "the answer repeats the question as a statement; one of them reads that as a verdict",
    "another word for yes or no": "true, yeah, nope ...: one of them knows them",
    "neither yes nor no said": "there is no verdict in it; one counts that as a no or a yes, or leaves the row "
    "unscored",
    "a closed row without yes or no": "the gold is another word, and one of them wants yes or no in every closed "
    "answer",
    "names several options": "one finds the gold answer in it, the other sees that it has not chosen",
    "names none of the options": "it names none of the options; one leaves the row unscored",
    "a miss that is not counted": "it says the opposite of the gold; one of them drops such rows from the denominator",
    "gold inside another word": "the gold's letters are part of a longer word (\"ct\" in fracture)",
    "an introduced answer": "\"the answer is\", <answer> or \\boxed: one of them reads only what follows",
    "words in parentheses": "one of them deletes what stands in parentheses",
    "verbose answer": "the gold is in it with more words around it; one wants equality, or pays for each word",
    "words in another order": "the same words in another order",
    "repeated words": "one counts each repetition of a word, the other counts it once",
    "letter case": "one of them tells capitals from small letters",
    "small words": "a, an, the, and: words for one, dropped by the other",
    "number words": "two and 2, none and 0 are one for one of them",
    "aliases": "mri and magnetic resonance imaging are one for one of them",
    "punctuation": "full stops, commas, hyphens: deleted, made a space, or kept",
    "white space": "spaces or line breaks inside or around the answer",
    "nearly all of the gold words": "one calls a recall of 0.75 right",
    "some of the gold words": "one gives credit for a part",
    "an answer without the mark that one wants": "one of them reads what follows \"ANSWER:\" or \"Final Answer:\" and "
    "nothing else",
    "an answer of signs alone": "nothing but punctuation was said; one of them takes an option for it",
    "a letter that is no option": "a letter beyond the options; one says so, the other looks for another reading",
    "states two options": "two options are stated; one leaves the row unscored, another takes the first, the last "
    "or none",
    "A or I is a word of the sentence": "the article A or the word I is the letter of an option for one of them",
    "a small letter": "one of them reads capital letters only",
    "Chinese marks or full-width letters": "答案：, 选 or full-width letters: one of them does not know them",
    "a letter in brackets, bold or boxed": "one of them does not find a letter in this form",
    "a letter far from the end": "one of them reads a letter near the end of the answer only",
    "a letter with words around it": "one of them reads the letter, the other the words, a letter alone or neither",
    "a letter alone": "one of them wants brackets or a mark around a letter",
    "a capital of a word is a letter": "one of them takes a capital of a word for the letter of an option",
    "the text of one option inside of another's": "\"CT\" in \"chest CT\": one of them finds both, or the shorter one",
    "the text of an option among other words": "one of them finds texts of options in sentences, the other does not",
    "the text of an option": "one of them reads letters only, or needs a longer answer to look for texts",
    "states no option": "one counts it as wrong, one leaves it unscored, one draws an option at random (its expected "
    "value is scored) and one takes the most similar option",
    CHINESE: "Chinese is not split into words in the same way",
    UNREAD: "one of them cannot read it, for the reason that its score gives",
    OTHER: "none of these",
}  # fmt: skip


class _MeasuredProbe(NamedTuple):
    """A probe and its effect on each metric of each protocol, by protocol and metric."""

    probe: Probe
    effects: Mapping[str, Mapping[str, float]]


class Causes:
    """The rules of some protocols, measured with the probes, and the causes that follow.  Made once for all."""

    def __init__(self, protocols: Sequence[ScoringProtocol]) -> None:
        self._protocols = {p.name: p for p in protocols}
        self._known: dict[tuple[AnswerFeatures, MetricKey, MetricKey, bool], str] = {}

    @cached_property
    def _of_choices(self) -> Mapping[tuple[str, str], list[_MeasuredProbe]]:
        return self._measured(probe for probe in probes() if probe.kind == CHOICE_KIND)

    @cached_property
    def _of_others(self) -> Mapping[tuple[str, str], list[_MeasuredProbe]]:
        return self._measured(probe for probe in probes() if probe.kind != CHOICE_KIND)

    def _measured(self, chosen: Iterable[Probe]) -> Mapping[tuple[str, str], list[_MeasuredProbe]]:
        """(kind, verdict) -> the measured probes, in order.  Few runs need those of multiple choice and the others."""
        found: dict[tuple[str, str], list[_MeasuredProbe]] = {}
        for probe in chosen:
            effects = {name: _effects(protocol, probe) for name, protocol in self._protocols.items()}
            for verdict in (probe.verdict,) if probe.verdict else ("yes", "no", "both", "neither"):
                found.setdefault((probe.kind, verdict), []).append(_MeasuredProbe(probe, effects))
        return found

    def cause(self, answer: AnswerFeatures, first: MetricKey, second: MetricKey, first_is_higher: bool) -> str:
        """The reason why two metrics give one answer different scores."""
        if answer.kind == "zh":
            return CHINESE
        key = (answer, first, second, first_is_higher)
        if key not in self._known:
            self._known[key] = self._find(answer, first, second, first_is_higher)
        return self._known[key]

    def _find(self, answer: AnswerFeatures, first: MetricKey, second: MetricKey, first_is_higher: bool) -> str:
        measured = self._of_choices if answer.kind == CHOICE_KIND else self._of_others
        for probe, effects in measured.get((answer.kind, answer.verdict), ()):
            if probe.feature not in answer.features:
                continue
            one, two = effects[first.protocol].get(first.metric), effects[second.protocol].get(second.metric)
            if one is None or two is None:
                continue
            if (one - two if first_is_higher else two - one) > NEAR:
                return probe.cause
        return OTHER


def _effects(protocol: ScoringProtocol, probe: Probe) -> dict[str, float]:
    """The effect of the tested thing on each metric that scores both answers of the probe."""
    with_it, without = (_levels(protocol, probe.kind, answer) for answer in (probe.probe, probe.control))
    return {metric: with_it[metric] - without[metric] for metric in with_it.keys() & without.keys()}


def _levels(protocol: ScoringProtocol, kind: str, case: GoldAnswer) -> dict[str, float]:
    scores = protocol.score(sample_for(kind, case.gold), Prediction(sample_id="probe", text=case.answer))
    return {s.metric: UNSCORED if s.value is None else s.value for s in scores}
