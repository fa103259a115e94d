"""Reading a sentence that repeats a yes/no question as a statement: yes, or no with one negation of what was asked.

Only what is plain is read.  An answer is split into clauses; those that hold every content word of the question give
the polarity, if each of their words is known to leave the meaning alone.  Clauses about something else neither affirm
nor deny, and a clause that refers back ("but it has resolved") leaves the answer unscored.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Literal, NamedTuple

from evalkit.core.remembered import remembered
from evalkit.scoring.text.clauses import asks, clauses, content_words, held_words, sentences, spelled_out
from evalkit.scoring.text.medical import fold, plain_words, read_words
from evalkit.scoring.text.statement_words import (
    DENIAL,
    NEGATIONS,
    NORMALITY,
    OPPOSITES,
    PARTS,
    VERB,
    YES_NO,
    is_finding,
    is_frame,
    is_plain,
    is_plain_before_denial,
    is_plain_denied,
    singular,
)

Polarity = Literal["yes", "no"]
NO_ANSWER = "no yes or no in it"
REPEATS = "repeats the question"
CANNOT_TELL = "says that it cannot tell"
_OF_SOMETHING_ELSE = f"{NO_ANSWER}, and it denies something else"
_NOT_PLAIN = f"{NO_ANSWER}, and what it says is no plain statement of what was asked"
_DISAGREE = f"{NO_ANSWER}, and its sentences disagree"
_RESTATES = "restates the question"


class Restated(NamedTuple):
    """The polarity that a statement gives, or None with the reason; by_word: it is decided by a yes or no in it."""

    polarity: Polarity | None
    reason: str = ""
    rule: str = ""
    by_word: bool = False


_SAID = re.compile(r"\b(?:yes|yeah|yep|yup|no|nope|nah)\b")
_CHOICE_OF_ANSWERS = re.compile(r"\(?\byes\b\s*(?:/|,? or)\s*\bno\b\)?|\by/n\b")
_ITEM = re.compile(r"\s*,\s*(?:(?:and|or|nor)\b\s*)?|\s+(?:and|or|nor)\s+|\s*[/&]\s*")
_PLACE = re.compile(r"\b(?:of|in|on|at|within)\b.*")
_BESIDE_FINDINGS = YES_NO | {"without", "w/o", "sans"}
_ALTERNATIVE = re.compile(r"\bn?or\b|/")
_OTHER_SIGN = re.compile(r"[^\w\s.,;:!'\"()\[\]{}*`|<>=+#&%/?~^-]")
# Pronouns for the finding, and openings without a subject: they say more about the clause before.
_BACK = re.compile(
    r"\b(?:it|they|them|ones?|both|which|the (?:latter|former))\b|\b(?:this|that|these|those)(?= (?:is|are|was|were|has"
    r"|have|had)\b|$)|^(?:and |then |so )*(?:is|are|was|were|has|have|had|now|since|later|subsequently|then|currently"
    r"|not|already|completely|fully|partially|being|been)\b"
)
_CHANGED = re.compile(
    r"\b(?:resol\w+|resect\w+|remov\w+|heal\w+|disappear\w+|vanish\w+|gone|subsid\w+|clear(?:ed|ance|ing)|improv\w+"
    r"|treat\w+|drain\w+|replac\w+)\b"
)
_CHANGES = re.compile(r"\b(?:ones?|now|currently|today)\b")
_OPENING = re.compile(r"(?:in|with|within|on|at|during)\b[^,]*,")
_INSTRUCTS = re.compile(
    r"(?:please )?(?:find|identify|detect|observe|visuali[sz]e|see|show|display|demonstrate|reveal|depict|note)\b"
)
# "The fracture area is not shown" is about the area.
_ABOUT_AN_AREA = re.compile(r"\b(?:area|region|zone|field|border|margin|size|shape|space|side|base)s?\b")
_PAST = re.compile(r"\b(?:was|were|had|did)\b")
_PERCEIVED = re.compile(
    r"\b(?:seen|noted|identified|found|observed|detected|demonstrated|visuali[sz]ed|reported|shown)\b"
)


def opposite(polarity: Polarity) -> Polarity:
    """The other one of yes and no."""
    return "no" if polarity == "yes" else "yes"


class _Question(NamedTuple):
    """The folded question without "(yes or no)", its content words, and all its words."""

    text: str
    content: frozenset[str]
    words: frozenset[str]

    @property
    def lists(self) -> bool:
        return bool(_ITEM.search(self.text))

    @property
    def is_negative(self) -> bool:
        tokens = re.findall(r"[\w']+", self.text)
        return any(token in NEGATIONS | YES_NO or token.endswith("n't") for token in tokens)


@remembered
def _read_question(question: str) -> _Question:
    text = _CHOICE_OF_ANSWERS.sub(" ", fold(question))
    words = {*plain_words(text), *read_words(text).words}
    return _Question(text, content_words(text), frozenset(map(singular, words)))


def read_restatement(text: str, question: str) -> Restated:
    """Read a folded text without a stand-alone yes or no.  Questions in it never count.

    >>> read_restatement("pneumothorax is excluded, an effusion is seen", "Is there an effusion?").polarity
    'yes'
    >>> read_restatement("there was an effusion but it has resolved", "Is there an effusion?").polarity is None
    True
    """
    asked = _read_question(question)
    text = spelled_out(text)
    everything = sentences(text)
    parts = [part for part in everything if not asks(part, asked.text)]
    if everything and not parts:
        return Restated(None, REPEATS)
    if not asked.content:
        return Restated(None, NO_ANSWER)
    told: list[str] = []
    others: list[str] = []
    for part in parts:
        for clause in clauses(part, asked.content):
            (told if asked.content <= held_words(clause) else others).append(clause)
    if not told:
        echoed = any(asked.content <= held_words(part) for part in everything if part not in parts)
        whole = asked.content <= held_words(" ".join(parts))
        return Restated(None, REPEATS if echoed else _NOT_PLAIN if whole else NO_ANSWER)
    if asked.is_negative:
        return Restated(None, f"{NO_ANSWER}, and the question is negative")
    return _together([_read_clause(clause, asked) for clause in told], others, text, asked)


def _together(found: list[Restated], others: list[str], text: str, asked: _Question) -> Restated:
    first = found[0]
    if len({reading.polarity for reading in found}) > 1:
        return Restated(None, _DISAGREE)
    if first.polarity is None:
        return first
    # A yes or no about something else: swapped, it would have to change the reading too.
    if _SAID.search(text) and not all(reading.by_word for reading in found):
        return Restated(None, _OF_SOMETHING_ELSE)
    if not all(_leaves_it(clause, asked, first) for clause in others if _refers_back(clause, asked)):
        return Restated(None, _DISAGREE)
    return first


def _refers_back(clause: str, asked: _Question) -> bool:
    """Whether a clause says more about what was asked: by a pronoun, a word of it, or no subject of its own."""
    if _BACK.search(clause) or asked.content & held_words(clause):
        return True
    words = read_words(DENIAL.sub(" ", clause)).words
    short = len(words) < 3 and (bool(DENIAL.search(clause)) or not all(map(is_plain, words)))
    return (short or bool(_CHANGED.search(clause))) and not any(map(is_finding, words))


def _leaves_it(clause: str, asked: _Question, reading: Restated) -> bool:
    """Whether a clause that refers back leaves a reading as it is: as another denial of it, or by plain words alone."""
    if denials := [match[0] for match in DENIAL.finditer(clause)]:
        same = (_polarity(denials[0]), denials[0] in YES_NO) == (reading.polarity, reading.by_word)
        return len(denials) == 1 and same
    return not _CHANGES.search(clause) and _all_known(clause, asked, is_plain)


def _all_known(text: str, asked: _Question, known: Callable[[str], bool]) -> bool:
    """Whether each word of a text is known or in the question."""
    return all(known(word) or singular(word) in asked.words for word in read_words(text).words)


def _polarity(denial: str) -> Polarity:
    """The polarity that a denial gives; a yes in the place of a no affirms."""
    return "yes" if denial in YES_NO and denial.startswith("y") else "no"


def _read_clause(clause: str, asked: _Question) -> Restated:
    words = {singular(word) for word in read_words(clause).words}
    if _OTHER_SIGN.search(clause) or _is_of_a_part(clause, words, asked):
        return Restated(None, _NOT_PLAIN)
    if {"positive", "negative"} <= words:
        return Restated(None, "says both positive and negative")
    denials = [match for match in DENIAL.finditer(clause) if not _is_asked(match[0], asked)]
    if len(denials) > 1:
        return Restated(None, f"{NO_ANSWER}, but two negations")
    if denials:
        return _read_denial(clause, denials[0], asked)
    past = _PAST.search(clause) and not _PERCEIVED.search(clause) and not _PAST.search(asked.text)
    if past or not _all_known(clause, asked, is_plain) or not _in_one_item(clause, asked):
        return Restated(None, _NOT_PLAIN)
    return Restated("yes", rule=_RESTATES)


def _is_asked(denial: str, asked: _Question) -> bool:
    """Whether the question has the word itself ("Is the effusion resolved?")."""
    return denial not in NEGATIONS | YES_NO and bool(re.search(rf"\b{re.escape(denial)}\b", asked.text))


def _items(text: str, asked: _Question) -> list[str]:
    """The items of a list; a question that lists things itself asks for all of them as one."""
    return [text] if asked.lists else [item for item in _ITEM.split(text) if item.strip()]


def _in_one_item(clause: str, asked: _Question) -> bool:
    """Whether one item of the clause, with the subject of the clause, holds the whole content of the question."""
    verb = VERB.search(clause)
    subject = clause[: verb.start()] if verb else ""
    return any(asked.content <= held_words(f"{subject} {item}") for item in _items(clause, asked))


def _is_of_a_part(clause: str, words: set[str], asked: _Question) -> bool:
    """Whether a clause speaks of a part or a kind of what was asked, or of no case: "in pneumonia, the lungs …"."""
    opening = _OPENING.match(clause)
    if _INSTRUCTS.match(clause) or (opening and not asked.content & held_words(clause[opening.end() :])):
        return True
    if any(pair & asked.content and (pair - asked.content) & words for pair in OPPOSITES):
        return True
    return bool(NORMALITY & asked.content) and bool(PARTS & (words - asked.content))


def _read_denial(clause: str, denial: re.Match[str], asked: _Question) -> Restated:
    before, after = clause[: denial.start()], clause[denial.end() :]
    plain = _denies_after(before, after, denial, asked) or _denies_before(before, after, denial, asked)
    if plain:
        return Restated(_polarity(denial[0]), rule=_RESTATES, by_word=denial[0] in YES_NO)
    about_it = asked.content & (content_words(after) or content_words(before))
    return Restated(None, _NOT_PLAIN if about_it else _OF_SOMETHING_ELSE)


def _denies_after(before: str, after: str, denial: re.Match[str], asked: _Question) -> bool:
    """Whether a denial denies, of the items after it, the one that was asked for."""
    items = _items(after if asked.lists else after[: denied_end(after, bool(denial["next"]))], asked)
    if not items:
        return False
    place = _PLACE.search(items[-1])
    for item in items:
        # "no mass or cyst in the liver": the place belongs to each item
        here = item if item is items[-1] or not place else f"{item} {place[0]}"
        if asked.content & held_words(item) and asked.content <= held_words(f"{before} {here}"):
            return (
                _heads_it(item, asked)
                and _all_known(here, asked, is_plain_denied)
                and _opens_plainly(before, denial[0], asked)
            )
    return False


def _heads_it(item: str, asked: _Question) -> bool:
    """Whether an item is what was asked for, and not something in it ("no vessel in the mass")."""
    place = _PLACE.search(item)
    head = item[: place.start()] if place else item
    return bool(asked.content & held_words(head)) or all(map(is_frame, read_words(head).words))


def _opens_plainly(before: str, denial: str, asked: _Question) -> bool:
    """Whether what stands before a denial leaves it alone; another finding may ("consolidation without effusion")."""
    findings = denial in _BESIDE_FINDINGS
    return _all_known(before, asked, lambda word: is_plain_before_denial(word) or (findings and is_finding(word)))


def denied_end(after: str, lists_on: bool) -> int:
    """The end of what a denial denies in the text after it: the first item, or with "or" all up to the last one.

    lists_on: the denial goes on over a list ("no a, b or c"), as "excluded" does not.
    """
    joints = list(_ITEM.finditer(after))
    alternatives = [place for place, joint in enumerate(joints, start=1) if _ALTERNATIVE.search(joint[0])]
    last = alternatives[-1] if lists_on and alternatives else 0
    return joints[last].start() if last < len(joints) else len(after)


def _denies_before(before: str, after: str, denial: re.Match[str], asked: _Question) -> bool:
    """Whether a denial is the predicate of what stands before it: "pneumothorax is not seen", "pneumothorax: none"."""
    if (denial["next"] and re.match(r"\s*(?:in|on|at|within|of|from|for)\b", after)) or not all(
        map(is_plain_denied, read_words(after).words)
    ):
        return False
    items = _items(before, asked)
    joined = re.search(r"\b(?:are|were|have|both|either|neither)\b", before) and "," not in before
    return any(
        asked.content <= held_words(item)
        and _heads_it(item, asked)
        and not (_ABOUT_AN_AREA.search(item) and not _ABOUT_AN_AREA.search(asked.text))
        and _all_known(item, asked, is_plain_before_denial)
        for item in (items if joined else items[-1:])
    )
