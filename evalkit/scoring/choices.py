"""Reading of multiple-choice answers: the option whose letter or text an answer states, and nothing that is a guess.

A letter (or, where the prompt numbered the options, a number) or the text of an option counts where it is the answer
itself or follows an answer mark ("the answer is", see `text.answer_marks`).  An answer that states two different
options, or none, is not read, with the reason.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from evalkit.core.remembered import remembered
from evalkit.core.types import LETTERS
from evalkit.scoring.text.answer_marks import marked_parts, plain_answer, without_lead_in

EMPTY = "empty answer"
NONE = "names none of the options"
LETTER, NUMBER, TEXT, MARK = "a letter", "a number", "the text of an option", "after an answer mark"

_LABEL = re.compile(
    r"""^[\s("'\[{<“‘「【]*(?:(?:the\s+)?(?:options?|choices?|letters?|选项|第)\s*:?\s*)?([("\'\[{<“‘「【]*)
    ([A-Za-z]|\d{1,2})(?![\w'’.]*\d)
    ([)"'\]}>”’」】]*)(?P<rest>.*)$""",
    re.VERBOSE | re.DOTALL | re.IGNORECASE,
)
_DELIMITED = re.compile(r"\s*[.:)、。,;!](?!\w)|\s*[.:)、。](?=[^\W\d_]{2})|\s+[-–—]+\s|[-–—]+\s|\s*\n|\s*[-–—,.;:!]*$")
_GOES_ON = re.compile(
    r"[\s,]*(?:(?:because|since|as|due to|for|given|based on|which|is (?:the )?(?:correct|right|best))\b"
    r"|因为|选项|项?是正确)"
)
_ALSO = re.compile(
    r"(?:^|[\n(,/&;]|\b(?:or|and|not|nor|than|of|options?|choices?|answers?|maybe|perhaps|possibly|alternatively|otherwise|also|both|either|be)\b"
    r"|或者?|和|与|不是|而非)\s*[(\[]?([A-Z]|\d{1,2})(?![\w'’-])(?!\s+[a-z]+)"
)
_SEPARATORS = re.compile(r"\s*(?:[,、;/&+]|\band\b|\bor\b|和|与|及|或者?|\s)\s*", re.IGNORECASE)
_HESITATES = re.compile(r"\bor\b|或|/", re.IGNORECASE)
_BULLET = re.compile(r"^[-•–]\s+")
# A capital in a line of its own before the answer's text is a letter, and no article.
_LETTER_LINE = re.compile(r"[(\[]?[A-Z][)\]]?[.:]?[^\S\n]*\n")
_ARTICLE = re.compile(r"^(?:a|an|the)\s+(?=\S)")
_SENTENCE_END = re.compile(r"[.;。!]\s|[.;。!]$|,\s|，|\s(?:because|since|due to)\s")


class ChoiceReading(NamedTuple):
    """Labels of the options that an answer states, in order, and how; or none, with the reason.

    labels: letters ("B",), also where the answer gave a number or a text.
    """

    labels: tuple[str, ...] = ()
    rule: str = ""
    reason: str = ""


class _Options(NamedTuple):
    """The options of a row: their labels as the prompt shows them, and their texts in three degrees of folding.

    keys: text -> the letters of the options that have it, as in {"ct": "A", "mri": "B"}.
    """

    shown: tuple[str, ...]
    keys: tuple[dict[str, str], ...]
    several: bool

    @property
    def offered(self) -> str:
        return f"{self.shown[0]} to {self.shown[-1]}"


def read_choice(
    answer: str, options: tuple[str, ...], *, several: bool = False, numbered: bool = False
) -> ChoiceReading:
    """The option that an answer states.

    Args:
        several: more than one option may be stated, as in "A, C".
        numbered: the prompt numbered the options from 1, so a number is a label and a letter is none.

    >>> read_choice("The answer is (B).", ("CT", "MRI")).labels, read_choice("mri", ("CT", "MRI")).labels
    (('B',), ('B',))
    >>> read_choice("A or B", ("CT", "MRI")).reason, read_choice("A scan", ("CT", "MRI")).reason
    ('states A and B', 'names none of the options')
    """
    text = plain_answer(answer)
    if not any(char.isalnum() for char in text):
        signs = text and _of_text(text, _options(options, several, numbered))
        return signs if signs and signs.labels else ChoiceReading(reason=NONE if text else EMPTY)
    known = _options(options, several, numbered)
    lead = _read_part(without_lead_in(text), known)
    marked = [
        reading for part in marked_parts(text) if (reading := _read_part(without_lead_in(part), known)) != _NOTHING
    ]
    if not marked:
        return lead if lead != _NOTHING else _unread(text, known)
    readings = [r._replace(rule=f"{r.rule} {MARK}") if r.labels else r for r in marked]
    if lead != _NOTHING and lead.rule != TEXT and not _enumerates(text, known):
        readings.append(lead)
    return _agreed(readings)


_NOTHING = ChoiceReading(reason=NONE)


def _unread(text: str, known: _Options) -> ChoiceReading:
    """The reason why an answer is not read: it mentions several options by their texts, or states none."""
    named = _mentioned(text, known)
    return ChoiceReading(reason=_states("".join(named))) if len(named) > 1 else _NOTHING


def _agreed(readings: Sequence[ChoiceReading]) -> ChoiceReading:
    """The reading that all give; unread with a reason where two differ or one is unread."""
    for reading in readings:
        if not reading.labels:
            return reading
    found = {label: None for reading in readings for label in reading.labels}
    if any(set(reading.labels) != set(found) for reading in readings):
        return ChoiceReading(reason=_states(found))
    return readings[0]


def _states(labels: Iterable[str]) -> str:
    return f"states {' and '.join(sorted(labels))}"


@remembered
def _options(texts: tuple[str, ...], several: bool, numbered: bool) -> _Options:
    shown = tuple(str(k + 1) for k in range(len(texts))) if numbered else tuple(LETTERS[: len(texts)])
    keys: tuple[dict[str, str], ...] = ({}, {}, {})
    for letter, text in zip(LETTERS, texts, strict=False):
        for found, key in zip(keys, _forms(text), strict=True):
            found[key] = found.get(key, "") + letter
    return _Options(shown, keys, several)


@remembered
def _forms(text: str) -> tuple[str, str, str]:
    """An option's text in three degrees of folding: with single spaces, without case, and as a `_key`."""
    exact = _exact(plain_answer(text) or text)
    return exact, exact.casefold(), _key(exact)


def _exact(text: str) -> str:
    return " ".join(text.split())


@remembered
def _key(text: str) -> str:
    """A text as options are compared: folded, without outer quotes, final punctuation and a leading article.

    >>> _key("The left lung."), _key("'CT'"), _key("-5"), _key("+")
    ('left lung', 'ct', '-5', '+')
    """
    bare = _exact(text).casefold().lstrip("\"'“‘(").rstrip(".,:;!。\"'”’")
    if bare.endswith(")") and bare.count("(") < bare.count(")"):
        bare = bare[:-1]
    return _ARTICLE.sub("", bare.strip()) or text


def _of_text(text: str, known: _Options) -> ChoiceReading:
    """The option whose text this is, at the first degree of folding at which there is one."""
    exact = _exact(text)
    for keys, form in zip(known.keys, (exact, exact.casefold(), _key(exact)), strict=True):
        if labels := keys.get(form):
            one = len(labels) == 1
            return ChoiceReading(tuple(labels), TEXT) if one else ChoiceReading(reason=_states(labels))
    return _NOTHING


def _read_part(part: str, known: _Options) -> ChoiceReading:
    """The option that a part of an answer states as its own content."""
    part = _BULLET.sub("", part)
    if part.endswith("?"):
        return _NOTHING
    text = _NOTHING if _LETTER_LINE.match(part) else _of_text(part, known)
    label = _label(part, known)
    if text.labels and label.labels:
        same = set(text.labels) == set(label.labels)
        alone = label.rule in (LETTER, NUMBER) and len(_exact(part).strip("()[]. ")) <= 2
        return label if same else ChoiceReading(reason=_states({*text.labels, *label.labels})) if alone else text
    if text != _NOTHING:
        return text
    if label != _NOTHING:
        return label
    if known.several and (listed := _listed_texts(part, known)).labels:
        return listed
    cut = _SENTENCE_END.search(part)
    return _of_text(part[: cut.start()], known) if cut and len(_mentioned(part, known)) < 2 else _NOTHING


def mentioned(text: str, options: tuple[str, ...]) -> frozenset[str]:
    """Letters of the options whose texts are in a text as whole words, and not only inside of a longer one.

    >>> sorted(mentioned("a chest CT and an MRI", ("CT", "MRI", "chest CT")))
    ['B', 'C']
    """
    return frozenset(label for labels in _mentioned(text, _options(options, False, False)) for label in labels)


def _mentioned(part: str, known: _Options) -> list[str]:
    """The options whose texts are in a part as whole words, but not inside of a longer one that is; their labels."""
    text = _exact(part).casefold()
    found = [key for key in known.keys[1] if _has_phrase(text, key)]
    return [known.keys[1][key] for key in found if not any(key != other and _has_phrase(other, key) for other in found)]


def _has_phrase(text: str, phrase: str) -> bool:
    """Whether a phrase is in a text with no letter or digit directly before or after it."""
    at = text.find(phrase) if phrase else -1
    while at >= 0:
        if not text[at - 1 : at].isalnum() and not text[at + len(phrase) : at + len(phrase) + 1].isalnum():
            return True
        at = text.find(phrase, at + 1)
    return False


def _label(part: str, known: _Options) -> ChoiceReading:
    """The labels that a part starts with, if they stand there as labels and not as words."""
    found = _LABEL.match(part)
    if found and (own := _own_text_follows(found[2], found["rest"], known)) != _NOTHING:
        return own  # "B. A" of an option whose text is "A", which is no list
    listed = _listed_labels(part, known)
    if listed is not None:
        return listed
    if not found or (is_number := found[2].isdigit()) != known.shown[0].isdigit():
        return _NOTHING
    rest, written = found["rest"], found[2]
    closed = bool(found[3].strip("\"'"))
    if not _stands_apart(written, closed, rest):
        return _NOTHING
    label = written.upper()
    if label not in known.shown:
        return ChoiceReading(reason=f"names {label}, and the options are {known.offered}")
    letter = LETTERS[known.shown.index(label)]
    rule = NUMBER if is_number else LETTER
    return _checked(letter, label, rest.lstrip(" \t.:),;-–—、。").strip(), rule, known)


def _stands_apart(written: str, closed: bool, rest: str) -> bool:
    """Whether a letter or number is a label by what follows it."""
    if not rest.strip():
        return True
    if not (closed or _DELIMITED.match(rest) or (written.isupper() and _GOES_ON.match(rest))):
        return False
    # "e. coli", "S. aureus" are names; a label is followed by a new sentence, by a text of its own line or by nothing
    dotted = rest.startswith(".") and rest[1:].lstrip()[:1].islower()
    return closed or not dotted or bool(_GOES_ON.match(rest[1:]))


def _own_text_follows(written: str, rest: str, known: _Options) -> ChoiceReading:
    """The reading of "B MRI" and "B. mri", where the text of the label's own option follows; else none."""
    label = written.upper()
    if label in known.shown and rest[:1] in (" ", ".", ":", ")"):
        text = _of_text(rest.lstrip(" .:)"), known)
        letter = LETTERS[known.shown.index(label)]
        if text.labels == (letter,):
            return ChoiceReading((letter,), NUMBER if label.isdigit() else LETTER)
    return _NOTHING


def _checked(letter: str, label: str, rest: str, rule: str, known: _Options) -> ChoiceReading:
    """The reading of a label and the text behind it, which must not state another option."""
    own = next((key for key, labels in known.keys[1].items() if letter in labels), "")
    folded = _exact(rest).casefold()
    starts = [key for key in known.keys[1] if folded.startswith(key) and not folded[len(key) : len(key) + 1].isalnum()]
    if starts:
        longest = max(starts, key=len)
        if longest != own:
            return ChoiceReading(reason=_states({letter, *known.keys[1][longest]}))
        rest = rest[len(own) :]
    others = {found for found in _ALSO.findall(rest) if found != label and found.isdigit() == label.isdigit()}
    if others:
        return ChoiceReading(reason=_states({label, *others}))
    return ChoiceReading((letter,), rule)


def _listed_labels(part: str, known: _Options) -> ChoiceReading | None:
    """The reading of a list of labels ("A, C", "A and C", "AC", one a line); None where the part is no list."""
    bare = part.strip().rstrip(".。!")
    numbers = known.shown[0].isdigit()
    if not numbers and re.fullmatch(r"[A-Z]{2,}", bare):
        tokens = list(bare)
        if len(set(tokens)) < len(tokens):
            return None
    else:
        tokens = [token.strip("()[]\"'.:") for token in _SEPARATORS.split(bare)]
    if len(tokens) < 2 or any(token not in known.shown for token in tokens):
        return _labelled_lines(part, known) if known.several else None
    letters = tuple(dict.fromkeys(LETTERS[known.shown.index(token)] for token in tokens))
    if len(letters) == 1:  # "B. B" is no list
        return None
    if not known.several or _HESITATES.search(bare):
        return ChoiceReading(reason=_states(letters))
    return ChoiceReading(tuple(sorted(letters)), NUMBER if numbers else LETTER)


def _labelled_lines(part: str, known: _Options) -> ChoiceReading | None:
    """The reading of several lines that each state one option; None where one does not."""
    lines = [line.strip(" -•\t") for line in part.splitlines() if line.strip()]
    if len(lines) < 2:
        return None
    single = known._replace(several=False)
    readings = [_read_part(line, single) for line in lines]
    if not all(reading.labels for reading in readings):
        return None
    return ChoiceReading(tuple(sorted({label for r in readings for label in r.labels})), readings[0].rule)


def _listed_texts(part: str, known: _Options) -> ChoiceReading:
    """The reading of a list of options' texts ("CT and MRI")."""
    if _HESITATES.search(part):
        return _NOTHING
    pieces = re.split(r"\s*(?:[,;、，；\n]|\band\b|和|与)\s*", part.strip())
    readings = [_of_text(piece, known) for piece in pieces if piece]
    if not readings or not all(reading.labels for reading in readings):
        return _NOTHING
    return ChoiceReading(tuple(sorted({label for r in readings for label in r.labels})), TEXT)


def _enumerates(text: str, known: _Options) -> bool:
    """Whether an answer goes through the options one a line, so that the first one is not its answer."""
    heads = {found[1] for found in re.finditer(r"^\s*[-•]?\s*\(?([A-Z]|\d{1,2})[.):]", text, re.MULTILINE)}
    return len(heads & set(known.shown)) > 1
