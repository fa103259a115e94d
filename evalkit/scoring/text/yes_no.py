"""Reading yes or no out of an answer: by whole words, with negation, contradiction and doubt.

The words yes and no are treated alike everywhere: swapping them in an answer swaps its reading.
"""

from __future__ import annotations

import re
from itertools import takewhile
from typing import NamedTuple

from evalkit.core.remembered import remembered
from evalkit.scoring.text.clauses import without_tags
from evalkit.scoring.text.medical import fold, plain_words
from evalkit.scoring.text.normalise import word_set
from evalkit.scoring.text.restatement import CANNOT_TELL, NO_ANSWER, Polarity, Restated, opposite, read_restatement
from evalkit.scoring.text.statement_words import is_finding, singular
from evalkit.scoring.text.yes_no_zh import HAN, ZH_EDGE, chinese_word, read_chinese


class YesNoReading(NamedTuple):
    """The polarity of an answer, or None with the reason; `rule` names the rule that determined it."""

    polarity: Polarity | None
    reason: str = ""
    rule: str = ""


_YES = word_set("yes yeah yep yup true correct affirmative positive pos")
_NO = word_set("no nope nah false incorrect negative neg")
_PLAIN_YES_NO = word_set("yes yeah yep yup no nope nah")
# Words that a noun phrase cannot start with: after them a yes or no is an answer ("no the heart is normal").
_CLAUSE_STARTS = word_set(
    """and or but so then because since as if although though however
    a an the there here it its this that these those i we he she they you my our yes no not yeah nope
    is are was were be been am do does did has have had can could may might will would shall should must
    in on at of for to from with within by about
    actually definitely certainly absolutely clearly probably only just also still again please sorry thanks thank"""
)
# Words that say how much or where: "no mild" has no noun, so that its no is an answer.
_MODIFIERS = word_set(
    """mild mildly moderate moderately severe severely slight slightly minimal minimally small large tiny big subtle
    left right both bilateral unilateral upper lower partial partially complete completely acute chronic"""
)
_DOUBT = re.compile(
    r"\b(?:unknown|unclear|unsure|uncertain|undetermined|indeterminate|inconclusive|not (?:sure|certain|clear|possible)"
    r"|n/a|(?:can ?not|can't|could not|couldn't|unable to|impossible to|difficult to|hard to)"
    r" (?:be )?(?:determined?|tell|told|say|said|answer(?:ed)?|assess(?:ed)?|see|confirm(?:ed)?|be)"
    r"|(?:do not|don't) know|(?:possibly|perhaps|maybe|might be|may be)|insufficient)\b"
    r"|不确定|不知道|无法|不清楚|可能"
)
_ASIDE = re.compile(r"\([^()]*(?:\)|$)")
_YES_OR_NO = re.compile(r"\b(?:yes|yeah|yep|yup|no|nope|nah)\b")
# An opening quote or emphasis belongs to the word after it: "no **mass**" is not "**no** mass".
_OPENING = re.compile(r"(?<=\s)[\"'*_`~“‘]+(?=\S)")
_HYPHEN = re.compile(r"(?<=[^\W_])-(?=[^\W_])")
_TOKEN = re.compile(r"[^\W_]+(?:'[^\W_]+)?|_|\n|[^\w\s]")


@remembered
def gold_polarity(gold: str, question: str = "") -> Polarity | None:
    """yes or no if the gold answer is just that, else None.

    >>> gold_polarity("Yes"), gold_polarity("no."), gold_polarity("normal"), gold_polarity("不包含")
    ('yes', 'no', None, 'no')
    """
    text = fold(gold)
    if HAN.search(text):
        return chinese_word(ZH_EDGE.sub("", text), fold(question))
    words = plain_words(text)
    if len(words) != 1:
        return None
    return "yes" if words[0] == "yes" else "no" if words[0] == "no" else None


