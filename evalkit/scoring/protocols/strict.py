"""evalkit's own protocol: the published scoring rules with their errors corrected."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping

from evalkit.core.types import Metric, Sample
from evalkit.scoring.row_protocol import MetricResult, RowProtocol, references
from evalkit.scoring.text.aliases import EXCLUSIVE
from evalkit.scoring.text.aliases import VERSION as ALIAS_VERSION
from evalkit.scoring.text.medical import Reading, find_phrase, fold, plain_words, read_list, read_words
from evalkit.scoring.text.options import affirmed_text
from evalkit.scoring.text.overlap import set_overlap
from evalkit.scoring.text.restatement import CANNOT_TELL, REPEATS
from evalkit.scoring.text.yes_no import doubts, gold_polarity, read_yes_no

Words = tuple[str, ...]
_SEPARATOR = re.compile(r",|;|\?|\bor\b|、|或者|还是")


class Strict(RowProtocol):
    """Closed rows by the meaning of the answer, open rows over sets of words; every alias used is recorded.

    closed_accuracy, gold yes or no: `read_yes_no`.  Any other gold: the answer must name exactly one of the options
    (the row's choices, else those offered by the question itself), as whole words and not denied.  An answer that
    cannot be read this way, an echo of the question among them, is unscored, with the reason.  An answer without any
    text is wrong; a failed request is unscored.
    open_recall, open_precision, open_f1: over the sets of words after aliases.  exact_match, on every row: equality
    after aliases, lists compared without order.  With several references each metric takes the best.
    """

    metrics = (
        Metric(name="closed_accuracy", rows="closed"),
        Metric(name="open_recall", rows="open"),
        Metric(name="open_precision", rows="open", is_secondary=True),
        Metric(name="open_f1", rows="open", is_secondary=True),
        Metric(name="exact_match"),
    )

    norm = f"strict-aliases.{ALIAS_VERSION}"

    def gold_form(self, gold: str) -> str:
        return " ".join(read_words(gold).words)

    def metric_results(self, sample: Sample, answer: str) -> Mapping[str, MetricResult]:
        golds = references(sample)
        results = {"exact_match": _best(_exact_result(answer, gold) for gold in golds)}
        if self.is_closed(sample):
            return results | {"closed_accuracy": _best(closed_result(answer, gold, sample) for gold in golds)}
        return results | {name: _best(_open_results(answer, gold)[name] for gold in golds) for name in _OVERLAP}


_OVERLAP = {"open_precision": 0, "open_recall": 1, "open_f1": 2}


def _best(results: Iterable[MetricResult]) -> MetricResult:
    """The result with the highest value; unscored only if it is unscored for every reference."""
    return max(results, key=lambda result: -1.0 if result.value is None else result.value)


def _note(*replaced: tuple[str, ...]) -> str:
    aliases = list(dict.fromkeys(alias for reading in replaced for alias in reading))
    return f"aliases: {'; '.join(aliases)}" if aliases else ""


def _exact_result(answer: str, gold: str) -> MetricResult:
    predicted, expected = read_list(answer), read_list(gold)
    hit = bool(expected.items) and predicted.items == expected.items
    return MetricResult(value=float(hit), note=_note(predicted.replaced, expected.replaced))


def _open_results(answer: str, gold: str) -> dict[str, MetricResult]:
    predicted, expected = read_words(answer), read_words(gold)
    overlap = set_overlap(predicted.words, expected.words)
    note, extracted = _note(predicted.replaced, expected.replaced), " ".join(predicted.words)
    return {name: MetricResult(value=overlap[at], extracted=extracted, note=note) for name, at in _OVERLAP.items()}


def closed_result(answer: str, gold: str, sample: Sample) -> MetricResult:
    """Result of closed_accuracy for one answer against one gold answer."""
    predicted = read_words(answer)
    if not predicted.words:
        if _is_blank(answer):
            return MetricResult(value=0.0, note="empty answer")
        return MetricResult(value=None, reason="has no word that can be read", extracted=answer.strip()[:80])
    polarity = gold_polarity(gold, sample.question)
    if polarity:
        reading = read_yes_no(answer, sample.question)
        if reading.polarity is None:
            return MetricResult(value=None, reason=reading.reason, extracted=" ".join(predicted.words)[:80])
        hit = float(reading.polarity == polarity)
        return MetricResult(value=hit, extracted=reading.polarity, note=reading.rule)
    return _option_result(answer, read_words(gold), sample)


def _is_blank(answer: str) -> bool:
    """Whether an answer has nothing but white space and punctuation; a sign such as ✓ or a letter says something."""
    return all(unicodedata.category(char)[0] in "ZCP" for char in answer)


def _option_result(answer: str, gold: Reading, sample: Sample) -> MetricResult:
    predicted, options = read_words(answer), _options(sample, gold.words)
    extracted, note = " ".join(predicted.words)[:80], _note(predicted.replaced, gold.replaced)
    wording = " ".join([sample.question, *sample.references, *sample.choices])
    if doubts(answer) and not doubts(wording):
        return MetricResult(value=None, reason=CANNOT_TELL, extracted=extracted, note=note)
    affirmed = affirmed_text(answer, sample.question, " ".join(" ".join(option) for option in options))
    if affirmed is None:
        return MetricResult(value=None, reason=REPEATS, extracted=extracted, note=note)
    named = _named(read_words(affirmed).words, options)
    if len(options) == 1:
        return MetricResult(value=float(bool(named)), extracted=extracted, note=note or "no other option known")
    if len(named) > 1:
        both = " and ".join(sorted(" ".join(option) for option in named))
        return MetricResult(value=None, reason=f"names both: {both}", note=note)
    if not named:
        return MetricResult(value=None, reason="names none of the options", extracted=extracted, note=note)
    (choice,) = named
    return MetricResult(value=float(choice == options[0]), extracted=" ".join(choice), note=note)


def _named(words: Words, options: list[Words]) -> set[Words]:
    """The options that occur as whole words, and not only as part of a longer option that occurs."""
    places = {option: set(find_phrase(words, option)) for option in options}
    covered = {
        (other, start + offset)
        for option, starts in places.items()
        for other in options
        if len(other) < len(option)
        for start in starts
        for offset in find_phrase(option, other)
    }
    return {option for option, starts in places.items() if any((option, at) not in covered for at in starts)}


def _options(sample: Sample, gold: Words) -> list[Words]:
    """The gold answer first, then the other options of the question, without the words that all options share."""
    if sample.choices:
        others = [words for choice in sample.choices if (words := read_words(choice).words) and words != gold]
        # The gold "right side" and the choice "right" are the same answer: use the shorter wording.
        same = [other for other in others if find_phrase(gold, other) or find_phrase(other, gold)]
        if len(same) == 1 and gold not in [read_words(choice).words for choice in sample.choices]:
            gold = min(gold, same[0], key=len)
            others = [other for other in others if other != same[0]]
        return _distinct([gold, *others])
    question = read_words(sample.question).words
    for exclusive in EXCLUSIVE:
        correct, offered = exclusive & set(gold), exclusive & set(question)
        if len(correct) == 1 and offered - correct:
            return [tuple(correct), *((word,) for word in sorted(offered - correct))]
    return _distinct([gold, *_alternatives(sample.question, gold)])


def _distinct(options: list[Words]) -> list[Words]:
    """Each option without the words that all options share, unless an option would become empty."""
    shared = set.intersection(*(set(option) for option in options)) if len(options) > 1 else set()
    shorter = [tuple(word for word in option if word not in shared) for option in options]
    return shorter if all(shorter) else options


def _alternatives(question: str, gold: Words) -> list[Words]:
    """The other alternatives of "a, b or c" in a question that lists the gold answer among them.

    An option is taken to have as many words as the gold answer: the last words of the piece before "or", and the
    first words of the piece after it (or all of that piece if it is at most one word longer).  Earlier pieces count
    only if they are short, because the introduction of the question is among them.
    """
    text = fold(question)
    if not re.search(r"\bor\b|或者|还是", text):
        return []
    pieces = [words for piece in _SEPARATOR.split(text) if (words := read_words(" ".join(plain_words(piece))).words)]
    with_gold = [at for at, words in enumerate(pieces) if find_phrase(words, gold)]
    if not with_gold:
        return []
    size, last = len(gold), len(pieces) - 1
    found = [
        (words if len(words) <= size + 1 else words[:size]) if at == last else words[-size:]
        for at, words in enumerate(pieces)
        if at not in with_gold and (at >= last - 1 or len(words) <= max(size, 2))
    ]
    return [words for words in dict.fromkeys(found) if words != gold]
