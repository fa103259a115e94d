"""Sentences and clauses of an English answer, and which of them only ask."""

from __future__ import annotations

import re

from evalkit.core.remembered import remembered
from evalkit.scoring.text.medical import find_phrase, plain_words, read_words
from evalkit.scoring.text.normalise import short_blanks
from evalkit.scoring.text.statement_words import DENIAL, FUNCTION_WORDS, NEGATIONS, VERB, YES_NO, singular

_AUXILIARY = (
    r"is|are|was|were|do|does|did|has|have|had|can|could|may|might|will|would|should|isn't|aren't|doesn't|don't"
)
_SUBJECT = r"the|this|that|there|these|those|it|he|she|you|we|i|a|an|any|patients?"
_ASKS = re.compile(
    r"(?:question\s*:\s*)?(?:(?:is|are|was|were|am|do|does|did|isn't|aren't|doesn't|don't|what|which|where|how|who|why"
    rf"|when|any)\b|(?:{_AUXILIARY}) (?:{_SUBJECT})\b)"
)
# A question behind a lead-in: "in this image, does the patient …", "please tell me: is there …", "asks does the …".
_ASKS_LATER = re.compile(
    r"(?:[,:;(\"'-]|\b(?:asks?|asked|asking|tell me|(?<!the )(?<!my )(?<!final )(?<!correct )answer|know|determine"
    r"|describe|question(?: is)?|wonder(?:ing)?|if|whether|hi|hello|please))"
    rf"\s*(?:(?:{_AUXILIARY}) (?:{_SUBJECT})\b|(?:does|do|did) )"
    r"|\b(?:does|do|did) (?:the|this|that|there|it|any|patients?)\b"
)
# Signs in the place of words: "pneumothorax (-)", "effusion: -", "-ve for fracture".
_SIGNS = (
    (re.compile(r"[(\[]\s*-+\s*(?:ve)?\s*[)\]]|(?<!\w)-ve\b|[❌✗✘✖☒🚫]|(?<=\w|:)\s+-+\s*(?=[,;.]|$)"), " negative "),
    (re.compile(r"[(\[]\s*\++\s*(?:ve)?\s*[)\]]|(?<!\w)\+ve\b|[✓✔✅☑]"), " positive "),
    (re.compile(r"\bpositive for\b"), " positive "),
    (re.compile(r"\bevidence for\b"), " evidence of "),
    (re.compile(r"\b(?:to|toward|towards) (?:the|his|her) (left|right)\b"), r"\1"),
    (re.compile(r"(?:^|(?<=[\s:,]))\?+\s*(?=\w)"), " query "),
    (re.compile(r"\b(there|it|that|here)'s\b"), r"\1 is"),
    (re.compile(r"(?<=[^\W\d_])-(?=[^\W_])"), " "),
)
_NOR = re.compile(r"\bnor\b")
# One denial: "neither a nor b".
_DENIED_NOR = re.compile(r"\b((?:neither|not|no|yes)\b[^.;!?\n]*?)\bnor\b")
# "</s>", "<|im_end|>", "<answer>": ends of text and marks around an answer, which are not words of it.
_TAG = re.compile(r"<[|/]?\s?[a-z][^<>\n]{0,30}>")
_SENTENCE = re.compile(
    r"(?<=[;!?\n])|(?<=\.)\s+|\n|(?<!\banything)(?<!\bnothing)(?<!\ball),?\s+\b(?:but|however|although|though|whereas"
    r"|while|yet)\b"
)
_JOINT = re.compile(r"(\s*,\s*(?:and\b\s*)?|\s+and\s+|\s+-+\s+|\s*:\s+)")
_OWN_SUBJECT = re.compile(
    r"(?:there|it|they|he|she|this|these|the|a|an)\b.*?\b(?:is|are|was|were|has|have|had|shows?)\b"
)
_ADJUNCT = re.compile(r"(?:in|on|at|with|within|during)\b")
_OWN_DENIAL = re.compile(r"(?:(?:with|there is|there are) )?(?:no|yes|without|negative for|free of)\b\s*(.*)")


@remembered
def content_words(text: str) -> frozenset[str]:
    """The words of a text that carry its meaning, after aliases, without plural s, negations, yes and no."""
    return _content(read_words(text).words)


@remembered
def held_words(text: str) -> frozenset[str]:
    """`content_words` and the words as written: an "enlarged heart" holds heart, enlarged and cardiomegaly."""
    return content_words(text) | _content(plain_words(text))


def _content(words: tuple[str, ...]) -> frozenset[str]:
    left_out = FUNCTION_WORDS | NEGATIONS | YES_NO
    return frozenset(singular(word) for word in words if word not in left_out and not word.endswith("n't"))


def without_tags(text: str) -> str:
    """A folded text with a new line for each tag, and without long runs of white space."""
    return _TAG.sub("\n", short_blanks(text))


def spelled_out(text: str) -> str:
    """A folded text with words for the signs that stand for them, without hyphens between words."""
    for sign, words in _SIGNS:
        text = sign.sub(words, text)
    # Without the word, each denial of a long answer would be searched to its end.
    return _DENIED_NOR.sub(r"\1or", text) if _NOR.search(text) else text


def sentences(text: str) -> list[str]:
    """The sentences of a folded text; "but" and "however" start another one."""
    return [part.strip() for part in _SENTENCE.split(text) if re.search(r"\w", part)]


def asks(sentence: str, asked: str) -> bool:
    """Whether a sentence is a question, or holds the folded question `asked` word for word."""
    words, question = plain_words(sentence), plain_words(asked)
    return (
        sentence.rstrip("\"')*_ ").endswith("?")
        or bool(_ASKS.match(sentence.lstrip("\"'(*_-> ")) or _ASKS_LATER.search(sentence))
        or words == question
        or bool(_ASKS.match(asked) and len(question) > 2 and find_phrase(words, question))
    )


def clauses(sentence: str, content: frozenset[str]) -> list[str]:
    """The clauses of a sentence; the items of a list stay together.

    "no effusion, consolidation or pneumothorax is seen" is one, "no effusion is seen, pneumothorax is present" two.
    content: the content words of the question, of which a heading may consist ("Pneumothorax: none" is one clause).
    """
    first, *rest = _JOINT.split(sentence)
    found = [first]
    for joint, part in zip(rest[::2], rest[1::2], strict=True):
        if joint.strip() in ("", ",", ", and", "and", ",and"):
            apart = _starts_clause(found[-1], part)
        else:
            apart, joint = bool(content_words(DENIAL.sub(" ", part)) and not content_words(found[-1]) <= content), " "
        if apart:
            found.append(part)
        else:
            found[-1] += joint + part
    return [clause.strip() for clause in found if re.search(r"\w", clause)]


def _starts_clause(before: str, part: str) -> bool:
    if re.match(r"n?or\b", part) or (_ADJUNCT.match(before) and not VERB.search(before)):
        return False
    if denial := _OWN_DENIAL.match(part):
        return any(word not in FUNCTION_WORDS for word in plain_words(DENIAL.split(denial[1])[0]))
    return bool(_OWN_SUBJECT.match(part) or (VERB.search(part) and VERB.search(before)))