def read_yes_no(answer: str, question: str) -> YesNoReading:
    """Read a non-empty answer to a yes/no question.

    In this order: a leading yes or no (words such as true and negative only at the very start, or alone); a later yes
    or no; doubt; a sentence that restates the question, which means yes, or no with one negation of it.  Two different
    yes/no words are a contradiction.  A yes or no before a noun ("no mass") is part of a sentence, not an answer.  An
    echo of the question is neither.

    >>> read_yes_no("Yes, it is abnormal", "Is it abnormal?").polarity
    'yes'
    >>> read_yes_no("There is no mass.", "Is there a mass?").polarity
    'no'
    >>> read_yes_no("**No** (mild)</s>", "Is there a mass?").polarity
    'no'
    >>> read_yes_no("Normal", "Is it enlarged?").polarity is None, read_yes_no("Yes and no.", "Is there?").reason
    (True, 'says both yes and no')
    >>> read_yes_no("Is there a mass?", "Is there a mass?").reason
    'repeats the question'
    """
    text, asked = fold(answer), fold(question)
    chinese = bool(HAN.search(text))
    tokens, in_question = _tokens(text), set(_TOKEN.findall(asked))
    polarities = _yes_no_words(tokens, in_question, free=chinese)
    if len(polarities) == 2:
        return YesNoReading(None, "says both yes and no")
    if polarities:
        (polarity,) = polarities
        return YesNoReading(polarity, rule="verdict word")
    if chinese:
        return _reading(read_chinese(without_tags(text), asked), text)
    if _DOUBT.search(text):
        return YesNoReading(None, CANNOT_TELL)
    return _reading(read_restatement(without_tags(text), question), text)


def doubts(text: str) -> bool:
    """Whether a text says that something is not known or not certain.

    >>> doubts("It may be on the left"), doubts("On the left")
    (True, False)
    """
    return bool(_DOUBT.search(fold(text)))


def _reading(found: Restated, text: str) -> YesNoReading:
    if found.polarity is None and found.reason == NO_ANSWER and _DOUBT.search(text):
        return YesNoReading(None, CANNOT_TELL)
    return YesNoReading(found.polarity, found.reason, found.rule)


def _tokens(text: str) -> list[str]:
    """Words and marks of an answer, without what only decorates it; asides in brackets that say neither yes nor no go.

    A hyphen between two words is kept at the start alone ("no-mild"): "no-contrast" is one word.
    """
    bare = re.sub(r"^[\W_]+", "", without_tags(text))
    bare = _ASIDE.sub(lambda aside: f" . {aside[0]} . " if _YES_OR_NO.search(aside[0]) else " ", bare)
    bare = _OPENING.sub("", bare)
    first, rest = (bare[:5], bare[5:]) if _HYPHEN.search(bare[:5]) else ("", bare)
    return _TOKEN.findall(first + _HYPHEN.sub(" ", rest))


def _yes_no_words(tokens: list[str], in_question: set[str], free: bool) -> set[Polarity]:
    """Polarities of the words yes and no that are an answer; "not yes" counts as no.

    Their synonyms (yeah, true, negative ...) are read only where neither yes nor no is said anywhere.
    free: a yes or no before a noun is an answer too, as in a Chinese text.
    """
    found: set[Polarity] = set()
    said = "yes" in tokens or "no" in tokens
    ends = _next_marks(tokens)
    for place, token in enumerate(tokens):
        polarity: Polarity | None = "yes" if token in _YES else "no" if token in _NO else None
        synonym = token not in ("yes", "no")
        if polarity is None or (synonym and said):
            continue
        if token not in _PLAIN_YES_NO and (place or token in in_question):
            continue
        if not free and _labels_another(tokens, place, in_question):
            continue
        end = ends[place]
        if end == place + 1 or (token in _PLAIN_YES_NO and (free or _is_apart(tokens, place + 1, end))):
            found.add(opposite(polarity) if place and tokens[place - 1] == "not" else polarity)
    return found


def _labels_another(tokens: list[str], place: int, in_question: set[str]) -> bool:
    """Whether a yes or no stands behind the label of another finding: "pneumothorax: no" to "is there an effusion?"."""
    if not place or tokens[place - 1] != ":":
        return False
    label = takewhile(lambda token: token[0].isalnum(), (tokens[at] for at in range(place - 2, -1, -1)))
    known = {singular(token) for token in in_question}
    return any(is_finding(word) and singular(word) not in known for word in label)


def _next_marks(tokens: list[str]) -> list[int]:
    """For each token the place of the next mark after it; the number of tokens where there is none."""
    ends, following = [0] * len(tokens), len(tokens)
    for place in range(len(tokens) - 1, -1, -1):
        ends[place] = following
        if not tokens[place][0].isalnum():
            following = place
    return ends


def _is_apart(tokens: list[str], start: int, end: int) -> bool:
    """Whether the words from start to end, after a yes or no, are no noun phrase of which it is the determiner."""
    first = tokens[start]
    starts_clause = first.partition("'")[0] in _CLAUSE_STARTS or first.endswith("n't")
    return starts_clause or all(tokens[at] in _MODIFIERS for at in range(start, end))
