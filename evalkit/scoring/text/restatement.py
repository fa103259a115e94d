"""Reading a sentence that repeats a yes/no question as a statement: yes, or no with one negation of what was asked."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Literal, NamedTuple

from evalkit.scoring.text.medical import fold, plain_words, read_words
from evalkit.scoring.text.normalise import CACHE, word_set

Polarity = Literal["yes", "no"]
NO_ANSWER = "no yes or no in it"
REPEATS = "repeats the question"
_OF_SOMETHING_ELSE = f"{NO_ANSWER}, and it denies something else"
_RESTATES = "restates the question"


class Restated(NamedTuple):
    """The polarity that a statement gives, or None with the reason; by_word: it is decided by a yes or no in it."""

    polarity: Polarity | None
    reason: str = ""
    rule: str = ""
    by_word: bool = False


_YES_NO = word_set("yes yeah yep yup no nope nah")
_NEGATIONS = word_set("no not without absent never neither nor none cannot")
_FUNCTION_WORDS = word_set(
    """is are was were be been being am do does did has have had can could may might will would shall should there here
    this that these those it its in on at of for to from with by as or and any some image images picture pictures scan
    scans film slide photo photograph patient patient's shown show shows showing seen see visible present evidence
    evident sign signs appear appears noted identified demonstrated observed found depict depicts depicted contain
    contains what which you your we i"""
)
# Words after a negation that are not what it denies: "no longer seen", "not true that ...", "not currently".
_TRANSPARENT = word_set(
    """longer more currently now today anywhere all true correct right accurate case detected detectable demonstrable
    appreciated recognized recognised apparent discernible perceived revealed reported indicated suggested"""
)
# "No change in the mass" says that there is one, "not only a mass" too.
_NOT_OF_IT = word_set(
    "doubt question change changes interval growth increase decrease worsening improvement comparison only just merely"
)
# What a denial is made of: "the possibility of a mass is excluded" denies the mass.
_DENIED_NOUNS = word_set("possibility likelihood diagnosis finding findings evidence suspicion chance study exam")
_PLACES = word_set("in on at within near during by because since")

# Words and phrases that deny what stands before or around them.
_DENIES = (
    r"rul(?:e|es|ed|ing)(?: [\w-]+){0,4}[ -]out", r"r/o", r"exclud(?:e|es|ed|ing)", r"exclusion of", r"unlikely",
    r"less likely", r"improbable", r"impossible", r"resolved", r"resolution of", r"disappeared", r"vanished", r"gone",
    r"cleared", r"removed", r"resected", r"excised", r"healed", r"subsided", r"regressed", r"denie[sd]|deny",
    r"refute[sd]?", r"dismissed", r"rejected", r"discounted", r"negate[sd]?", r"against", r"nil",
    r"inconsistent", r"incompatible", r"negative", r"neg", r"absent", r"absence", r"neither", r"none", r"never",
    r"cannot", r"false", r"untrue", r"incorrect", r"wrong", r"missing", r"nothing", r"nowhere", r"zero", r"hardly",
    r"barely", r"scarcely", r"invisible", r"un(?:seen|detected|identified|demonstrated)", r"non-?existent",
    r"[ -]free(?=\s*(?:$|[.,;!]))",
)  # fmt: skip
# Words and phrases that deny what follows them.
_DENIES_NEXT = (
    r"no", r"nope", r"nah", r"yes", r"yeah", r"yep", r"yup", r"not", r"[a-z]+n't", r"without", r"w/o", r"sans", r"nor",
    r"(?:is|are|was|were|do|does|did|has|have|had|ca|could|would|should|wo)nt", r"neg(?:ative|\.)? for",
    r"absence of", r"lack(?:s|ed|ing)?(?: of)?", r"(?:free|freedom|clear|devoid|void|empty) (?:of|from)",
    r"unremarkable for", r"unable to",
    r"fail(?:s|ed|ing|ure)? to",
)  # fmt: skip
_DENIAL = re.compile(rf"\b(?:(?P<next>{'|'.join(reversed(_DENIES_NEXT))})|(?P<whole>{'|'.join(_DENIES)}))(?!\w)")
_SAID = re.compile(r"\b(?:yes|yeah|yep|yup|no|nope|nah)\b")
_JOINED_NOR = re.compile(r"\b(?:neither|not|no|yes)\b.*?\bnor\b")
_AGAINST = re.compile(
    r"\b(?:rather than|instead of|as opposed to|in place of|other than|apart from|except(?: for)?|anything but"
    r"|far from)\b"
)
_OF_THE_QUESTION = re.compile(r"\b(?:if|whether|question)\b")
# Doubt, what is looked for, and what was once: "possible", "check for", "history of", "low probability of".
_HEDGE = re.compile(
    r"\b(?:could|would|should|equivocal|questionable|doubt(?:ful|s|ed)?|possible|suspected|(?:history|hx) of|h/o|s/p"
    r"|(?:suspicion|suspicious) (?:of|for)|concern(?:ed|ing|s)? (?:for|of|about)|status post|previous(?:ly)?|formerly"
    r"|(?:evaluat(?:e|ed|ion)|assess(?:ed|ment)?|check(?:ed)?|look(?:ing)?|query|workup|follow[ -]?up) (?:for|of)"
    r"|used to|in the past|(?:little|scant|low|minimal|limited|weak|slim|poor) (?:evidence|probability|likelihood"
    r"|suspicion|chance|possibility|risk))\b"
)
# Signs for a denial in reports: "(-)", "-ve", "fracture: 0", "✗".
_SIGNS = re.compile(r"[(\[]\s*-\s*[)\]]|[❌✗✘✖]|(?<![\w-])-ve\b|:\s*(?:nil|0|n)\s*[.!]?\s*$")
# Marks and words at which another statement begins, so that a negation before them does not reach what follows.
_BREAK = re.compile(r"[.;:!?\n]|,|\b(?:and|with|while|whereas)\b")
_STATES = re.compile(
    r"\b(?:is|are|was|were|has|have|had|shows?|showed|demonstrates?|there|present|seen|noted|visible|evident|identified"
    r"|observed|found|appears?|contains?|normal)\b"
)
# A part of an answer that speaks of what was named before it: "... but it has since resolved", "... but is now normal".
_GOES_ON = re.compile(
    r"\W*(?:it|this|that|they|these|those|which|has|have|had|is|are|was|were|now|since|subsequently|later|currently)\b"
)
_UNDOES = re.compile(r"\b(?:normal|unremarkable|clear)\b")

_ASKS = re.compile(
    r"(?:question\s*:\s*)?(?:(?:is|are|was|were|am|do|does|did|isn't|aren't|doesn't|don't|what|which|where|how|who|why"
    r"|when|any)\b|(?:has|have|had|can|could|may|might|will|would|should) (?:the|this|that|there|these|those|it|he|she"
    r"|you|we|i|any)\b)"
)
# A question behind a lead-in: "in this image, does the ...", "please tell me: is there a ...".
_ASKS_LATER = re.compile(
    r"[^,:]{1,60}[,:] (?:is|are|was|were|do|does|did|has|have|had|can|could) "
    r"(?:the|this|that|there|these|those|it|he|she|any|a|an)\b(?! (?:is|are|was|were)\b)"
)
_SENTENCE = re.compile(
    r"(?<=[;!?\n])|(?<=\.)\s+|\n|,?\s+\b(?<!anything )(?:but|however|although|though|whereas|while)\b"
)
_CHOICE_OF_ANSWERS = re.compile(r"\(?\byes\b\s*(?:/|,? or)\s*\bno\b\)?|\by/n\b")


def opposite(polarity: Polarity) -> Polarity:
    """The other one of yes and no."""
    return "no" if polarity == "yes" else "yes"


@lru_cache(maxsize=CACHE)
def content_words(text: str) -> frozenset[str]:
    """The words of a text that carry its meaning, without plural s, negations, yes and no."""
    words = read_words(text).words
    left_out = _FUNCTION_WORDS | _NEGATIONS | _YES_NO
    return frozenset(
        word.removesuffix("s") if len(word) > 3 else word
        for word in words
        if word not in left_out and not word.endswith("n't")
    )


@lru_cache(maxsize=CACHE)
def _asked(question: str) -> str:
    """The folded question without "(yes or no)"."""
    return _CHOICE_OF_ANSWERS.sub(" ", fold(question))


def sentences(text: str) -> list[str]:
    """The sentences of a folded text; "but" and "however" start another one."""
    return [part.strip() for part in _SENTENCE.split(text) if re.search(r"\w", part)]


def _is_question(sentence: str, asked: str) -> bool:
    bare = sentence.lstrip("\"'(*_-> ")
    return (
        sentence.rstrip("\"')*_ ").endswith("?")
        or bool(_ASKS.match(bare) or _ASKS_LATER.match(bare))
        or _holds_question(plain_words(sentence), asked)
    )


def _holds_question(words: tuple[str, ...], asked: str) -> bool:
    """Whether the words are the question; or hold it, where its word order shows that it is asked."""
    question = plain_words(asked)
    if not _ASKS.match(asked) or len(question) < len(("is", "there", "mass")):
        return words == question
    return any(words[at : at + len(question)] == question for at in range(len(words) - len(question) + 1))


def repeats(text: str, asked: str) -> bool:
    """Whether a folded text is nothing but a folded question, once or several times."""
    question = plain_words(asked)
    parts = [plain_words(part.removeprefix("question:")) for part in sentences(text)]
    return bool(question) and (plain_words(text) == question or (bool(parts) and all(p == question for p in parts)))


def only_asks(text: str, question: str) -> bool:
    """Whether a folded text has sentences, and all of them are questions."""
    parts, asked = sentences(text), _asked(question)
    return bool(parts) and all(_is_question(part, asked) for part in parts)


def denied_phrases(text: str, known: str) -> list[str]:
    """The words of a folded text that deny or set aside something, other than "not X", "no X" and "without X".

    known: a folded text whose own such words do not count: a question, options.
    """
    found = [m[0].strip() for m in (*_DENIAL.finditer(text), *_AGAINST.finditer(text))]
    return [word for word in found if word not in _NEGATIONS | _YES_NO or word == "cannot" if word not in known]


def read_restatement(text: str, question: str) -> Restated:
    """Read a folded text without a stand-alone yes or no.

    Only the sentences with every content word of the question count, and questions never do.  Of its negations only
    those count that deny a word of the question: "a mass without calcification" does not deny the mass.
    """
    asked = _asked(question)
    content = content_words(asked)
    everything = sentences(_SIGNS.sub(" negative ", text))
    parts = [part for part in everything if not _is_question(part, asked)]
    if everything and not parts:
        return Restated(None, REPEATS)
    if not content:
        return Restated(None, NO_ANSWER)
    told = [part for part in parts if content <= content_words(part)]
    if not told and not content <= content_words(" ".join(parts)):
        return Restated(None, NO_ANSWER)
    if any(token in _NEGATIONS | _YES_NO or token.endswith("n't") for token in re.findall(r"[\w']+", asked)):
        return Restated(None, f"{NO_ANSWER}, and the question is negative")
    found = [_read_sentence(part, asked, content) for part in told or [" ".join(parts)]]
    if len({reading.polarity for reading in found}) > 1:
        return Restated(None, f"{NO_ANSWER}, and its sentences disagree")
    if told and any(_takes_back(part, asked) for part in everything if part not in told):
        return Restated(None, f"{NO_ANSWER}, and it takes back what it says")
    # A yes or no about something else: swapped, it would have to change the reading too.
    if found[0].polarity and _SAID.search(text) and not all(reading.by_word for reading in found):
        return Restated(None, _OF_SOMETHING_ELSE)
    return found[0]


def _takes_back(part: str, asked: str) -> bool:
    """Whether a part of an answer denies what the part before it says: "... but it has resolved"."""
    if _GOES_ON.match(part) is None or part.endswith("?"):
        return False
    undone = _says(_UNDOES, part) - _says(_UNDOES, asked)
    return bool(undone) or any(denial.about is None for denial in _denials(part, asked))


def _read_sentence(sentence: str, asked: str, content: frozenset[str]) -> Restated:
    if _AGAINST.search(sentence) and not _AGAINST.search(asked):
        return Restated(None, f"{NO_ANSWER}, and it names one thing instead of another")
    if _OF_THE_QUESTION.search(sentence) and not _OF_THE_QUESTION.search(asked):
        return Restated(None, REPEATS)
    if _says(_HEDGE, sentence) - _says(_HEDGE, asked):
        return Restated(None, "says that it cannot tell")
    denials = _denials(sentence, asked)
    ours = [denial for denial in denials if denial.about is None or denial.about & content]
    if len(ours) > 1 or ({"positive", "negative"} <= set(re.findall(r"\w+", sentence))):
        return Restated(None, f"{NO_ANSWER}, but two negations" if len(ours) > 1 else "says both positive and negative")
    if denials and not ours:
        return Restated(None, _OF_SOMETHING_ELSE)
    word = ours[0].word if ours else ""
    if word in _YES_NO:
        return Restated("yes" if word.startswith("y") else "no", rule=_RESTATES, by_word=True)
    return Restated("no" if ours else "yes", rule=_RESTATES)


def _says(pattern: re.Pattern[str], text: str) -> set[str]:
    return {match[0] for match in pattern.finditer(text)}


class _Denial(NamedTuple):
    """A negation, or a yes in its place; about: the content words that it denies, None for the whole sentence."""

    word: str
    about: frozenset[str] | None


def _denials(sentence: str, asked: str) -> list[_Denial]:
    """The negations of a sentence that the question does not have itself ("Is the effusion resolved?")."""
    found: list[_Denial] = []
    sentence = _JOINED_NOR.sub(lambda match: f"{match[0][:-3]}or", sentence)
    for match in _DENIAL.finditer(sentence):
        word = match[0]
        if word not in _NEGATIONS | _YES_NO and re.search(rf"\b{re.escape(word)}\b", asked):
            continue
        about = _denied(sentence[match.end() :]) if match["next"] else _clause_words(sentence, match)
        found.append(_Denial(word, about or None))
    return found


def _clause_words(sentence: str, match: re.Match[str]) -> frozenset[str]:
    """The content words of the clause around a denial; empty where it has none ("..., which is unlikely")."""
    start, end = 0, len(sentence)
    for at in _BREAK.finditer(sentence):
        if not _separates(sentence, at, start):
            continue
        if at.end() <= match.start():
            start = at.end()
        elif at.start() >= match.end():
            end = at.start()
            break
    return (
        content_words(f"{sentence[start : match.start()]} {sentence[match.end() : end]}")
        - _DENIED_NOUNS
        - _PLACES
        - _TRANSPARENT
    )


def _separates(sentence: str, at: re.Match[str], start: int) -> bool:
    """Whether a mark or word begins another statement: "and" does where both sides state something."""
    if at[0] != "and":
        return True
    return bool(_STATES.search(sentence, start, at.start()) and _STATES.search(sentence, at.end()))


def _denied(rest: str) -> frozenset[str]:
    """The content words that a negation before `rest` is about; empty where it is about what stands before it."""
    if again := _DENIAL.search(rest):
        rest = rest[: again.start()]
    for at in _BREAK.finditer(rest):
        # The denial reaches along a list ("no mass, nodule or cyst"), not into another statement ("no mass, a cyst is
        # seen").
        following = rest[at.end() :]
        is_list = at[0] in (",", "and") and (re.search(r"\b(?:or|nor)\b", following) or not _STATES.search(following))
        if at[0] not in ("with",) and not is_list:
            rest = rest[: at.start()]
            break
    kept: list[str] = []
    for word in re.findall(r"[\w'-]+", rest):
        if word in _PLACES:
            break
        if word not in _TRANSPARENT:
            kept.append(word)
    first = next((word for word in kept if word not in _FUNCTION_WORDS), "")
    return frozenset({first}) if first in _NOT_OF_IT else content_words(" ".join(kept))
