"""Reading yes or no out of an answer: by whole words, with negation, contradiction and doubt."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Literal, NamedTuple

from evalkit.scoring.text.medical import fold, plain_words, read_words
from evalkit.scoring.text.normalise import CACHE, word_set

Polarity = Literal["yes", "no"]


class YesNoReading(NamedTuple):
    """The polarity of an answer, or None with the reason; `rule` names the rule that determined it."""

    polarity: Polarity | None
    reason: str = ""
    rule: str = ""


_YES = word_set("yes yeah yep yup true correct affirmative positive")
_NO = word_set("no nope nah false incorrect negative")
_PLAIN_YES_NO = word_set("yes yeah yep yup no nope nah")
_NEGATIONS = word_set("no not without absent never neither nor none cannot")
_DOUBT = re.compile(
    r"\b(?:unknown|unclear|unsure|uncertain|undetermined|indeterminate|inconclusive|not (?:sure|certain|clear|possible)"
    r"|n/a|(?:can ?not|can't|could not|couldn't|unable to|impossible to|difficult to|hard to)"
    r" (?:be )?(?:determined?|tell|told|say|said|answer(?:ed)?|assess(?:ed)?|see|confirm(?:ed)?|be)"
    r"|(?:do not|don't) know|(?:possibly|perhaps|maybe|might be|may be)|insufficient)\b"
    r"|不确定|不知道|无法|不清楚|可能"
)
_TOKEN = re.compile(r"[^\W_]+(?:'[^\W_]+)?|[.,;:!?\n]")
_CLAUSE_END = frozenset(".,;:!?\n")
_JOINERS = frozenset({"and", "or", "but"})
_CLAUSE_STARTS = _JOINERS | word_set("the there it its this that these those i we he she they because not yes no")

_FUNCTION_WORDS = word_set(
    """is are was were be been being am do does did has have had can could may might will would shall should there here
    this that these those it its in on at of for to from with by as or and any some image images picture pictures scan
    scans film slide photo photograph patient patient's shown show shows showing seen see visible present evidence
    evident sign signs appear appears noted identified demonstrated observed found depict depicts depicted contain
    contains what which you your we i"""
)

# longest first, so that a word is not read as a shorter word that it contains
_ZH_NO = (
    *("不是的", "不包含", "不包括", "不存在", "不可以", "不属于", "不正常", "不健康"),
    *("没有", "不是", "不能", "不会", "不对", "否", "无", "没", "不"),
)
_ZH_YES = ("是的", "都是", "有的", "对的", "包含", "包括", "存在", "可以", "属于", "是", "有", "能", "会", "对")
_ZH_ECHO = ("正常", "健康")
_ZH_EDGE = re.compile(r"[\s。，,.!！?？；;：:的]*")
_HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff]")


@lru_cache(maxsize=CACHE)
def gold_polarity(gold: str, question: str = "") -> Polarity | None:
    """yes or no if the gold answer is just that, else None.

    >>> gold_polarity("Yes"), gold_polarity("no."), gold_polarity("normal"), gold_polarity("不包含")
    ('yes', 'no', None, 'no')
    """
    text = fold(gold)
    if _HAN.search(text):
        return _chinese_word(_ZH_EDGE.sub("", text), question)
    words = plain_words(text)
    if len(words) != 1:
        return None
    return "yes" if words[0] == "yes" else "no" if words[0] == "no" else None


def _chinese_word(word: str, question: str) -> Polarity | None:
    bare = word.removesuffix("的")
    if bare in _ZH_ECHO:
        return "yes" if bare in question else None
    if bare.removeprefix("不") in _ZH_ECHO:
        return "no" if bare.removeprefix("不") in question else None
    if word in _ZH_NO or bare in _ZH_NO:
        return "no"
    return "yes" if word in _ZH_YES or bare in _ZH_YES else None


def read_yes_no(answer: str, question: str) -> YesNoReading:
    """Read a non-empty answer to a yes/no question.

    In this order: a leading yes or no (words such as true and negative only at the very start, or alone); a later yes,
    or a no that is not followed by a noun; doubt; a sentence that restates the question, which means yes, or no with
    one negation.  Two different yes/no words are a contradiction.  "no" before a noun ("no mass") is a negation, not
    an answer.

    >>> read_yes_no("Yes, it is abnormal", "Is it abnormal?").polarity
    'yes'
    >>> read_yes_no("There is no mass.", "Is there a mass?").polarity
    'no'
    >>> read_yes_no("Normal", "Is it enlarged?").polarity is None, read_yes_no("Yes and no.", "Is there?").reason
    (True, 'says both yes and no')
    """
    text = fold(answer)
    if _HAN.search(text):
        return _read_chinese(text, question)
    tokens = _TOKEN.findall(text)
    polarities = _yes_no_words(tokens)
    if len(polarities) == 2:
        return YesNoReading(None, "says both yes and no")
    if polarities:
        return YesNoReading(polarities.pop(), rule="verdict word")
    if _DOUBT.search(text):
        return YesNoReading(None, "says that it cannot tell")
    return _read_restatement(text, question)


def _yes_no_words(tokens: list[str]) -> set[Polarity]:
    """Polarities of the words yes and no that are at the start or a clause of their own; "not yes" counts as no."""
    found: set[Polarity] = set()
    for place, token in enumerate(tokens):
        polarity: Polarity | None = "yes" if token in _YES else "no" if token in _NO else None
        if polarity and (_is_leading_answer(tokens) if place == 0 else _is_later_answer(tokens, place)):
            found.add(_opposite(polarity) if place and tokens[place - 1] == "not" else polarity)
    return found


def _ends_clause(tokens: list[str], place: int) -> bool:
    return place + 1 == len(tokens) or tokens[place + 1] in _CLAUSE_END


def _is_leading_answer(tokens: list[str]) -> bool:
    """Whether the first word is an answer: "no the heart ..." starts with one, "no fracture" with a negation."""
    if tokens[0] in _PLAIN_YES_NO and tokens[0] != "no":
        return True
    return _ends_clause(tokens, 0) or (tokens[0] == "no" and tokens[1] in _CLAUSE_STARTS)


def _is_later_answer(tokens: list[str], place: int) -> bool:
    """Whether a later word is an answer: yes always is, no only if it is not followed by a noun."""
    word = tokens[place]
    if word not in _PLAIN_YES_NO:
        return False
    return word != "no" or _ends_clause(tokens, place) or tokens[place + 1] in _JOINERS


def _opposite(polarity: Polarity) -> Polarity:
    return "no" if polarity == "yes" else "yes"


@lru_cache(maxsize=CACHE)
def _content(text: str) -> frozenset[str]:
    """The content words, without plural s."""
    words = read_words(text).words
    kept = (word for word in words if word not in _FUNCTION_WORDS and word not in _NEGATIONS)
    return frozenset(word.removesuffix("s") if len(word) > 3 else word for word in kept if not word.endswith("n't"))


def _count_negations(text: str) -> int:
    return sum(token in _NEGATIONS or token.endswith("n't") for token in _TOKEN.findall(text))


def _read_restatement(text: str, question: str) -> YesNoReading:
    """Read a sentence that repeats every content word of the question: yes, or no if it has one negation."""
    content = _content(question)
    if not content or not content <= _content(text):
        return YesNoReading(None, "no yes or no in it")
    if _count_negations(fold(question)):
        return YesNoReading(None, "no yes or no in it, and the question is negative")
    denials = _count_negations(text)
    if denials > 1:
        return YesNoReading(None, "no yes or no in it, but two negations")
    return YesNoReading("no" if denials else "yes", rule="restates the question")


def _read_chinese(text: str, question: str) -> YesNoReading:
    """Read the first clause as a single word, else the only polarity that the verbs of the answer show."""
    clause = re.split(r"[。，,.!！?？；;\n]", text.strip(), maxsplit=1)[0].strip()
    whole = _chinese_word(clause, question)
    if whole:
        rest = text[text.find(clause) + len(clause) :]
        again = {_chinese_word(part.strip(), question) for part in re.split(r"[。，,.!！?？；;\n]", rest)}
        if _opposite(whole) in again:
            return YesNoReading(None, "says both yes and no")
        return YesNoReading(whole, rule="verdict word")
    if _DOUBT.search(text):
        return YesNoReading(None, "says that it cannot tell")
    remaining = text
    for word in _ZH_NO:
        remaining = remaining.replace(word, " ")
    denies, affirms = remaining != text, any(word in remaining for word in _ZH_YES if len(word) > 1 or word == "有")
    if denies and affirms:
        return YesNoReading(None, "says both yes and no")
    if denies or affirms:
        return YesNoReading("no" if denies else "yes", rule="the verb's polarity")
    return YesNoReading(None, "no yes or no in it")
