"""Options of a multiple-choice row, and its right answer as the texts of options, whatever the data state it as."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from evalkit.core.errors import DataError
from evalkit.core.types import LETTERS
from evalkit.tasks.table.values import lettered_object, listed, text_or_none

# "A. CT", "(B) MRI", "C: X-ray", "D) none"; a letter and its mark at the start of an option.
_LETTERED = re.compile(r"[(<]?([A-Za-z])(?:[)>]|[.:、．：]|\)\.)\s*(.*)", re.DOTALL)
# The same inside of one text: at its start, or after a line break, a semicolon, a bar or at least two spaces.
_MARK = re.compile(r"(?:(?:^|[\n;|]|\s{2,}|(?<=[,.;])\s)\s*\(?([A-Z])(?:\)|[.:])|\s*<([A-Z])>)[^\S\n]*")
# "1. CT", "(2) MRI" in a line of their own.
_NUMBERED_LINE = re.compile(r"^[^\S\n]*\(?(\d{1,2})[.):][^\S\n]*\S", re.MULTILINE)
# "A. fumigatus": a letter that may be part of a name.
_NAME = re.compile(r"[A-Z]\.\s?[a-z][a-z-]{2,}\b.*", re.DOTALL)
_WHOLE = re.compile(r"(\d{1,6})(?:\.0+)?")
_LETTER_GOLD = re.compile(r"[(<]?([A-Za-z])(?:[)>]|[.:])?\.?")


def options_as_written(value: Any, where: str) -> tuple[str, ...]:
    """The options in one field, with the letters that they carry: a list, an object of letters, or a text that lists
    them, also as JSON; none where it is blank.

    Raises:
        DataError: the field holds something else, or a text that does not list options.
    """
    value = lettered_object(value)
    if isinstance(value, Mapping):
        by_key = {str(k).strip().upper(): text_or_none(v, f"{where} {k}") for k, v in value.items()}
        return _by_key(by_key, where)
    items = listed(value)
    if items is not None:
        return _without_blank_end([text_or_none(v, where) for v in items], where)
    text = text_or_none(value, where)
    return () if text is None or text == "[]" else _split(text, where)


def columns_as_written(values: Sequence[Any], where: str) -> tuple[str, ...]:
    """The options in columns of their own, with the letters that they carry; blank ones at the end are none."""
    return _without_blank_end([text_or_none(v, where) for v in values], where)


class QuestionParts(NamedTuple):
    """A question, and the options that it listed at its end."""

    question: str
    options: tuple[str, ...]


def options_in_question(question: str, where: str) -> QuestionParts:
    """A question without the options that it lists ("… use? <A> CT, <B> MRI"), and these; none where it lists none.

    Raises:
        DataError: an option is blank, or the last one may go on with what is no option.
    """
    marks = _marks_in_order(question)
    if len(marks) < 2 or not question[: marks[0].start()].strip():
        return QuestionParts(question, ())
    written = _between(marks, question, where, "cut the question there with task.cut=TEXT")
    return QuestionParts(question[: marks[0].start()].rstrip(), letters_off(written, where))


def is_label_in(question: str, answer: str) -> bool:
    """Whether an answer is the letter or the number of an option that a question lists.

    >>> is_label_in("Which?\\nA. CT\\nB. MRI", "b"), is_label_in("Which?\\n1) CT\\n2) MRI", "2"), is_label_in("x?", "B")
    (True, True, False)
    """
    if len(answer) != 1 or not answer.isalnum():
        return False
    marks = _marks_in_order(question)
    listed_at = marks[0].start() if len(marks) >= 2 else 0
    numbers = [found[1] for found in _NUMBERED_LINE.finditer(question)]
    in_order = numbers == [str(k + 1) for k in range(len(numbers))] and len(numbers) >= 2
    by_letter = listed_at > 0 and answer.upper() in LETTERS[: len(marks)]
    return by_letter or (in_order and answer in numbers)


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


def letters_off(options: tuple[str, ...], where: str, *, names: bool = False) -> tuple[str, ...]:
    """The options in the order of the letters that they carry and without them, where these are A, B, C ... once each.

    Other letters in front of options ("C. difficile", "E. coli") belong to their texts, and so do those of names out of
    the order of letters, and of all names where `names` is set.

    Args:
        names: letters in front of one lower-case word are part of the texts (A. fumigatus, B. fragilis).

    Raises:
        DataError: nothing is behind the letter of an option, and something behind that of a later one.
    """
    found = [m for option in options if (m := _LETTERED.fullmatch(option.strip()))]
    carried = {m[1].upper(): m[2].strip() or None for m in found}
    is_lettered = len(found) == len(options) and sorted(carried) == list(LETTERS[: len(options)])
    if not is_lettered or not any(carried.values()):
        return options
    if may_be_names(options) and (names or list(carried) != sorted(carried)):
        return options
    return _without_blank_end([carried[letter] for letter in sorted(carried)], where)


def may_be_names(options: Sequence[str]) -> bool:
    """Whether the letters in front of all options could be of names, as in A. fumigatus."""
    return all(_NAME.fullmatch(option.strip()) for option in options)


def _split(text: str, where: str) -> tuple[str, ...]:
    """The options that a text lists, with their letters; see `options_as_written`."""
    in_order = _marks_in_order(text)
    if len(in_order) >= 2 and not text[: in_order[0].start()].strip():
        places = {m.start() for m in in_order}
        others = [m for m in _MARK.finditer(text) if m.start() not in places]
        at_lines = [m[1] for m in others if m[1] and (m[0].lstrip(" ")[:1] in "\n;|")]
        if at_lines:
            raise DataError(
                f"{where}: {text[:80]!r} has the letter {at_lines[0]} out of order; expected A, B, C without gaps."
            )
        return _between(in_order, text, where, "give the options as a JSON list")
    for separator in ("\n", "|", ";"):
        parts = [part.strip() for part in text.split(separator)]
        if len(parts) >= 2 and all(parts):
            return tuple(parts)
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


def _between(marks: Sequence[re.Match[str]], text: str, where: str, mend: str) -> tuple[str, ...]:
    """The options that begin with the marks, each with its mark.

    Raises:
        DataError: the last one alone goes on in a further line, which may be an instruction or an option without a
            letter.
    """
    ends = [*(m.start() for m in marks[1:]), len(text)]
    found = tuple(text[m.start() : end].strip(" \n\t;|,") for m, end in zip(marks, ends, strict=True))
    last = found[-1].split("\n", 1)
    if len(last) > 1 and not any("\n" in option for option in found[:-1]):
        raise DataError(
            f"{where}: behind the last option stands {last[1].strip()[:60]!r} in a line of its own, which may be no "
            f"part of it. If it is none, {mend}; if it is, write it in one line with the option."
        )
    return found


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
