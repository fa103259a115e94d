"""evalkit's own protocol: what the published counting rules should have been."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from evalkit.core.types import Metric, Sample
from evalkit.scoring.row_protocol import Mark, RowProtocol, references
from evalkit.scoring.text.aliases import EXCLUSIVE
from evalkit.scoring.text.aliases import VERSION as ALIAS_VERSION
from evalkit.scoring.text.medical import Reading, find_phrase, plain_words, read_list, read_words, tidy
from evalkit.scoring.text.overlap import set_overlap
from evalkit.scoring.text.yes_no import gold_polarity, read_verdict

Words = tuple[str, ...]
_NOT = frozenset({"not", "no", "nor", "neither", "without"})
_PIECE = re.compile(r",|;|\?|\bor\b|、|或者|还是")


class Strict(RowProtocol):
    """Closed rows by what the answer says, open rows over sets of words, each alias written down.

    closed_accuracy, gold yes or no: `read_verdict`.  Another gold: the answer must name exactly one of the options
    (the row's choices, else those that the question itself offers), as whole words and not negated.  An answer
    that cannot be read so is unscored, with the reason; an empty one is wrong, and only an error is an error.
    open_recall, open_precision, open_f1: over the sets of words after aliases.  exact_match, on every row: equality
    after aliases, lists without order.  With several references each takes the best.
    """

    metrics = (
        Metric(name="closed_accuracy", rows="closed"),
        Metric(name="open_recall", rows="open"),
        Metric(name="open_precision", rows="open"),
        Metric(name="open_f1", rows="open"),
        Metric(name="exact_match"),
    )

    norm = f"strict-aliases.{ALIAS_VERSION}"

    def marks(self, sample: Sample, answer: str) -> Mapping[str, Mark]:
        golds = references(sample)
        marks = {"exact_match": _best(_exact(answer, gold) for gold in golds)}
        if self.is_closed(sample):
            return marks | {"closed_accuracy": _best(closed_mark(answer, gold, sample) for gold in golds)}
        return marks | {name: _best(_open(answer, gold)[name] for gold in golds) for name in _OVERLAP}


_OVERLAP = {"open_precision": 0, "open_recall": 1, "open_f1": 2}


def _best(marks: Iterable[Mark]) -> Mark:
    """The highest value; unscored only where no reference could be decided."""
    return max(marks, key=lambda mark: -1.0 if mark.value is None else mark.value)


def _note(*readings: tuple[str, ...]) -> str:
    used = list(dict.fromkeys(use for reading in readings for use in reading))
    return f"aliases: {'; '.join(used)}" if used else ""


def _exact(answer: str, gold: str) -> Mark:
    said, said_used = read_list(answer)
    wanted, wanted_used = read_list(gold)
    return Mark(value=float(bool(wanted) and said == wanted), note=_note(said_used, wanted_used))


def _open(answer: str, gold: str) -> dict[str, Mark]:
    said, wanted = read_words(answer), read_words(gold)
    overlap = set_overlap(said.words, wanted.words)
    note, extracted = _note(said.used, wanted.used), " ".join(said.words)
    return {name: Mark(value=overlap[at], extracted=extracted, note=note) for name, at in _OVERLAP.items()}


def closed_mark(answer: str, gold: str, sample: Sample) -> Mark:
    """One closed answer against one gold answer."""
    said = read_words(answer)
    if not said.words:
        return Mark(value=0.0, note="empty answer")
    polarity = gold_polarity(gold, sample.question)
    if polarity:
        verdict = read_verdict(answer, sample.question)
        if verdict.says is None:
            return Mark(value=None, reason=verdict.reason, extracted=" ".join(said.words)[:80])
        return Mark(value=float(verdict.says == polarity), extracted=verdict.says, note=verdict.rule)
    return _option_mark(said, read_words(gold), sample)


def _option_mark(said: Reading, gold: Reading, sample: Sample) -> Mark:
    options = _options(sample, gold.words)
    named = _named(said.words, options)
    note = _note(said.used, gold.used)
    if len(options) == 1:
        extracted = " ".join(said.words)[:80]
        return Mark(value=float(bool(named)), extracted=extracted, note=note or "no other option known")
    if len(named) > 1:
        both = " and ".join(sorted(" ".join(option) for option in named))
        return Mark(value=None, reason=f"names both: {both}", note=note)
    if not named:
        return Mark(value=None, reason="names none of the options", extracted=" ".join(said.words)[:80], note=note)
    (choice,) = named
    return Mark(value=float(choice == options[0]), extracted=" ".join(choice), note=note)


def _named(words: Words, options: list[Words]) -> set[Words]:
    """The options that occur as whole words, not negated and not merely inside a longer option that occurs."""
    places = {
        option: {at for at in find_phrase(words, option) if not (at and words[at - 1] in _NOT)} for option in options
    }
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
    """The gold answer first, then what else the question offers, without the words that all of them share."""
    if sample.choices:
        others = [words for choice in sample.choices if (words := read_words(choice).words) and words != gold]
        # The gold "right side" and the choice "right" are one answer: the shorter wording names it.
        same = [other for other in others if find_phrase(gold, other) or find_phrase(other, gold)]
        if len(same) == 1 and gold not in [read_words(choice).words for choice in sample.choices]:
            gold = min(gold, same[0], key=len)
            others = [other for other in others if other != same[0]]
        return _distinct([gold, *others])
    asked = read_words(sample.question).words
    for family in EXCLUSIVE:
        mine, offered = family & set(gold), family & set(asked)
        if len(mine) == 1 and offered - mine:
            return [tuple(mine), *((word,) for word in sorted(offered - mine))]
    return _distinct([gold, *_offered(sample.question, gold)])


def _distinct(options: list[Words]) -> list[Words]:
    """Each option without the words that every option has, unless nothing would remain."""
    shared = set.intersection(*(set(option) for option in options)) if len(options) > 1 else set()
    shorter = [tuple(word for word in option if word not in shared) for option in options]
    return shorter if all(shorter) else options


def _offered(question: str, gold: Words) -> list[Words]:
    """The alternatives of "a, b or c" in a question that names the gold answer among them.

    The piece before "or" ends with its option, as long as the gold answer, and the piece after begins with it, or is
    it if it has one word more at most; earlier pieces count only if short, because an introduction stands there too.
    """
    text = tidy(question)
    if not re.search(r"\bor\b|或者|还是", text):
        return []
    pieces = [words for piece in _PIECE.split(text) if (words := read_words(" ".join(plain_words(piece))).words)]
    holders = [at for at, words in enumerate(pieces) if find_phrase(words, gold)]
    if not holders:
        return []
    size, last = len(gold), len(pieces) - 1
    found = [
        (words if len(words) <= size + 1 else words[:size]) if at == last else words[-size:]
        for at, words in enumerate(pieces)
        if at not in holders and (at >= last - 1 or len(words) <= max(size, 2))
    ]
    return [words for words in dict.fromkeys(found) if words != gold]
