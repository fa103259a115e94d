"""Features of one answer, by which the probes that explain it are found."""

from __future__ import annotations

import re
import string
from collections import Counter
from typing import NamedTuple

from evalkit.analysis.disagreement.choice_features import choice_features
from evalkit.core.types import CHOICE, CLOSED, Sample
from evalkit.scoring.text.aliases import EXCLUSIVE, NUMBERS
from evalkit.scoring.text.medical import find_phrase, read_words
from evalkit.scoring.text.normalise import strip_role, word_set
from evalkit.scoring.text.yes_no import gold_polarity, read_yes_no

_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)?")
_HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff]")
_NEGATIONS = frozenset({"not", "cannot", "without", "absent", "never", "neither", "nor", "none"})
_SYNONYMS = word_set("yeah yep yup true correct nope nah false incorrect affirmative negative")
_DIGITS = frozenset(NUMBERS) | frozenset(NUMBERS.values()) | {"none"}
_SMALL = frozenset({"a", "an", "the", "and"})
_LONE_LETTER = re.compile(r"(?<![A-Za-z])[A-Na-n](?![A-Za-z])")
_INTRODUCED = re.compile(r"answer is|answer:|answer\*|<answer>|boxed|final answer|答案")
_MARKED = re.compile(r"answer\s*:")
_CANNOT_TELL = "says that it cannot tell"
# Share of the gold words that counts as "most" of them.
MOST = 0.6


class AnswerFeatures(NamedTuple):
    """An answer as the probes need it.  kind and verdict as in `Probe`; samples in Chinese have the kind zh."""

    kind: str
    verdict: str
    features: frozenset[str]


def features_of(sample: Sample, answer: str) -> AnswerFeatures:
    """The kind of the gold answer, which of yes and no the answer contains, and every feature that applies.

    With several references the first one counts.  Multiple-choice rows have a kind and features of their own.
    """
    if sample.answer_type == CHOICE:
        return AnswerFeatures("choice", "neither", choice_features(sample, answer))
    gold = next(r for r in sample.references if r.strip()).strip()
    if _HAN.search(gold) or _HAN.search(answer):
        return AnswerFeatures("zh", "", frozenset())
    polarity = gold_polarity(gold, sample.question)
    kind = polarity or ("option" if sample.answer_type == CLOSED else "open")
    words, gold_words = _words(answer), _words(gold)
    verdict = _verdict_words(words)
    found = set(_of_text(answer, gold, words, gold_words))
    if polarity:
        found.update(_of_verdict(answer, sample.question, words, verdict))
    else:
        found.update(_of_content(answer, gold, words, gold_words, sample.choices))
    return AnswerFeatures(kind.capitalize() if gold != gold.lower() else kind, verdict, frozenset(found))


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _verdict_words(words: list[str]) -> str:
    yes, no = "yes" in words, "no" in words
    return "both" if yes and no else "yes" if yes else "no" if no else "neither"


def _of_text(answer: str, gold: str, words: list[str], gold_words: list[str]) -> list[str]:
    """Features of the text itself."""
    pair = {*words, *gold_words}
    lower = answer.lower()
    tests = {
        "any": True,
        "empty": not answer.strip(),
        "role": strip_role(answer) != answer,
        "case": answer != lower or gold != gold.lower(),
        "space": answer != " ".join(answer.split()),
        "punctuation": any(c in string.punctuation for c in answer + gold),
        "letter": _LONE_LETTER.search(answer) is not None,
        "no letter": _LONE_LETTER.search(answer) is None,
        "parentheses": "(" in answer or "(" in gold,
        "small words": bool(pair & _SMALL),
        "numbers": bool(pair & _DIGITS),
        "verbose": len(words) > len(gold_words),
        "introduced": _INTRODUCED.search(lower) is not None,
        "unmarked": _MARKED.search(lower) is None,
        "hidden no": any("no" in w and w != "no" and w not in _NEGATIONS for w in words),
        "hidden yes": any("yes" in w and w != "yes" for w in words),
        "negation": any(w in _NEGATIONS or w.endswith("n't") for w in words),
        "repeated": max(Counter(words).values(), default=1) > 1 or max(Counter(gold_words).values(), default=1) > 1,
    }
    return [name for name, holds in tests.items() if holds]


def _of_verdict(answer: str, question: str, words: list[str], verdict_words: str) -> list[str]:
    """Features of an answer to a yes/no question."""
    found = []
    reading = read_yes_no(answer, question)
    if verdict_words == "both":
        found.append("both")
    if reading.reason == _CANNOT_TELL:
        found.append("doubt")
    if reading.rule == "restates the question":
        found.append("restates")
    if verdict_words == "no" and reading.rule != "verdict word":
        found.append("no of a noun")
    if not _SYNONYMS.isdisjoint(words):
        found.append("synonym")
    if "." in answer.strip().rstrip("."):
        found.append("sentences")
    return found


def _of_content(answer: str, gold: str, words: list[str], gold_words: list[str], choices: tuple[str, ...]) -> list[str]:
    """Features of an answer to any other question: which of the gold words are in it, and how."""
    found = []
    if read_words(answer).replaced or read_words(gold).replaced:
        found.append("aliases")
    words, gold_words = [NUMBERS.get(w, w) for w in words], [NUMBERS.get(w, w) for w in gold_words]
    gold_set, answer_set = set(gold_words), set(words)
    share = len(gold_set & answer_set) / len(gold_set) if gold_set else 0.0
    if find_phrase(tuple(words), tuple(gold_words)):
        found.append("gold in it")
    elif gold.lower() in answer.lower():
        found.append("gold hidden")
    elif share == 1:
        found.append("order")
    if share:
        found.append("some words")
    if share >= MOST:
        found.append("most words")
    if _several(gold_set, answer_set, choices, words):
        found.append("several options")
    return found


def _several(gold_set: set[str], answer_set: set[str], choices: tuple[str, ...], words: list[str]) -> bool:
    """Whether the answer names the gold answer and something that excludes it."""
    for family in EXCLUSIVE:
        if family & gold_set & answer_set and len(family & answer_set) > 1:
            return True
    named = [c for c in choices if find_phrase(tuple(words), tuple(_words(c)))]
    return len(named) > 1
