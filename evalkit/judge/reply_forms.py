"""Forms of replies that other authors' judges give: where the label is, and the credit of each label.

A judge's YAML names its form under `reply`; without one a judge replies in evalkit's own JSON.  No form reads a label
out of prose: a reply without exactly one label is unreadable and gives no number.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from evalkit.core.errors import ConfigError, did_you_mean

_KEYS = ("form", "name", "credit")
# A referee's form: its reply is read against the options of the row (`parse_response`), not out of a label.
OPTION = "option"
RIGHT_OR_WRONG = ("right", "wrong")
# A failed attempt to parse JSON takes time proportional to the text, so a reply of braces alone would take too long.
MAX_FAILED_BRACES = 100
_QUOTES = " \t\r\n\"'`*_"
_ENDS = _QUOTES + ".,;:!"
_BROKEN_OBJECT = re.compile(r'\{\s*"')
_BRACE = re.compile(r"[{}]")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplyForm:
    """Where a reply has its label, and how a label becomes a credit.

    form: "tag" (<NAME>label</NAME>), "brackets" ([Begin NAME] label [End NAME]), "json" (the value of the key NAME of
    an object), "line" (NAME: label, or NAME = label, at the end of a line), "word" (the reply is the label) or "option"
    (the reply names one of the row's options; the labels are right and wrong).
    name: of the tag, brackets, key or line; "" for a word and for an option.
    credit: label in lower case -> 0 to 1; a label that is not among them is unreadable.
    """

    form: str
    name: str = ""
    credit: Mapping[str, float] = field(default_factory=dict)

    def label_of(self, body: str) -> str | None:
        """The one label of a reply; None where there is none, or where there are several different ones."""
        texts = list(FORMS[self.form](body, self.name))
        if not texts and self.form == "tag":
            texts = [body]  # as for MedEvalKit, whose reader takes a reply without tags whole
        found = {self._known(text) for text in texts}
        return found.pop() if len(found) == 1 else None

    def _known(self, text: str) -> str | None:
        """A label as the YAML writes it.

        As the authors' readers do, a tag's is taken as it is, and one in brackets may be followed by words that hold
        the letters of no other label.
        """
        bare = (text.strip() if self.form == "tag" else _bare(text)).lower()
        if bare in self.credit:
            return bare
        first = bare.split()[0].strip(_ENDS) if bare and self.form == "brackets" else ""
        holds_another = any(label in bare for label in self.credit if label != first)
        return first if first in self.credit and not holds_another else None

    def described(self) -> str:
        """The form in a few words, for messages and signatures: tag judge (0=1, 1=0)."""
        credits = ", ".join(f"{label}={credit:g}" for label, credit in self.credit.items())
        return f"{self.form} {self.name}".strip() + f" ({credits})"


def reply_form(content: Any, where: str) -> ReplyForm:
    """The form in a judge's YAML.  Raises ConfigError, which names the key that is wrong."""
    if not isinstance(content, Mapping):
        raise ConfigError(f"{where} is {content!r}, expected a mapping with form, name and credit (docs/judge.md).")
    for key in content:
        if key not in _KEYS:
            raise ConfigError(f"{where}.{key} is not a setting. {did_you_mean(str(key), _KEYS)}")
    form, name = str(content.get("form")), str(content.get("name") or "")
    if form not in FORMS:
        raise ConfigError(f"{where}.form={form} is not a valid value. {did_you_mean(form, FORMS)}")
    is_bare = form in ("word", OPTION)
    if bool(name) == is_bare:
        rule = "has no name" if is_bare else "needs the name of its tag, brackets, key or line"
        raise ConfigError(f"{where}.name={name!r}: the form {form} {rule}.")
    given = content.get("credit")
    if not isinstance(given, Mapping) or len(given) < 2 or not all(map(_is_credit, given.values())):
        raise ConfigError(
            f"{where}.credit is {given!r}, expected two labels or more, each with its credit from 0 to 1, such as "
            "{'0': 1, '1': 0} for a judge that replies 0 for a right answer."
        )
    credit = {_text(label): float(value) for label, value in given.items()}
    if len(credit) < len(given):
        raise ConfigError(f"{where}.credit has two labels that differ in letters alone: {', '.join(map(str, given))}.")
    if form == OPTION and set(credit) != set(RIGHT_OR_WRONG):
        raise ConfigError(f"{where}.credit is {given!r}; under the form option its labels are right and wrong.")
    return ReplyForm(form=form, name=name, credit=credit)


def _is_credit(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1


def _text(label: Any) -> str:
    """A label as text: 1.0 and true are 1, as a judge that replies in JSON may write either; 0.9999999 is not."""
    is_whole = isinstance(label, bool | int) or (isinstance(label, float) and label.is_integer())
    return str(int(label)) if is_whole else str(label).strip().lower()


def _bare(text: str) -> str:
    """A text without the signs around it; those in front of a digit stay, as .1 is not 1.

    >>> _bare(' **Yes**. '), _bare("'3',"), _bare(".3")
    ('Yes', '3', '.3')
    """
    inner = text.lstrip(_ENDS)
    return (text.lstrip(_QUOTES) if inner[:1].isdecimal() else inner).rstrip(_ENDS)


def majority(labels: Sequence[str]) -> str | None:
    """The label of more than half of the rounds; None where no label has so many."""
    (label, count), *_ = Counter(labels).most_common(1)
    return label if 2 * count > len(labels) else None


def has_other_tags(whole: str, body: str, form: ReplyForm) -> bool:
    """Whether a reply in tags has more than its one label, thought included, or a label without tags after a thought.

    MedEvalKit joins the contents of all tags of the whole reply, so that each of these is another label for it; a tag
    that is only opened takes in what follows.
    """
    n = max(whole.count(f"<{form.name}>"), whole.count(f"</{form.name}>"))
    is_bare = n == 0 and whole == body
    return form.form == "tag" and not is_bare and (n != 1 or f"<{form.name}>" not in body)


def _tags(body: str, name: str) -> Iterable[str]:
    """The contents of the tags, whose letters are as the authors write them."""
    return _between(body, f"<{name}>", f"</{name}>")


def _brackets(body: str, name: str) -> Iterable[str]:
    return _between(body.lower(), f"[begin {name.lower()}]", f"[end {name.lower()}]")


def _between(text: str, opening: str, closing: str) -> Iterator[str]:
    """The texts between two marks, in time proportional to the text."""
    start = text.find(opening)
    while start >= 0 and (end := text.find(closing, start)) >= 0:
        yield text[start + len(opening) : end]
        start = text.find(opening, end)


def _values(body: str, name: str) -> Iterable[str]:
    found = [o[name] for o in json_objects(body) if name in o]
    return [_text(value) if isinstance(value, str | bool | int | float) else json.dumps(value) for value in found]


def _lines(body: str, name: str) -> Iterable[str]:
    """What follows the name in its line; the last such line counts, as a judge repeats the form before it decides."""
    return re.findall(rf"\b{re.escape(name)}[ \t*]*[:=](.*)$", body, re.MULTILINE | re.IGNORECASE)[-1:]


def _whole(body: str, name: str) -> Iterable[str]:
    del name
    return [body]


# Form -> the texts in a reply that may be its label.
FORMS: Mapping[str, Callable[[str, str], Iterable[str]]] = {
    "tag": _tags,
    "brackets": _brackets,
    "json": _values,
    "line": _lines,
    "word": _whole,
    OPTION: _whole,
}


def json_objects(text: str) -> Iterator[Mapping[str, Any]]:
    """The outermost JSON objects in a text, in order; skips text that is not JSON, up to MAX_FAILED_BRACES times.

    An object that has begun and is no JSON is skipped whole: what it holds is not outermost, nor is anything behind it
    where it never closes.  One that has a key twice comes once for each value of the key.
    """
    decoder = json.JSONDecoder(object_pairs_hook=_readings)
    position = text.find("{")
    failed = 0
    while position >= 0 and failed < MAX_FAILED_BRACES:
        try:
            readings, end = decoder.raw_decode(text, position)
        except (ValueError, RecursionError):
            failed += 1
            end = _closing(text, position) if _BROKEN_OBJECT.match(text, position) else position + 1
        else:
            yield from readings
        position = text.find("{", end)


def _readings(pairs: Sequence[tuple[str, Any]]) -> list[Mapping[str, Any]]:
    """An object as its values can be read: one where each key occurs once, else one for each of its pairs."""
    whole = dict(pairs)
    return [whole] if len(whole) == len(pairs) else [whole | {key: value} for key, value in pairs]


def _closing(text: str, start: int) -> int:
    """The place behind the brace that closes the one at `start`, or the end of the text."""
    depth = 0
    for brace in _BRACE.finditer(text, start):
        depth += 1 if brace[0] == "{" else -1
        if depth == 0:
            return brace.end()
    return len(text)
