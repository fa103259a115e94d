"""Options of a multiple-choice row, and its right answer as the texts of options, whatever the data state it as."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from evalkit.core.errors import DataError
from evalkit.core.types import LETTERS
from evalkit.tasks.table.values import listed, text_or_none

# "A. CT", "(B) MRI", "C: X-ray", "D) none"; a letter and its mark at the start of an option.
_LETTERED = re.compile(r"[(<]?([A-Za-z])(?:[)>]|[.:、．：]|\)\.)\s*(.*)", re.DOTALL)
# The same inside of one text: at its start, or after a line break, a semicolon, a bar or at least two spaces.
_MARK = re.compile(r"(?:(?:^|[\n;|]|\s{2,}|(?<=[,.;])\s)\s*\(?([A-Z])(?:\)|[.:])|\s*<([A-Z])>)\s*")
# "A. fumigatus": a letter that may be part of a name.
_NAME = re.compile(r"[A-Z]\.\s?[a-z][a-z-]{2,}\b.*", re.DOTALL)
_WHOLE = re.compile(r"(\d{1,6})(?:\.0+)?")
_LETTER_GOLD = re.compile(r"[(<]?([A-Za-z])(?:[)>]|[.:])?\.?")


def options_of(value: Any, where: str, *, names: bool = False) -> tuple[str, ...]:
    """The options in one field: a list, an object of letters, or a text that lists them; without their letters.

    Args:
        names: letters in front of one lower-case word are part of the texts (A. fumigatus, B. fragilis).

    Raises:
        DataError: the field holds something else, or a text that does not list options.
    """
    if isinstance(value, Mapping):
        by_key = {str(k).strip().upper(): text_or_none(v, f"{where} {k}") for k, v in value.items()}
        return _letters_off(_by_key(by_key, where), names)
    items = listed(value)
    if items is not None:
        return _letters_off(_without_blank_end([text_or_none(v, where) for v in items], where), names)
    text = text_or_none(value, where)
    return () if text is None or text == "[]" else _split(text, where, names)


def options_in_columns(values: Sequence[Any], where: str, *, names: bool = False) -> tuple[str, ...]:
    """The options in columns of their own; blank ones at the end are none.  names: see `options_of`."""
    return _letters_off(_without_blank_end([text_or_none(v, where) for v in values], where), names)


class QuestionParts(NamedTuple):
    """A question, and the options that it listed at its end."""

    question: str
    options: tuple[str, ...]


def options_in_question(question: str) -> QuestionParts:
    """A question without the options that it lists ("… use? <A> CT, <B> MRI"), and these; none where it lists none."""
    marks = _marks_in_order(question)
    if len(marks) < 2 or not question[: marks[0].start()].strip():
        return QuestionParts(question, ())
    return QuestionParts(question[: marks[0].start()].rstrip(), _between(marks, question))


def _by_key(options: Mapping[str, str | None], where: str) -> tuple[str, ...]:
    """The options of an object whose keys are their letters, in the order of the letters."""
    keys = sorted(options)
    if keys != list(LETTERS[: len(keys)]):
        raise DataError(
            f"{where}: an object of options with the keys {', '.join(options)}; expected A, B, C without gaps."
        )
    return _without_blank_end([options[key] for key in keys], where)


def _without_blank_end(texts: list[str | None], where: str) -> tuple[str, ...]:
    """The options before the blank ones at the end.  Raises DataError for a blank one in between."""
    while texts and texts[-1] is None:
        texts.pop()
    if None in texts:
        raise DataError(
            f"{where}: option {LETTERS[texts.index(None)]} is empty, but a later one is not. Fill it, or move the "
            "options together; their letters would otherwise be unclear."
        )
    return tuple(t for t in texts if t is not None)


def _letters_off(options: tuple[str, ...], names: bool) -> tuple[str, ...]:
    """The options in the order of the letters that they carry and without them, where these are A, B, C ... once each.

    Other letters in front of options ("C. difficile", "E. coli") belong to their texts, and so do those of names out of
    the order of letters.
    """
    found = [m for option in options if (m := _LETTERED.fullmatch(option.strip())) and m[2].strip()]
    carried = {m[1].upper(): m[2].strip() for m in found}
    if not options or len(found) != len(options) or sorted(carried) != list(LETTERS[: len(options)]):
        return options
    if may_be_names(options) and (names or list(carried) != sorted(carried)):
        return options
    return tuple(carried[letter] for letter in sorted(carried))


def carries_letter(option: str) -> bool:
    """Whether an option begins with a letter and a mark behind it, as in "A. CT"."""
    found = _LETTERED.fullmatch(option.strip())
    return found is not None and bool(found[2].strip())


def may_be_names(options: Sequence[str]) -> bool:
    """Whether the letters in front of all options could be of names, as in A. fumigatus."""
    return all(_NAME.fullmatch(option.strip()) for option in options)


def _split(text: str, where: str, names: bool) -> tuple[str, ...]:
    """The options that a text lists; see `options_of`."""
    in_order = _marks_in_order(text)
    if len(in_order) >= 2 and not text[: in_order[0].start()].strip():
        places = {m.start() for m in in_order}
        others = [m for m in _MARK.finditer(text) if m.start() not in places]
        at_lines = [m[1] for m in others if m[1] and (m[0].lstrip(" ")[:1] in "\n;|")]
        if at_lines:
            raise DataError(
                f"{where}: {text[:80]!r} has the letter {at_lines[0]} out of order; expected A, B, C without gaps."
            )
        return _between(in_order, text)
    for separator in ("\n", "|", ";"):
        parts = [part.strip() for part in text.split(separator)]
        if len(parts) >= 2 and all(parts):
            return _letters_off(tuple(parts), names)
    raise DataError(
        f"{where}: {text[:80]!r} does not list options. Expected a JSON list, or texts after A. B. C. in order, or "
        "separated by line breaks, '|' or ';'."
    )


def _marks_in_order(text: str) -> list[re.Match[str]]:
    """The marks A, B, C ... in a text, each the first one behind the mark before it."""
    found: list[re.Match[str]] = []
    for mark in _MARK.finditer(text):
        if len(found) < len(LETTERS) and (mark[1] or mark[2]) == LETTERS[len(found)]:
            found.append(mark)
    return found


def _between(marks: Sequence[re.Match[str]], text: str) -> tuple[str, ...]:
    """The texts behind the marks."""
    ends = [*(m.start() for m in marks[1:]), len(text)]
    return tuple(text[m.end() : end].strip(" \n\t;|,") for m, end in zip(marks, ends, strict=True))


def right_options(answer: Any, options: Sequence[str], base: int | None, where: str) -> tuple[str, ...]:
    """The texts of the right options.

    Args:
        answer: a letter, the text of an option, a number (an index from `base`), or a list of these.
        base: 0 or 1, the number of the first option; None where the data have no numbers.

    Raises:
        DataError: the answer names no option, or could name two.
    """
    if len(options) < 2:
        raise DataError(f"{where}: only {len(options)} option. Expected at least two.")
    if len(options) > len(LETTERS):
        raise DataError(f"{where}: {len(options)} options; letters reach to Z, so 26 are the most.")
    if doubled := sorted({o for o in options if options.count(o) > 1}):
        raise DataError(f"{where}: two options are equal ({doubled[0][:60]!r}), so a letter would name either.")
    items = listed(answer)
    texts = [text_or_none(item, where) for item in (items if items is not None else [answer])]
    found = [_resolve(text, options, base, where) for text in texts if text is not None]
    if not found:
        raise DataError(f"{where}: the answer is empty.")
    return tuple(dict.fromkeys(found))


def _resolve(text: str, options: Sequence[str], base: int | None, where: str) -> str:
    """The text of the option that one answer names.  Raises DataError where it names none, or could name two."""
    shown = f"{where}: the answer {text[:60]!r}"
    exact = [o for o in options if o == text] or [o for o in options if _plain(o) == _plain(text)]
    by_letter = _lettered_option(text, options)
    by_own_letter = _option_that_carries(text, options)
    by_number = _numbered_option(text, options, base)
    candidates = dict.fromkeys(
        [*exact, *([by_letter] if by_letter else []), *([by_number] if by_number else []), *by_own_letter]
    )
    if len(candidates) == 1:
        return next(iter(candidates))
    offered = ", ".join(f"{LETTERS[k]}: {o[:40]}" for k, o in enumerate(options))
    if candidates:
        raise DataError(f"{shown} could name {' or '.join(map(repr, candidates))} ({offered}). Give the option's text.")
    more = ""
    if base is None and whole_number(text) is not None:
        more = " If it is the number of an option, say where they start: task.first_option=0 or task.first_option=1."
    raise DataError(f"{shown} is none of the options ({offered}). Expected a letter or the text of one.{more}")


def _lettered_option(text: str, options: Sequence[str]) -> str | None:
    """The option of a letter ("B", "(b)", "B."), or of a letter with the option's own text after it ("B: MRI")."""
    if letter := _LETTER_GOLD.fullmatch(text.strip()):
        k = LETTERS.index(letter[1].upper())
        return options[k] if k < len(options) else None
    full = _LETTERED.fullmatch(text.strip())
    if full and (k := LETTERS.index(full[1].upper())) < len(options) and _plain(full[2]) == _plain(options[k]):
        return options[k]
    return None


def _option_that_carries(text: str, options: Sequence[str]) -> list[str]:
    """The options that carry an answer's letter in front, wherever they are."""
    letter = _LETTER_GOLD.fullmatch(text.strip())
    carried = [(m[1].upper(), o) for o in options if (m := _LETTERED.fullmatch(o.strip()))]
    return [o for own, o in carried if letter and own == letter[1].upper()]


def _numbered_option(text: str, options: Sequence[str], base: int | None) -> str | None:
    """The option of a number counted from `base`; None where the text is no number, or of no option."""
    if base is None or (number := whole_number(text)) is None:
        return None
    k = number - base
    return options[k] if 0 <= k < len(options) else None


def whole_number(value: object) -> int | None:
    """The number that a field holds ("2", 2, "2.0"); None for anything else."""
    found = _WHOLE.fullmatch(str(value).strip())
    return int(found[1]) if found else None


def _plain(text: str) -> str:
    """A text as options are compared: without case, single spaces, no full stop at the end."""
    return " ".join(text.casefold().split()).rstrip(".")
