"""What is peculiar about one answer: the features by which a row finds the probes that explain it."""

from __future__ import annotations

import re
import string
from collections import Counter
from typing import NamedTuple

from evalkit.core.types import CLOSED, Sample
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
_CANNOT_TELL = "says that it cannot tell"
MOST = 0.6


class Row(NamedTuple):
    """A row as the probes see it.  kind and said as in `Probe`; Chinese rows have the kind zh."""

    kind: str
    said: str
    features: frozenset[str]


def row_of(sample: Sample, answer: str) -> Row:
    """The kind of the gold answer, which of yes and no the answer says, and every feature that applies.

    With several references the first one counts.
    """
    gold = next(r for r in sample.references if r.strip()).strip()
    if _HAN.search(gold) or _HAN.search(answer):
        return Row("zh", "", frozenset())
    polarity = gold_polarity(gold, sample.question)
    kind = polarity or ("option" if sample.answer_type == CLOSED else "open")
    words, wanted = _words(answer), _words(gold)
    said = _said(words)
    found = set(_of_text(answer, gold, words, wanted))
    if polarity:
        found.update(_of_verdict(answer, sample.question, words, said))
    else:
        found.update(_of_content(answer, gold, words, wanted, sample.choices))
    return Row(kind.capitalize() if gold != gold.lower() else kind, said, frozenset(found))


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _said(words: list[str]) -> str:
    yes, no = "yes" in words, "no" in words
    return "both" if yes and no else "yes" if yes else "no" if no else "neither"


def _of_text(answer: str, gold: str, words: list[str], wanted: list[str]) -> list[str]:
    """Features of the texts as such."""
    pair = {*words, *wanted}
    low = answer.lower()
    tests = {
        "any": True,
        "empty": not answer.strip(),
        "role": strip_role(answer) != answer,
        "case": answer != low or gold != gold.lower(),
        "space": answer != " ".join(answer.split()),
        "punctuation": any(c in string.punctuation for c in answer + gold),
        "letter": _LONE_LETTER.search(answer) is not None,
        "no letter": _LONE_LETTER.search(answer) is None,
        "parentheses": "(" in answer or "(" in gold,
        "small words": bool(pair & _SMALL),
        "numbers": bool(pair & _DIGITS),
        "verbose": len(words) > len(wanted),
        "introduced": _INTRODUCED.search(low) is not None,
        "hidden no": any("no" in w and w != "no" and w not in _NEGATIONS for w in words),
        "hidden yes": any("yes" in w and w != "yes" for w in words),
        "negation": any(w in _NEGATIONS or w.endswith("n't") for w in words),
        "repeated": max(Counter(words).values(), default=1) > 1 or max(Counter(wanted).values(), default=1) > 1,
    }
    return [name for name, holds in tests.items() if holds]


def _of_verdict(answer: str, question: str, words: list[str], said: str) -> list[str]:
    """Features of an answer to a yes/no question."""
    found = []
    verdict = read_yes_no(answer, question)
    if said == "both":
        found.append("both")
    if verdict.reason == _CANNOT_TELL:
        found.append("doubt")
    if verdict.rule == "restates the question":
        found.append("restates")
    if said == "no" and verdict.rule != "verdict word":
        found.append("no of a noun")
    if not _SYNONYMS.isdisjoint(words):
        found.append("synonym")
    if "." in answer.strip().rstrip("."):
        found.append("sentences")
    return found


def _of_content(answer: str, gold: str, words: list[str], wanted: list[str], choices: tuple[str, ...]) -> list[str]:
    """Features of an answer to any other question: which of the gold words are in it, and how."""
    found = []
    if read_words(answer).replaced or read_words(gold).replaced:
        found.append("aliases")
    words, wanted = [NUMBERS.get(w, w) for w in words], [NUMBERS.get(w, w) for w in wanted]
    goal, given = set(wanted), set(words)
    share = len(goal & given) / len(goal) if goal else 0.0
    if find_phrase(tuple(words), tuple(wanted)):
        found.append("gold in it")
    elif gold.lower() in answer.lower():
        found.append("gold hidden")
    elif share == 1:
        found.append("order")
    if share:
        found.append("some words")
    if share >= MOST:
        found.append("most words")
    if _several(goal, given, choices, words):
        found.append("several options")
    return found


def _several(goal: set[str], given: set[str], choices: tuple[str, ...], words: list[str]) -> bool:
    """Whether the answer names the gold and something that excludes it."""
    for family in EXCLUSIVE:
        if family & goal & given and len(family & given) > 1:
            return True
    named = [c for c in choices if find_phrase(tuple(words), tuple(_words(c)))]
    return len(named) > 1
